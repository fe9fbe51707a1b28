// The one component that draws a person's name.

import { nameParts, visible } from './format';
import type { Name } from '../dicomweb/studies';

export function PersonName({ name }: { name: Name }) {
  const { family, rest } = nameParts(visible(name.alphabetic));
  const other = visible(name.ideographic.replaceAll('^', ' ')).trim();
  if (!family && !rest && !other) return <span className="muted">(no name)</span>;
  return (
    <bdi title={visible(name.phonetic.replaceAll('^', ' ')) || undefined}>
      <strong>{family}</strong>
      {rest && (family ? `, ${rest}` : rest)}
      {other && <span> {other}</span>}
    </bdi>
  );
}

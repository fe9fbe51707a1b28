// Just enough of PS3.10 to know which instance a file holds before it is sent.

export const HEAD_BYTES = 4096;
const DICOMDIR = '1.2.840.10008.1.3.10';

export type Kind =
  | { is: 'instance'; sopInstanceUid: string }
  | { is: 'directory' }
  | { is: 'zip' }
  | { is: 'unknown' };

/** What the beginning of a file says it is; a data set without preamble is an instance without UID. */
export function kindOf(head: Uint8Array): Kind {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const letters = (at: number, length: number) =>
    String.fromCharCode(...head.subarray(at, at + length));
  if (letters(0, 4) === 'PK\x03\x04') return { is: 'zip' };
  const begin = letters(128, 4) === 'DICM' ? 132 : 0;
  if (head.length < begin + 8) return { is: 'unknown' };
  const group = view.getUint16(begin, true);
  if (begin === 0 && group !== 2 && group !== 8) return { is: 'unknown' };
  return readMeta(view, begin, letters);
}

function readMeta(
  view: DataView, begin: number, letters: (at: number, length: number) => string,
): Kind {
  let at = begin;
  let uid = '';
  while (at + 12 <= view.byteLength && view.getUint16(at, true) === 2) {
    const element = view.getUint16(at + 2, true);
    const long = ['OB', 'OW', 'UN', 'UT', 'SQ'].includes(letters(at + 4, 2));
    const length = long ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true);
    const value = at + (long ? 12 : 8);
    if (value + length > view.byteLength) break;
    const text = () => letters(value, length).replace(/[\0 ]+$/, '');
    if (element === 0x0002 && text() === DICOMDIR) return { is: 'directory' };
    if (element === 0x0003) uid = text();
    at = value + length;
  }
  return { is: 'instance', sopInstanceUid: uid };
}

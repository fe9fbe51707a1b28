// Who wrote what is inside the OHIF build: packages by name, and the notices found in the code.

const MODULE = /node_modules\/((?:@[\w.-]+\/)?[\w.-]+)\//g;
const LEGAL = /\/\*[!*][^]*?\*\//g;
const SAYS_SO = /@license|@preserve|copyright|licen[sc]ed? under|\(c\)|MIT License/i;

/** The text of THIRD-PARTY-NOTICES.txt from the unminified `scripts`: [name, text] pairs. */
export function notices(pinned, scripts) {
  const packages = new Set();
  const comments = new Set();
  for (const [, text] of scripts) {
    for (const [, name] of text.matchAll(MODULE)) if (name !== '.pnpm') packages.add(name);
    for (const [comment] of text.matchAll(LEGAL)) {
      if (comment.length < 20000 && SAYS_SO.test(comment)) comments.add(comment);
    }
  }
  return [
    `This folder holds ${pinned.package} ${pinned.version} (MIT, see LICENSE), minified, with parts left out.`,
    'It contains code of the packages below. Each is under the licence that its own page at',
    'https://www.npmjs.com/package/<name> gives; the notices found in the published code follow.',
    '',
    ...[...packages].sort(),
    '',
    '-'.repeat(78),
    '',
    ...[...comments].sort().flatMap(comment => [comment, '']),
  ].join('\n');
}

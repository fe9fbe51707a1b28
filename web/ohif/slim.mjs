// Fetch the published OHIF viewer, check it, slim it, and lay it down to be served at /ohif/.
//
// The npm package carries a complete build (204 MB, unminified, made for the root of a host).
// What leaves here is a tenth of that, compressed, and runs below /ohif/. Nothing of OHIF's own
// code is changed but the addresses it loads from. See docs/decisions for why it is here at all.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { transform } from 'esbuild';
import { keep, patch, page, BOOT, BRAND } from './rules.mjs';
import { notices } from './notices.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));
const PINNED = JSON.parse(readFileSync(join(HERE, 'pinned.json'), 'utf8'));
const TARGET = resolve(process.argv[2] ?? join(HERE, '../../src/filmroom/static/ohif'));
const COMPRESSIBLE = /\.(js|css|html|svg|wasm|json|txt)$/;

const compress = promisify(gzip);

/** What the result depends on: the pinned release and the files that make it. */
function recipe() {
  const hash = createHash('sha256');
  for (const file of ['pinned.json', 'slim.mjs', 'rules.mjs', 'notices.mjs']) {
    hash.update(readFileSync(join(HERE, file)));
  }
  return `${PINNED.package}@${PINNED.version} ${hash.digest('hex')}\n`;
}

/** Download the release into `folder`, or use FILMROOM_OHIF_TARBALL; refuse other bytes. */
function fetchPackage(folder) {
  let tarball = process.env.FILMROOM_OHIF_TARBALL;
  if (!tarball) {
    const npm = process.env.npm_execpath;
    const [command, first] = npm ? [process.execPath, [npm]] : ['npm', []];
    execFileSync(
      command,
      [...first, 'pack', `${PINNED.package}@${PINNED.version}`, '--pack-destination', folder, '--silent'],
      // Not our package.json: an .npmrc of the project must not change what is fetched.
      { cwd: folder, stdio: ['ignore', 'ignore', 'inherit'] },
    );
    tarball = join(folder, readdirSync(folder).find(name => name.endsWith('.tgz')));
  }
  const found = `sha512-${createHash('sha512').update(readFileSync(tarball)).digest('base64')}`;
  if (found !== PINNED.integrity) {
    throw new Error(`${PINNED.package}@${PINNED.version} is not what was recorded:\n` +
      `  expected ${PINNED.integrity}\n  received ${found}`);
  }
  execFileSync('tar', ['-xzf', tarball, '-C', folder]);
  return join(folder, 'package');
}

function* walk(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else yield path;
  }
}

/** One file of the published build as it shall be served. */
async function slimmed(name, bytes) {
  const loader = name.endsWith('.js') ? 'js' : name.endsWith('.css') ? 'css' : null;
  if (!loader) return bytes;
  const text = patch(name, bytes.toString('utf8'));
  const result = await transform(text, { loader, minify: true, legalComments: 'none', logLevel: 'error' });
  return Buffer.from(result.code);
}

async function lay(out, name, bytes) {
  const path = join(out, name);
  mkdirSync(dirname(path), { recursive: true });
  if (COMPRESSIBLE.test(name)) writeFileSync(`${path}.gz`, await compress(bytes, { level: 9 }));
  else writeFileSync(path, bytes);
}

async function build(out, work) {
  const unpacked = fetchPackage(work);
  const dist = join(unpacked, 'dist');
  const names = [...walk(dist)].map(path => relative(dist, path)).filter(keep);
  const scripts = [];
  await Promise.all(names.map(async name => {
    const bytes = readFileSync(join(dist, name));
    if (name.endsWith('.js')) scripts.push([name, bytes.toString('utf8')]);
    await lay(out, name, await slimmed(name, bytes));
  }));
  await lay(out, 'index.html', Buffer.from(page(readFileSync(join(dist, 'index.html'), 'utf8'))));
  await lay(out, 'boot.js', Buffer.from(BOOT));
  await lay(out, 'brand.js', Buffer.from(BRAND));
  writeFileSync(join(out, 'LICENSE'), readFileSync(join(unpacked, 'LICENSE')));
  await lay(out, 'THIRD-PARTY-NOTICES.txt', Buffer.from(notices(PINNED, scripts)));
}

async function main() {
  const stamp = join(TARGET, '.stamp');
  const wanted = recipe();
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) {
    console.log(`OHIF ${PINNED.version} is already in place`);
    utimesSync(stamp, new Date(), new Date()); // `make` goes by the clock
    return;
  }
  console.log(`Fetching and slimming OHIF ${PINNED.version} (50 MB, about 10 s)`);
  mkdirSync(dirname(TARGET), { recursive: true });
  const work = mkdtempSync(join(tmpdir(), 'filmroom-ohif-'));
  // Built beside its place, so that an interrupted build never looks like a finished one.
  const out = `${TARGET}.building`;
  try {
    rmSync(out, { recursive: true, force: true });
    await build(out, work);
    writeFileSync(join(out, '.stamp'), wanted);
    rmSync(TARGET, { recursive: true, force: true });
    renameSync(out, TARGET);
  } finally {
    rmSync(work, { recursive: true, force: true });
    rmSync(out, { recursive: true, force: true });
  }
}

await main();

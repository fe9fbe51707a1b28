import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const OUT = '../src/filmroom/static/console';
const server = process.env.FILMROOM_SERVER ?? 'http://127.0.0.1:8080';

/** Compressed once here, so that the server never has to. */
function compress() {
  const assets = `${OUT}/assets`;
  for (const name of readdirSync(assets)) {
    writeFileSync(`${assets}/${name}.gz`, gzipSync(readFileSync(`${assets}/${name}`), { level: 9 }));
  }
}

export default defineConfig({
  plugins: [react(), { name: 'compress', apply: 'build', closeBundle: compress }],
  build: {
    outDir: OUT,
    emptyOutDir: true,
    // A data: address would need an exception in the content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: Object.fromEntries(
      ['/api', '/dicom-web', '/wado', '/ohif', '/docs'].map(path => [path, server]),
    ),
  },
  test: { environment: 'jsdom', include: ['tests/**/*.test.ts'] },
});

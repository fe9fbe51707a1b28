import { rmSync } from 'node:fs';
import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const OUT = '../src/filmroom/static';

const server = process.env.FILMROOM_SERVER ?? 'http://127.0.0.1:8080';

export default defineConfig({
  plugins: [
    react(),
    // OHIF lives in the same folder, so only what is ours is cleared.
    { name: 'clear-assets', apply: 'build', buildStart: () => rmSync(`${OUT}/assets`, { recursive: true, force: true }) },
  ],
  build: {
    outDir: OUT,
    emptyOutDir: false,
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

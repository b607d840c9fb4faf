/** @file Builds the lab's page into dist/lab/page, where `weft lab` serves it from. */
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vite'

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url))

export default defineConfig({
  root: here('.'),
  base: '/',
  logLevel: 'warn',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: here('../dist/lab/page'),
    emptyOutDir: true,
    manifest: true,
    // Everything comes from the lab itself: its policy allows no data: addresses for scripts and styles.
    assetsInlineLimit: 0,
    rollupOptions: { input: here('main.tsx') },
  },
})

/** @file Bundles TypeScript for where Node's test runner does not reach: pages and workers. */
import { build, type BuildOptions } from 'esbuild'
import { mkdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))

const common = {
  bundle: true,
  write: false,
  format: 'esm',
  target: 'es2022',
  sourcemap: 'inline',
  logLevel: 'error',
} satisfies BuildOptions

/** Entries by name, and the chunks that they share, as files of a page by path. */
export const bundleForBrowser = async (
  entries: Readonly<Record<string, URL>>,
): Promise<Map<string, Uint8Array>> => {
  const { outputFiles } = await build({
    ...common,
    entryPoints: Object.fromEntries(Object.entries(entries).map(([k, url]) => [k, fileURLToPath(url)])),
    splitting: true,
    outdir: 'out',
    // Code that needs a disk is imported when it is called, which no page does.
    external: ['node:*'],
    conditions: ['browser', 'onnxruntime-web-use-extern-wasm'],
    alias: { '#sessions': join(root, 'src/runtime/web.ts') },
  })
  return new Map(outputFiles.map(({ path, contents }) => [`/${basename(path)}`, contents]))
}

/** A file that Node runs as it is, with the project's packages in reach: for `new Worker(file)` and child processes. */
export const bundleForNode = async (entry: URL): Promise<URL> => {
  const { outputFiles } = await build({
    ...common,
    entryPoints: [fileURLToPath(entry)],
    platform: 'node',
    packages: 'external',
    alias: { '#sessions': join(root, 'src/runtime/node.ts') },
  })
  const folder = join(root, 'node_modules/.cache/weft')
  await mkdir(folder, { recursive: true })
  const file = join(folder, `${basename(entry.pathname, '.ts')}.${process.pid}.mjs`)
  await writeFile(file, outputFiles[0].contents)
  return pathToFileURL(file)
}

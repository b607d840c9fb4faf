/**
 * @file Runs code in headless Chromium, from the same sources as in Node.
 *
 * To test in the browser, write an entry, a module that exports its cases by name (each takes and gives JSON):
 *
 *     // bert.browser.entry.ts
 *     export const cases = { logits: async (device: Device) => toNumbers(...) }
 *
 * and a test beside it, `bert.browser.test.ts`:
 *
 *     const page = await openBrowser(new URL('./bert.browser.entry.ts', import.meta.url))
 *     afterAll(() => page.close())
 *     it('...', async () => expect(await page.run('logits', 'webgpu')).toEqual(...))
 *
 * The entry is bundled with esbuild (condition `browser`, `#sessions` is src/runtime/web.ts) and must not reach Node's
 * modules. `fetch('/golden/llama/model.safetensors')` reads the reference outputs. Opening takes a few seconds: open one page a
 * test file. In the page, `crossOriginIsolated` is true and WebGPU is SwiftShader's.
 */
import { readFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { basename, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'
import { findChromium } from '../scripts/chromium.mjs'
import { bundleForBrowser } from './bundle.js'
import { goldenFolder } from './golden.js'

export interface BrowserPage {
  /** The result of the entry's case `name` on `argument`, both JSON. An error in the page is thrown here. */
  run<T = unknown>(name: string, argument?: unknown): Promise<T>
  close(): Promise<void>
}

const root = fileURLToPath(new URL('..', import.meta.url))
const ortFolder = join(root, 'node_modules/onnxruntime-web/dist')

const html = `<!doctype html>
<title>Weft</title>
<script type="module">
  import { cases } from '/entry.js'
  globalThis.cases = cases
</script>`

const types: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
}

const fileOf = async (path: string, files: ReadonlyMap<string, Uint8Array>): Promise<Uint8Array> => {
  if (path === '/') return Buffer.from(html)
  const bundled = files.get(path)
  if (bundled) return bundled
  if (path.startsWith('/ort-wasm')) return readFile(join(ortFolder, basename(path)))
  if (path.startsWith('/golden/') && !path.includes('..'))
    return readFile(goldenFolder(path.slice('/golden/'.length)))
  throw new Error(`no file ${path}`)
}

const serve = (files: ReadonlyMap<string, Uint8Array>): Promise<Server> => {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, 'http://page').pathname)
    fileOf(path, files).then(
      (body) => {
        response.writeHead(200, {
          'Content-Type': types[extname(path) || '.html'] ?? 'application/octet-stream',
          'Cross-Origin-Opener-Policy': 'same-origin',
          'Cross-Origin-Embedder-Policy': 'require-corp',
        })
        response.end(body)
      },
      () => response.writeHead(404).end(),
    )
  })
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)))
}

const flags = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

/**
 * Opens a page with the cases that the module `entry` exports. `more` are modules beside it, workers say, by the name that
 * the page knows them under: { job: ... } is /job.js. Throws where there is no Chromium.
 */
export const openBrowser = async (
  entry: URL,
  more: Readonly<Record<string, URL>> = {},
): Promise<BrowserPage> => {
  const executablePath = findChromium()
  if (!executablePath)
    throw new Error('the browser tests need Chromium: install it, or set CHROME_BIN to its executable')
  const server = await serve(await bundleForBrowser({ entry, ...more }))
  const browser = await chromium.launch({ executablePath, args: flags })
  const page = await browser.newPage()
  const problems: string[] = []
  page.on('pageerror', (error) => problems.push(error.message))
  await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
  return {
    run: async <T>(name: string, argument?: unknown): Promise<T> => {
      const call = ([key, given]: [string, unknown]): unknown => {
        const { cases } = globalThis as { cases?: Record<string, (a: unknown) => unknown> }
        if (!cases?.[key]) throw new Error(`the entry has no case '${key}'`)
        return cases[key](given)
      }
      try {
        return (await page.evaluate(call, [name, argument] as [string, unknown])) as T
      } catch (error) {
        throw new Error([(error as Error).message, ...problems.splice(0)].join('\n'), { cause: error })
      }
    },
    close: async () => {
      await browser.close()
      server.closeAllConnections()
      server.close()
    },
  }
}

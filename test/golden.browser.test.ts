import { readdir } from 'node:fs/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type BrowserPage, openBrowser } from './browser.js'
import { goldenFolder } from './golden.js'
import { beyond, type Deviations } from './golden-case.js'

let page: BrowserPage
beforeAll(async () => {
  page = await openBrowser(new URL('./golden.browser.entry.ts', import.meta.url))
})
afterAll(() => page.close())

const devices = [
  ['wasm', 1],
  ['webgpu', 10],
] as const

const filesOf = async (name: string): Promise<string[]> =>
  (await readdir(goldenFolder(name))).filter((file) => file !== 'golden.safetensors')

for (const name of ['llama', 'phi3', 'bert-mlm', 'bert-classify', 'modernbert-mlm', 'vit', 'clip'])
  test.each(devices)(
    `${name} agrees with the reference library in a page, on %s within %d times the tolerance`,
    async (device, times) => {
      const files = await filesOf(name)
      const found = await page.run<Deviations[]>('deviations', { name, files, device })
      expect(found.map((deviations) => beyond(deviations, times))).toEqual([{}, {}, {}])
      for (const deviations of found) expect(Object.keys(deviations)).not.toEqual([])
    },
  )

for (const name of ['llama', 'phi3'])
  test.each(['wasm', 'webgpu'])(
    `${name} generates in a page as the reference library does, on %s`,
    async (device) => {
      const files = await filesOf(name)
      const [theirs, ours] = await page.run<number[][]>('generated', { name, files, device })
      expect(ours).toEqual(theirs)
    },
  )

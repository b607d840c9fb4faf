import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Device } from '../src/tensor/index.js'
import { type BrowserPage, openBrowser } from './browser.js'
import { deviceTests } from './devices.js'

let page: BrowserPage
beforeAll(async () => {
  page = await openBrowser(new URL('./devices.browser.entry.ts', import.meta.url))
})
afterAll(() => page.close())

describe.each<Device>(['wasm', 'webgpu'])('in the browser on %s', (device) => {
  for (const { name, skipped } of deviceTests(device))
    it.skipIf(skipped)(skipped ? `${name}: ${skipped}` : `${name} agrees with the interpreter`, async () => {
      const found = await page.run<Record<string, string[]>>('operations', { device, names: [name] })
      expect(found[name], found[name].join('\n')).toEqual([])
    })
})

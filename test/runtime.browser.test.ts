import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type BrowserPage, openBrowser } from './browser.js'

let page: BrowserPage
beforeAll(async () => {
  page = await openBrowser(new URL('./runtime.browser.entry.ts', import.meta.url))
})
afterAll(() => page.close())

describe('in a page', () => {
  it('wasm may use threads', async () => {
    expect(await page.run('isolated')).toBe(true)
  })

  it.each(['wasm', 'webgpu'])(
    '%s reads weights bound to files, in full and half precision',
    async (device) => {
      expect(await page.run('files', device)).toEqual(Array(3).fill([0.5, -2, 6, 32]))
    },
  )

  it.each([
    ['wasm', true],
    ['webgpu', false],
  ])('on %s state goes from run to run, on the host: %s', async (device, onHost) => {
    const result = await page.run<{ w: number[]; onHost: boolean }>('descent', device)
    for (const w of result.w) expect(w).toBeCloseTo(3, 5)
    expect(result.onHost).toBe(onHost)
  })

  it.each(['wasm', 'webgpu'])('programs may run at the same time on %s', async (device) => {
    expect(await page.run('together', device)).toEqual([10, 10, 20, 20, 30, 30, 40, 40])
  })

  it('a value on the GPU can be freed early, one on the host stays', async () => {
    expect(await page.run('disposed', 'webgpu')).toMatch(/^refused: .*disposed/)
    expect(await page.run('disposed', 'wasm')).toBe('-1,-2,-3,-4')
  })

  it('a bound tensor that does not fit is named', async () => {
    const message = await page.run<string>('unreadable', 'wasm')
    expect(message).toMatch(/float32 \[1048576, 1048576\], 4398046511104 bytes at 8 of \/model\.safetensors/)
  })

  it('a device of another platform is an error that says so', async () => {
    expect(await page.run('missing', 'cpu')).toMatch(/device cpu does not exist in a browser/)
  })
})

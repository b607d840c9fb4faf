/** @file Where the hub's cache lies. */
import { expect, it } from 'vitest'
import { hubCacheFolder, isOffline } from './hub-cache.js'

it("the environment places the cache as Hugging Face's own library does", () => {
  expect(hubCacheFolder({ HF_HUB_CACHE: '/c', HF_HOME: '/h' })).toBe('/c')
  expect(hubCacheFolder({ HF_HOME: '/h', XDG_CACHE_HOME: '/x' })).toBe('/h/hub')
  expect(hubCacheFolder({ XDG_CACHE_HOME: '/x' })).toBe('/x/huggingface/hub')
  expect(hubCacheFolder({})).toMatch(/\.cache\/huggingface\/hub$/)
  for (const value of ['1', 'true', 'YES', 'on']) expect(isOffline({ HF_HUB_OFFLINE: value })).toBe(true)
  for (const value of [undefined, '', '0', 'false']) expect(isOffline({ HF_HUB_OFFLINE: value })).toBe(false)
})

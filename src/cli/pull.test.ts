import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { run } from './program.js'
import type { Environment } from './verb.js'

const commit = 'a'.repeat(40)
const names = ['config.json', 'model.safetensors']
const content = Object.fromEntries(
  names.map((name) => [name, readFileSync(join(goldenFolder(), 'gpt2', name))]),
)

/** As much of the hub as a pull asks for: the listing of one model, and its files. */
const hub = createServer((request, response) => {
  const path = new URL(request.url ?? '/', 'http://hub').pathname
  const name = names.find((file) => path === `/test/gpt2/resolve/${commit}/${file}`)
  if (path === '/api/models/test/gpt2/revision/main') {
    const siblings = names.map((rfilename) => ({ rfilename, size: content[rfilename].length }))
    response.setHeader('content-type', 'application/json').end(JSON.stringify({ sha: commit, siblings }))
  } else if (name) {
    const etag = createHash('sha256').update(content[name]).digest('hex')
    response
      .setHeader('etag', `"${etag}"`)
      .setHeader('content-length', content[name].length)
      .end(content[name])
  } else response.writeHead(404).end()
})

let env: Environment
const cache = mkdtempSync(join(tmpdir(), 'weft-pull-'))

beforeAll(async () => {
  await new Promise<Server>((resolve) => hub.listen(0, '127.0.0.1', () => resolve(hub)))
  env = { HF_ENDPOINT: `http://127.0.0.1:${(hub.address() as AddressInfo).port}`, HF_HUB_CACHE: cache }
})

afterAll(() => {
  hub.close()
  rmSync(cache, { recursive: true })
})

const weft = async (
  argv: string[],
  more: Environment = {},
): Promise<{ code: number; out: string; err: string }> => {
  let [out, err] = ['', '']
  const code = await run(argv, {
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    env: { ...env, ...more },
    signal: new AbortController().signal,
  })
  return { code, out, err }
}

describe('weft pull', () => {
  it('offline and not in the cache exits 5', async () => {
    const { code, err } = await weft(['pull', 'test/gpt2'], { HF_HUB_OFFLINE: '1' })
    expect(err).toMatch(/^Offline: /)
    expect(code).toBe(5)
  })

  it('prints the folder on stdout and a line a file on stderr, and what it pulled can be inspected', async () => {
    const { code, out, err } = await weft(['pull', 'test/gpt2'])
    expect(code).toBe(0)
    expect(out.trim()).toBe(join(cache, 'models--test--gpt2', 'snapshots', commit))
    for (const name of names) expect(err).toMatch(new RegExp(`^${name}.* done$`, 'm'))
    expect(readFileSync(join(out.trim(), 'model.safetensors'))).toEqual(content['model.safetensors'])
    expect((await weft(['inspect', out.trim()])).out).toMatch(/GPT2LMHeadModel/)
  })

  it('afterwards answers offline', async () => {
    const { code, out } = await weft(['pull', 'test/gpt2', '--offline', '--json'], {
      HF_ENDPOINT: 'http://127.0.0.1:1',
    })
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ id: 'test/gpt2' })
  })

  it.each([
    [['pull', 'test/absent'], 5, /^\w+: .*test\/absent/],
    [['pull', '../etc'], 2, /^BadModelId: /],
  ])('%j is refused', async (argv, exitCode, message) => {
    const { code, err } = await weft(argv)
    expect(err).toMatch(message)
    expect(code).toBe(exitCode)
  })
})

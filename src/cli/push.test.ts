import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { type Outcome, weftWith } from '../../test/weft.js'

const bodyOf = async (request: IncomingMessage): Promise<Buffer> => {
  const parts: Buffer[] = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts)
}

interface Committed {
  readonly key: string
  readonly value: Record<string, unknown>
}

/** As much of the hub as a push asks for: repositories, large files by their hashes, commits. */
class WritableHub {
  readonly objects = new Map<string, Buffer>()
  repository: Record<string, unknown> | undefined
  commits: Committed[][] = []
  uploads = 0
  /** Answers of the storage before it works: a status each. */
  failing: number[] = []
  endpoint = ''
  private server: Server | undefined

  async start(): Promise<void> {
    this.server = createServer((request, response) => {
      void this.answer(request).then(({ status, json }) =>
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(json)),
      )
    })
    await new Promise<void>((resolve) => this.server!.listen(0, '127.0.0.1', resolve))
    this.endpoint = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  stop(): void {
    this.server?.closeAllConnections()
    this.server?.close()
  }

  private async answer(request: IncomingMessage): Promise<{ status: number; json: unknown }> {
    const body = await bodyOf(request)
    const path = request.url!.split('?')[0]
    const storage = /^\/storage\/(\w+)$/.exec(path)
    if (storage) {
      this.uploads++
      const failure = this.failing.shift()
      if (failure !== undefined) return { status: failure, json: {} }
      this.objects.set(storage[1], body)
      return { status: 200, json: {} }
    }
    if (request.headers.authorization !== 'Bearer hf_write')
      return { status: 401, json: { error: 'no access' } }
    if (path === '/api/repos/create')
      return this.create(JSON.parse(body.toString()) as Record<string, unknown>)
    if (path === '/api/models/org/first/preupload/main') {
      const { files } = JSON.parse(body.toString()) as { files: { path: string }[] }
      const modeOf = (file: string): string => (file.endsWith('.safetensors') ? 'lfs' : 'regular')
      return {
        status: 200,
        json: { files: files.map((f) => ({ path: f.path, uploadMode: modeOf(f.path) })) },
      }
    }
    if (path.endsWith('.git/info/lfs/objects/batch')) return { status: 200, json: this.batch(body) }
    if (path === '/api/models/org/first/commit/main') {
      this.commits.push(
        body
          .toString()
          .trim()
          .split('\n')
          .map((line) => JSON.parse(line) as Committed),
      )
      return {
        status: 200,
        json: { success: true, commitOid: 'c1', commitUrl: `${this.endpoint}/c1`, hookOutput: '' },
      }
    }
    return { status: 404, json: { error: `nothing at ${path}` } }
  }

  private create(repository: Record<string, unknown>): { status: number; json: unknown } {
    if (this.repository) return { status: 409, json: { error: 'it is there' } }
    this.repository = repository
    return { status: 200, json: { url: `${this.endpoint}/org/first`, name: 'org/first', id: '1' } }
  }

  private batch(body: Buffer): unknown {
    const { objects } = JSON.parse(body.toString()) as { objects: { oid: string; size: number }[] }
    return {
      transfer: 'basic',
      objects: objects.map(({ oid, size }) => ({
        ...{ oid, size, authenticated: true },
        ...(!this.objects.has(oid) && { actions: { upload: { href: `${this.endpoint}/storage/${oid}` } } }),
      })),
    }
  }
}

const hub = new WritableHub()
let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (...names: string[]): string => join(scratch.path, ...names)
const push = (
  more: string[] = [],
  env: Record<string, string> = { HF_TOKEN: 'hf_write' },
): Promise<Outcome> =>
  weftWith({ HF_ENDPOINT: hub.endpoint, ...env }, ['push', at('adapter'), 'org/first', ...more])

beforeAll(async () => {
  await hub.start()
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  await writeFile(at('data.jsonl'), sentences.map((text) => JSON.stringify({ text })).join('\n'))
  const few = ['--steps', '1', '--batch', '4', '--eval-split', '0.2']
  await weftWith({}, [
    'adapt',
    'lora',
    at('base'),
    '--data',
    at('data.jsonl'),
    '--out',
    at('adapter'),
    ...few,
  ])
})
beforeEach(() => {
  hub.repository = undefined
  hub.objects.clear()
  Object.assign(hub, { commits: [], uploads: 0, failing: [] })
})
afterAll(async () => {
  hub.stop()
  await scratch.remove()
})

/** Files of the newest commit by their names. */
const committed = (): Map<string, Record<string, unknown>> =>
  new Map(
    hub.commits
      .at(-1)!
      .filter(({ key }) => key !== 'header')
      .map(({ value }) => [String(value.path), value]),
  )

describe('weft push', () => {
  it('commits the adapter to a private repository, large files by their hashes, with a card of what it is', async () => {
    const { code, err, out } = await push()
    expect(err.split('\n').filter((line) => /error/i.test(line))).toEqual([])
    expect(code).toBe(0)
    expect(out).toContain(`${hub.endpoint}/org/first`)
    expect(JSON.stringify(hub.repository)).toMatch(/"private":true|"visibility":"private"/)
    expect([...committed().keys()].sort()).toEqual([
      'README.md',
      'adapter_config.json',
      'adapter_model.safetensors',
    ])
    const weights = await readFile(at('adapter', 'adapter_model.safetensors'))
    const sha256 = createHash('sha256').update(weights).digest('hex')
    expect(committed().get('adapter_model.safetensors')).toMatchObject({ oid: sha256 })
    expect(hub.objects.get(sha256)).toEqual(weights)
    const card = Buffer.from(String(committed().get('README.md')!.content), 'base64').toString()
    const data = createHash('sha256')
      .update(await readFile(at('data.jsonl')))
      .digest('hex')
    for (const fact of [
      'library_name: peft',
      '- Method: adapt LORA',
      `- Data, SHA-256: ${data}`,
      '| perplexity | ',
    ])
      expect(card).toContain(fact)
    expect(card).not.toContain(scratch.path)
  })

  it('sends again only what has not arrived, and goes through failures that pass', async () => {
    hub.failing = [503]
    expect((await push()).code).toBe(0)
    expect(hub.uploads).toBe(2)
    expect((await push()).code).toBe(0)
    expect(hub.uploads).toBe(2)
    expect(hub.commits).toHaveLength(2)
  })

  it('makes a public repository where that is asked for, and keeps a card that is there', async () => {
    const made = await readFile(at('adapter', 'README.md'))
    await writeFile(at('adapter', 'README.md'), '# Mine')
    expect((await push(['--public'])).code).toBe(0)
    await writeFile(at('adapter', 'README.md'), made)
    expect(JSON.stringify(hub.repository)).not.toMatch(/"private":true|"visibility":"private"/)
    expect(Buffer.from(String(committed().get('README.md')!.content), 'base64').toString()).toBe('# Mine')
  })

  it('--dry-run shows files and card and asks nobody', async () => {
    const { code, out } = await push(['--dry-run'], {})
    expect(code).toBe(0)
    const files = 'README.md, adapter_config.json, adapter_model.safetensors'
    expect(out).toContain(`Would push to org/first: ${files}\n\n---`)
    expect(hub.commits).toEqual([])
  })

  it('refuses a missing token, one that may not write, what is no id, and a folder without a model', async () => {
    expect((await push([], {})).err).toMatch(/^NoToken: /)
    const refused = await push([], { HF_TOKEN: 'hf_read' })
    expect(refused.err).toMatch(/^Refused: org\/first: .*HTTP 401[\s\S]*HF_TOKEN/)
    expect(refused.code).toBe(5)
    const env = { HF_ENDPOINT: hub.endpoint, HF_TOKEN: 'hf_write' }
    expect((await weftWith(env, ['push', at('adapter'), 'a b'])).err).toMatch(/^BadModelId: /)
    expect((await weftWith(env, ['push', scratch.path, 'org/first'])).err).toMatch(/^NoFiles: /)
    expect(hub.commits).toEqual([])
  })
})

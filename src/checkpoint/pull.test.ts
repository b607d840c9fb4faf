import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { commit, gitBlob, sha256, TestHub } from '../../test/hub.js'
import { RemoteError, UsageError } from '../errors.js'
import { open } from './open.js'
import { isModelFile, pull, type PullEvent, type PullOptions } from './pull.js'

let hub: TestHub
let cache = ''
beforeEach(async () => {
  cache = mkdtempSync(join(tmpdir(), 'weft-hub-'))
  hub = new TestHub()
  for (const file of ['config.json', 'model.safetensors'])
    hub.files.set(file, new Uint8Array(readFileSync(goldenFolder('gpt2', file))))
  for (const file of ['pytorch_model.bin', '.gitattributes', 'onnx/model.onnx', 'README.md'])
    hub.files.set(file, Uint8Array.of(1, 2, 3))
  await hub.start()
})
afterEach(() => {
  hub.stop()
  rmSync(cache, { recursive: true })
})

const get = (options: PullOptions = {}, id = 'org/tiny'): Promise<string> =>
  pull(id, { endpoint: hub.endpoint, cache, backoff: 1, env: {}, ...options })
const weights = (): Uint8Array => hub.files.get('model.safetensors')!
const blobs = (): string => join(cache, 'models--org--tiny', 'blobs')
const failing = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

/** Answers the first `times` requests of the storage by sending `bytes` bytes and cutting the connection. */
const cutting = (times: number, bytes: number) => {
  let left = times
  return (request: IncomingMessage, response: ServerResponse): boolean => {
    if (request.url !== '/model.safetensors' || left-- <= 0) return false
    const from = hub.ranges ? Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0) : 0
    const total = weights().length
    response.writeHead(from ? 206 : 200, {
      'content-length': total - from,
      ...(from && { 'content-range': `bytes ${from}-${total - 1}/${total}` }),
    })
    // A client that is busy must have read what was sent: a cut drops what still waits.
    response.write(weights().subarray(from, from + bytes), () => setTimeout(() => response.destroy(), 250))
    return true
  }
}

describe('pull', () => {
  it("fills the cache in the hub's layout, and the id then opens", async () => {
    const snapshot = await get()
    expect(snapshot).toBe(join(cache, 'models--org--tiny', 'snapshots', commit))
    expect(readFileSync(join(cache, 'models--org--tiny', 'refs', 'main'), 'utf8')).toBe(commit)
    expect(readdirSync(snapshot).sort()).toEqual(['README.md', 'config.json', 'model.safetensors'])
    expect(lstatSync(join(snapshot, 'model.safetensors')).isSymbolicLink()).toBe(true)
    expect(readdirSync(blobs()).sort()).toEqual(
      [
        sha256(weights()),
        ...['config.json', 'README.md'].map((file) => gitBlob(hub.files.get(file)!)),
      ].sort(),
    )
    await using pulled = await open('org/tiny', { cache })
    await using golden = await open(goldenFolder('gpt2'))
    expect(pulled.names()).toEqual(golden.names())
    expect(await pulled.read(golden.names()[0])).toEqual(await golden.read(golden.names()[0]))
  })

  it('fetches nothing twice, and works offline afterwards', async () => {
    const snapshot = await get()
    hub.requests.length = 0
    expect(await get()).toBe(snapshot)
    expect(hub.requests.map(({ path }) => path)).toEqual(['/api/models/org/tiny/revision/main?blobs=true'])
    hub.requests.length = 0
    expect(await get({ offline: true })).toBe(snapshot)
    expect(await get({ env: { HF_HUB_OFFLINE: '1', HF_HUB_CACHE: cache }, cache: undefined })).toBe(snapshot)
    expect(hub.requests).toEqual([])
    expect(await failing(get({ offline: true, revision: 'v2' }))).toMatchObject({
      code: 'Offline',
      exitCode: 5,
    })
  })

  it('takes a subset, a folder in a name and a commit as revision', async () => {
    const snapshot = await get({ files: (file) => file.endsWith('.onnx') }, `org/tiny@${commit}`)
    expect([...readFileSync(join(snapshot, 'onnx', 'model.onnx'))]).toEqual([1, 2, 3])
    expect(existsSync(join(cache, 'models--org--tiny', 'refs'))).toBe(false)
  })

  it('reports initiate, download, progress and done for each file, then ready', async () => {
    const events: PullEvent[] = []
    const folder = await get({ onProgress: (event) => events.push(event) })
    const of = (file: string): PullEvent[] => events.filter((event) => 'file' in event && event.file === file)
    for (const file of ['README.md', 'config.json', 'model.safetensors']) {
      const statuses = of(file).map(({ status }) => status)
      expect(statuses.filter((status, i) => status !== statuses[i - 1])).toEqual([
        'initiate',
        'download',
        'progress',
        'done',
      ])
    }
    expect(of('model.safetensors').at(-2)).toEqual({
      status: 'progress',
      name: 'org/tiny',
      file: 'model.safetensors',
      loaded: weights().length,
      total: weights().length,
      progress: 100,
    })
    expect(events.at(-1)).toEqual({ status: 'ready', name: 'org/tiny', folder })
    expect(events.map(({ status }) => status)).not.toContain('progress_total')
  })

  it('reports progress over all files where the hub announces their sizes', async () => {
    hub.announced = (file) => ({ size: hub.files.get(file)!.length })
    const totals: number[] = []
    await get({ onProgress: (event) => event.status === 'progress_total' && totals.push(event.progress) })
    expect(totals).toEqual([...totals].sort((a, b) => a - b))
    expect(totals.at(-1)).toBe(100)
  })

  it('sends the token to the endpoint, never to the storage it redirects to', async () => {
    await get({ env: { HF_TOKEN: 'hf_secret' } })
    for (const { path, authorization } of hub.requests)
      expect(authorization, path).toBe(path === '/model.safetensors' ? undefined : 'Bearer hf_secret')
  })

  it('takes endpoint and cache from the environment', async () => {
    const env = { HF_ENDPOINT: `${hub.endpoint}/`, HF_HOME: cache }
    expect(await get({ env, endpoint: undefined, cache: undefined })).toBe(
      join(cache, 'hub', 'models--org--tiny', 'snapshots', commit),
    )
  })
})

describe('a connection that is cut', () => {
  it('is taken up where it stopped, as often as it advances', async () => {
    hub.faults.push(cutting(8, 20_000))
    await get({ retries: 1 })
    expect(
      hub.requests
        .filter(({ path }) => path === '/model.safetensors')
        .map(({ range }) => range)
        .slice(0, 3),
    ).toEqual([undefined, 'bytes=20000-', 'bytes=40000-'])
    expect(new Uint8Array(readFileSync(join(blobs(), sha256(weights()))))).toEqual(weights())
  })

  it('leaves what came for the next pull, and nothing under a final name', async () => {
    hub.faults.push(cutting(3, 0))
    mkdirSync(blobs(), { recursive: true })
    const partial = join(blobs(), `${sha256(weights())}.incomplete`)
    writeFileSync(partial, weights().subarray(0, 30_000))
    expect(await failing(get({ retries: 1 }))).toBeInstanceOf(RemoteError)
    expect(readFileSync(partial).length).toBe(30_000)
    expect(existsSync(join(cache, 'models--org--tiny', 'refs'))).toBe(false)
    hub.requests.length = 0
    hub.faults.length = 0
    await get()
    expect(hub.requests.map(({ range }) => range)).toContain('bytes=30000-')
    expect(new Uint8Array(readFileSync(join(blobs(), sha256(weights()))))).toEqual(weights())
  })

  it('starts anew where the server knows no ranges, and gives up when it never advances', async () => {
    hub.ranges = false
    hub.faults.push(cutting(2, 20_000))
    await get()
    expect(new Uint8Array(readFileSync(join(blobs(), sha256(weights()))))).toEqual(weights())
    rmSync(join(cache, 'models--org--tiny'), { recursive: true })
    hub.faults[0] = cutting(1e9, 20_000)
    expect(await failing(get({ retries: 2 }))).toMatchObject({
      exitCode: 5,
      message: expect.stringMatching(/cut/) as string,
    })
  })

  it('drops a partial file that is longer than the file, or no beginning of it', async () => {
    mkdirSync(blobs(), { recursive: true })
    const partial = join(blobs(), `${sha256(weights())}.incomplete`)
    writeFileSync(partial, new Uint8Array(weights().length + 5))
    await get()
    rmSync(join(cache, 'models--org--tiny', 'snapshots'), { recursive: true })
    rmSync(join(blobs(), sha256(weights())))
    writeFileSync(partial, new Uint8Array(30_000))
    expect(await failing(get())).toMatchObject({ code: 'Corrupted' })
    expect(existsSync(partial)).toBe(false)
    await get()
    expect(new Uint8Array(readFileSync(join(blobs(), sha256(weights()))))).toEqual(weights())
  })
})

describe('a server that fails', () => {
  const answering = (status: number, times: number, headers: Record<string, string> = {}) => {
    let left = times
    return (_: IncomingMessage, response: ServerResponse): boolean => {
      if (left-- <= 0) return false
      response.writeHead(status, headers).end()
      return true
    }
  }

  it.each([429, 500, 503])('with %d is asked again', async (status) => {
    hub.faults.push(answering(status, 3))
    await get()
  })

  it('waits as long as Retry-After says', async () => {
    hub.faults.push(answering(429, 1, { 'retry-after': '1' }))
    const start = performance.now()
    await get()
    expect(performance.now() - start).toBeGreaterThan(990)
  })

  it.each([
    [401, 'Unauthorized', /HF_TOKEN/],
    [403, 'Forbidden', /terms/],
    [404, 'NotFound', /org\/tiny/],
    [418, 'BadAnswer', /418/],
  ])('with %d is refused at once, with what to do', async (status, code, words) => {
    hub.faults.push(answering(status, 1e9))
    const error = await failing(get())
    expect(error).toMatchObject({ code, exitCode: 5, message: expect.stringMatching(words) as string })
    expect(hub.requests.length).toBe(1)
  })

  it('for ever, or that is not there, ends in a RemoteError', async () => {
    hub.faults.push(answering(500, 1e9))
    expect(await failing(get({ retries: 2 }))).toBeInstanceOf(RemoteError)
    expect(hub.requests.length).toBe(3)
    hub.stop()
    expect(await failing(get({ retries: 1 }))).toMatchObject({
      exitCode: 5,
      message: expect.stringMatching(/no connection/) as string,
    })
  })

  it('with a redirect without end, or an answer that is no listing, ends in a RemoteError', async () => {
    hub.faults.push(answering(302, 1e9, { location: '/around' }))
    expect(await failing(get())).toMatchObject({ code: 'TooManyRedirects' })
    for (const body of [
      '<html>',
      '[]',
      '{}',
      '{"sha": "../x", "siblings": []}',
      `{"sha": "${commit}", "siblings": [{}]}`,
    ]) {
      hub.faults[0] = (_, response) => Boolean(response.end(body))
      expect(await failing(get()), body).toBeInstanceOf(RemoteError)
    }
  })

  it.each(['../../evil.json', '/etc/evil.json', 'a/../../evil.json', 'C:evil.json', 'a\\evil.json'])(
    'with a file named %s is refused',
    async (file) => {
      hub.files.set(file, Uint8Array.of(1))
      expect(await failing(get())).toMatchObject({ code: 'BadListing', exitCode: 5 })
      expect(readdirSync(cache)).toEqual([])
    },
  )

  it('with content that is not what it announced leaves nothing under a final name', async () => {
    const wrong = weights().slice()
    wrong[5000] ^= 1
    hub.faults.push(
      (request, response) => request.url === '/model.safetensors' && Boolean(response.end(wrong)),
    )
    expect(await failing(get())).toMatchObject({
      code: 'Corrupted',
      message: expect.stringMatching(/model\.safetensors.*SHA-256/) as string,
    })
    hub.faults[0] = (request, response) =>
      request.url === '/model.safetensors' && Boolean(response.end(Buffer.concat([weights(), weights()])))
    expect(await failing(get())).toMatchObject({ code: 'Corrupted' })
    expect(existsSync(join(cache, 'models--org--tiny', 'refs'))).toBe(false)
    expect(existsSync(join(blobs(), sha256(weights())))).toBe(false)
  })

  it.each([-1, 1])('with a file whose size is not the announced one (%d) is refused', async (more) => {
    hub.announced = (file) => (file === 'config.json' ? { size: hub.files.get(file)!.length + more } : {})
    expect(await failing(get())).toMatchObject({
      code: 'Corrupted',
      message: expect.stringMatching(/config\.json.*bytes, announced were/) as string,
    })
    expect(existsSync(join(cache, 'models--org--tiny', 'snapshots'))).toBe(false)
  })

  it('with a small file that is not the announced git object is refused', async () => {
    hub.announced = (file) =>
      file === 'config.json'
        ? { size: hub.files.get(file)!.length, blobId: gitBlob(hub.files.get(file)!) }
        : {}
    hub.faults.push((request, response) => {
      if (!request.url!.endsWith('/config.json')) return false
      const bytes = hub.files.get('config.json')!
      response.writeHead(200, { etag: gitBlob(bytes) }).end(new Uint8Array(bytes.length))
      return true
    })
    expect(await failing(get())).toMatchObject({
      code: 'Corrupted',
      message: expect.stringMatching(/git object/) as string,
    })
    expect(existsSync(join(cache, 'models--org--tiny', 'snapshots'))).toBe(false)
  })
})

it('a connection that falls silent is given up, before the headers and in the body', async () => {
  hub.faults.push((request) => request.url!.endsWith('README.md'))
  expect(await failing(get({ stall: 50, retries: 1, files: (file) => file === 'README.md' }))).toMatchObject({
    exitCode: 5,
    message: expect.stringMatching(/nothing came for 0\.05 s/) as string,
  })
  let silent = 1
  hub.faults[0] = (request, response) => {
    if (request.url !== '/model.safetensors' || silent-- <= 0) return false
    response.writeHead(200, { 'content-length': weights().length }).write(weights().subarray(0, 10_000))
    return true
  }
  await get({ stall: 200, retries: 1 })
  expect(hub.requests.map(({ range }) => range)).toContain('bytes=10000-')
})

it("an error of the caller's own progress function reaches the caller", async () => {
  const onProgress = (event: PullEvent): void => {
    if (event.status === 'progress') throw new Error('mine')
  }
  await expect(get({ onProgress })).rejects.toThrow('mine')
})

it('an aborted pull stops at once, and keeps what came', async () => {
  const controller = new AbortController()
  hub.faults.push((request, response) => {
    if (request.url !== '/model.safetensors') return false
    response.writeHead(200, { 'content-length': weights().length })
    response.write(weights().subarray(0, 10_000))
    return true
  })
  const onProgress = (event: PullEvent): void => {
    if (event.status === 'progress' && event.file === 'model.safetensors') controller.abort()
  }
  expect(await failing(get({ signal: controller.signal, onProgress }))).toMatchObject({ name: 'AbortError' })
  expect(readFileSync(join(blobs(), `${sha256(weights())}.incomplete`)).length).toBe(10_000)
})

it('what is no model id, revision or endpoint is a UsageError before any request', async () => {
  for (const id of ['', '../x', 'a/b/c', 'org/', 'org/..', 'a--b/c', 'org/x@', 'https://host/x'])
    expect(await failing(get({}, id)), id).toBeInstanceOf(UsageError)
  expect(await failing(get({ revision: '../main' }))).toBeInstanceOf(UsageError)
  for (const endpoint of ['huggingface.co', 'file:///etc', 'http://'])
    expect(await failing(get({ endpoint })), endpoint).toBeInstanceOf(UsageError)
  expect(hub.requests).toEqual([])
})

it('by default the files of a Transformers model are taken, and no second copy of its weights', () => {
  const taken = [
    'config.json',
    'model-00001-of-00002.safetensors',
    'tokenizer.model',
    'model.safetensors',
    'model.safetensors.index.json',
    'merges.txt',
    'chat_template.jinja',
    'LICENSE',
    'README.md',
  ]
  const left = [
    'pytorch_model.bin',
    'onnx/model.onnx',
    'consolidated.safetensors',
    'model.fp16.safetensors',
    'model.fp16-00001-of-00002.safetensors',
    'model.fp16.safetensors.index.json',

    'original/params.json',
    '.gitattributes',
    'model.gguf',
    'flax_model.msgpack',
  ]
  expect(taken.filter((file) => !isModelFile(file))).toEqual([])
  expect(left.filter(isModelFile)).toEqual([])
})

/** @file A model hub in the small, on this machine, for tests of `weft pull`. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The commit that `main` of org/tiny is at. */
export const commit: string = 'a1'.repeat(20)
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
/** The name that git gives a file of this content. */
export const gitBlob = (bytes: Uint8Array): string =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/**
 * Serves one model (or dataset), org/tiny, whose content is `files`: safetensors by a redirect to a storage on another port, as LFS
 * files are, the rest directly.
 */
export class TestHub {
  readonly files = new Map<string, Uint8Array>()
  /** Tried in turn on every request; one that returns true has answered. */
  readonly faults: ((request: IncomingMessage, response: ServerResponse) => boolean)[] = []
  readonly requests: { path: string; range?: string; authorization?: string }[] = []
  announced: (file: string) => object = () => ({})
  ranges = true
  /** What org/tiny is. */
  kind: 'model' | 'dataset' = 'model'
  private readonly servers: Server[] = []
  endpoint = ''
  storage = ''

  async start(): Promise<void> {
    this.endpoint = await this.listen((request, response) => this.hub(request, response))
    this.storage = await this.listen((request, response) =>
      this.send(request, response, request.url!.slice(1)),
    )
  }

  stop(): void {
    for (const server of this.servers) {
      server.closeAllConnections()
      server.close()
    }
  }

  private async listen(
    answer: (request: IncomingMessage, response: ServerResponse) => void,
  ): Promise<string> {
    const server = createServer((request, response) => {
      this.requests.push({
        path: request.url!,
        range: request.headers.range,
        authorization: request.headers.authorization,
      })
      if (!this.faults.some((fault) => fault(request, response))) answer(request, response)
    })
    this.servers.push(server)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  private hub(request: IncomingMessage, response: ServerResponse): void {
    const path = request
      .url!.split('?')[0]
      .replace(this.kind === 'dataset' ? /^(\/api)?\/datasets/ : /^(\/api)\/models/, '$1')
    if (path === '/api/org/tiny/revision/main' || path === `/api/org/tiny/revision/${commit}`) {
      const siblings = [...this.files.keys()].map((rfilename) => ({
        rfilename,
        ...this.announced(rfilename),
      }))
      response.end(JSON.stringify({ id: 'org/tiny', sha: commit, siblings }))
      return
    }
    const file = path.replace(`/org/tiny/resolve/${commit}/`, '')
    const bytes = this.files.get(file)
    if (!bytes) response.writeHead(404).end()
    else if (file.endsWith('.safetensors'))
      response
        .writeHead(302, {
          location: `${this.storage}/${file}`,
          'x-linked-etag': `"${sha256(bytes)}"`,
          'x-linked-size': bytes.length,
          'x-repo-commit': commit,
        })
        .end()
    else this.send(request, response, file, { etag: `"${gitBlob(bytes)}"` })
  }

  private send(
    request: IncomingMessage,
    response: ServerResponse,
    file: string,
    headers: Record<string, string> = { etag: '"of-the-storage"' },
  ): void {
    const bytes = this.files.get(file)!
    const from = this.ranges ? Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? NaN) : NaN
    if (from >= bytes.length) response.writeHead(416).end()
    else if (from >= 0)
      response
        .writeHead(206, {
          ...headers,
          'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}`,
          'content-length': bytes.length - from,
        })
        .end(bytes.subarray(from))
    else response.writeHead(200, { ...headers, 'content-length': bytes.length }).end(bytes)
  }
}

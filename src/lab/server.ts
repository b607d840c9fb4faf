/** @file The lab on a socket, with limits for clients that are slow, many, or never finish. */
import type { AddressInfo } from 'node:net'
import type { Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import { UsageError } from '../errors.js'
import type { App } from './routes/context.js'

/** A lab that listens. */
export interface Listening {
  readonly host: string
  readonly port: number
  /** Ends every connection. */
  close(): Promise<void>
}

/**
 * Milliseconds within which a client has to send its headers, its whole request, its next request; and for which it may
 * take nothing of an answer.
 */
export interface Patience {
  headers: number
  request: number
  idle: number
  stalled: number
}

const usual: Patience = { headers: 10_000, request: 30_000, idle: 5000, stalled: 120_000 }
/** Connections at once; what a slow crowd holds stays below it. */
const connections = 4000

/** Listens on `host`:`port`; port 0 takes a free one. Throws UsageError when the port is taken. */
export const listen = async (
  app: App,
  { host, port, patience = usual }: { host: string; port: number; patience?: Patience },
): Promise<Listening> => {
  const server = createAdaptorServer({
    fetch: app.fetch,
    overrideGlobalObjects: false,
    serverOptions: {
      headersTimeout: patience.headers,
      requestTimeout: patience.request,
      keepAliveTimeout: patience.idle,
      connectionsCheckingInterval: Math.min(1000, patience.headers / 2),
      maxHeaderSize: 16 * 1024,
    },
  }) as Server
  server.maxConnections = connections
  server.timeout = patience.stalled
  await new Promise<void>((done, fail) => {
    server.once('error', (error: NodeJS.ErrnoException) => fail(refused(error, host, port)))
    server.listen(port, host, done)
  })
  return {
    host,
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((done) => {
        server.close(() => done())
        server.closeAllConnections()
      }),
  }
}

const refused = (error: NodeJS.ErrnoException, host: string, port: number): Error => {
  if (error.code === 'EADDRINUSE')
    return new UsageError('PortTaken', `port ${port} of ${host} is taken`, {
      hint: 'Choose another with --port, or 0 for any that is free.',
    })
  if (error.code === 'EACCES' || error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND')
    return new UsageError('CannotListen', `cannot listen on ${host}:${port} (${error.code})`)
  return error
}

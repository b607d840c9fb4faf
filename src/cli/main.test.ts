import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const source = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

const node = (args: string[], env: Record<string, string> = {}): ChildProcess =>
  spawn(process.execPath, ['--import', 'tsx', ...args], { env: { ...process.env, ...env } })

const exit = async (child: ChildProcess): Promise<unknown[]> => once(child, 'exit')

describe('the weft binary', () => {
  it('exits with the code of the refusal', async () => {
    const child = node([source('main.ts'), 'inspcet'])
    let err = ''
    child.stderr!.on('data', (chunk) => (err += String(chunk)))
    expect(await exit(child)).toEqual([2, null])
    expect(err).toMatch(/^UnknownVerb: .*\n {2}Nearest: inspect/)
  })

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s stops what it is doing and exits %i', async (name, code) => {
    const silent = createServer().listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const child = node([source('main.ts'), 'pull', 'a/b'], {
      HF_ENDPOINT: `http://127.0.0.1:${port}`,
      HF_HUB_OFFLINE: '',
    })
    const ended = exit(child)
    await once(silent, 'request')
    child.kill(name)
    expect(await ended).toEqual([code, null])
    silent.closeAllConnections()
    silent.close()
  })

  it('a second Ctrl-C ends it at once, though the first is not done', async () => {
    const script = `const { abortOnSignals } = await import(${JSON.stringify(source('signals.ts'))})
      const signal = abortOnSignals()
      signal.onabort = () => console.log('stopping', signal.reason)
      console.log('ready')
      setInterval(() => {}, 1000)`
    const child = node(['--input-type=module', '-e', script])
    const ended = exit(child)
    expect(String((await once(child.stdout!, 'data'))[0])).toBe('ready\n')
    child.kill('SIGINT')
    expect(String((await once(child.stdout!, 'data'))[0])).toBe('stopping SIGINT\n')
    child.kill('SIGINT')
    expect(await ended).toEqual([null, 'SIGINT'])
  })
})

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { lower } from '../tensor/lower.js'
import { encodeModel } from '../tensor/onnx.js'
import {
  bound,
  castValue,
  compile,
  cond,
  constant,
  type FileSource,
  input,
  type Tensor,
  tensor,
  toNumbers,
  type Value,
  valueOf,
} from '../tensor/index.js'
import { openSession, type Session } from './index.js'

const x = valueOf([1, 2, 3, 4], [4])
const weights = valueOf([0.5, -1, 2, 8], [4])

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weft-sessions-'))
})
afterAll(() => rm(folder, { recursive: true }))

/** `v` in a file, at a place that no alignment would choose. */
const inFile = async (v: Value, offset = 13): Promise<FileSource> => {
  const path = join(folder, `${v.dtype}.bin`)
  const { buffer, byteOffset, byteLength: length } = v.data
  await writeFile(
    path,
    Buffer.concat([Buffer.alloc(offset, 7), Buffer.from(buffer, byteOffset, length), Buffer.alloc(3)]),
  )
  return { kind: 'file', dtype: v.dtype, shape: v.shape, path, offset, length, read: async () => v }
}

const big = (fill: number): Value => valueOf(new Float32Array(2 ** 18).fill(fill), [2 ** 18])

describe('bound weights', () => {
  it.each(['float32', 'bfloat16', 'float16'] as const)(
    'of %s are read from their place in a file',
    async (dtype) => {
      const source = await inFile(castValue(weights, dtype))
      const program = await compile(({ x }: { x: Tensor }) => x.mul(bound(source).cast('float32')), { x })
      expect([...toNumbers(await program.run({ x }))]).toEqual([0.5, -2, 6, 32])
    },
  )

  it('are given from memory, also inside a branch', async () => {
    const source = { kind: 'memory', dtype: 'float32', shape: [4], value: weights } as const
    const spec = { shape: [], dtype: 'bool' as const }
    const f = ({ x, p }: { x: Tensor; p: Tensor }) =>
      cond(
        p,
        () => x.mul(bound(source)),
        () => x.add(constant(big(2)).max()),
      )[0]
    const program = await compile(f, { x, p: spec })
    expect([...toNumbers(await program.run({ x, p: valueOf([1], [], 'bool') }))]).toEqual([0.5, -2, 6, 32])
    expect([...toNumbers(await program.run({ x, p: valueOf([0], [], 'bool') }))]).toEqual([3, 4, 5, 6])
  })

  it('that cannot be read are an error that names their file', async () => {
    const source = { ...(await inFile(weights)), path: join(folder, 'absent.bin') }
    const program = compile(({ x }: { x: Tensor }) => x.mul(bound(source)), { x })
    await expect(program).rejects.toThrow(/absent\.bin/)
  })
})

describe('large constants', () => {
  it('lie beside the model, not in it', async () => {
    const y = input('x', [], 'float32').add(constant(big(3)).max())
    const lowered = lower([y], new Set(), 'cpu', { mapsFiles: true })
    expect(lowered.memory.size).toBe(1)
    expect(encodeModel(lowered.graph).length).toBeLessThan(1000)
    const program = await compile(({ x }: { x: Tensor }) => x.add(constant(big(3)).max()), { x })
    expect([...toNumbers(await program.run({ x }))]).toEqual([4, 5, 6, 7])
  })
})

describe('sessions', () => {
  const collect = (): void => {
    setFlagsFromString('--expose-gc')
    ;(runInNewContext('gc') as () => void)()
  }

  it('are shared by programs of equal structure', async () => {
    const opened: Session[] = []
    const counting: typeof openSession = async (model, options) => {
      opened.push(await openSession(model, options))
      return opened[opened.length - 1]
    }
    const f = ({ x }: { x: Tensor }) => x.mul(tensor([1, 2, 3, 4])).sum()
    const programs = [
      await compile(f, { x }, { openSession: counting }),
      await compile(f, { x }, { openSession: counting }),
    ]
    expect(opened.length).toBe(1)
    for (const p of programs) expect([...toNumbers(await p.run({ x }))]).toEqual([30])
  })

  it('of programs that nobody holds are collected', async () => {
    const held: WeakRef<Session>[] = []
    const watching: typeof openSession = async (model, options) => {
      const session = await openSession(model, options)
      held.push(new WeakRef(session))
      return session
    }
    for (let i = 0; i < 200; i++) {
      const program = await compile(
        ({ x }: { x: Tensor }) => x.mul(i + 0.5).sum(),
        { x },
        { openSession: watching },
      )
      expect([...toNumbers(await program.run({ x }))]).toEqual([10 * (i + 0.5)])
    }
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      collect()
    }
    expect(held.length).toBe(200)
    expect(held.filter((r) => r.deref()).length).toBeLessThan(10)
  })

  it.each(['0', '1', undefined])('have threads that wait as WEFT_SPIN=%s says', async (spin) => {
    const { InferenceSession } = await import('onnxruntime-node')
    const create = vi.spyOn(InferenceSession, 'create').mockRejectedValue(new Error('not opened'))
    vi.stubEnv('WEFT_SPIN', spin)
    const settings = {
      device: 'cpu',
      optimization: 'disabled',
      memory: new Map<string, Value>(),
      prepack: false,
    } as const
    await expect(openSession(new Uint8Array(), settings)).rejects.toThrow('not opened')
    expect(create).toHaveBeenCalledWith(
      new Uint8Array(),
      expect.objectContaining({
        extra: expect.objectContaining({
          session: expect.objectContaining({ intra_op: { allow_spinning: spin === '0' ? '0' : '1' } }),
        }),
      }),
    )
    create.mockRestore()
    vi.unstubAllEnvs()
  })

  it('on a device that is not there are an error that says so', async () => {
    const program = compile(({ x }: { x: Tensor }) => x.neg(), { x }, { device: 'cuda' })
    await expect(program).rejects.toMatchObject({
      code: 'EngineError',
      message: /device cuda is not available here/,
    })
  })
})

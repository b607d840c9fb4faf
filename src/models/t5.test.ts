import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { type Checkpoint, CheckpointWriter, encode, open } from '../checkpoint/index.js'
import { interpret, type Tensor, tensor, toNumbers, type Value, valueOf } from '../tensor/index.js'
import { openModel, plainWeights, positionsFrom, t5 } from './index.js'

const config = { model_type: 't5', vocab_size: 20, d_model: 8, num_heads: 2, d_kv: 4, d_ff: 8, num_layers: 1 }
const numbers = async (t: Tensor): Promise<number[]> => [...(await interpret([t], { inputs: {} }))[0]]

describe("T5's position biases", () => {
  /** The bucket of a key `ahead` tokens after the token, read from a table in which bucket b holds b. */
  const bucketOf = async (ahead: number, causal: boolean): Promise<number> => {
    const c = t5.t5.readConfig({ ...config, num_heads: 1 })
    const table = tensor(
      Array.from({ length: c.buckets }, (_, i) => i),
      [c.buckets, 1],
    )
    const w = plainWeights(
      () => table,
      () => [],
    )
    const position = (n: number): Tensor => tensor([n], [1, 1], 'int32')
    const at = { ...positionsFrom(1, { causal }), ids: position(500), keys: position(500 + ahead) }
    return (await numbers(t5.positionBias(w, c, at)))[0]
  }

  it('are one a distance when near, ever fewer when far, and one from 128 on', async () => {
    const backward = [0, 1, 15, 16, 17, 20, 31, 64, 127, 128, 400]
    const causal = await Promise.all(backward.map((n) => bucketOf(-n, true)))
    // 16 + floor(16 log(n / 16) / log(8)) from 16 on.
    expect(causal).toEqual([0, 1, 15, 16, 16, 17, 21, 26, 31, 31, 31])
  })

  it('tell before from after in an encoder, and know no after in a decoder', async () => {
    expect(await Promise.all([-3, 3, -12, 12, -300, 300].map((n) => bucketOf(n, false)))).toEqual([
      3, 19, 9, 25, 15, 31,
    ])
    expect(await bucketOf(5, true)).toBe(0)
  })
})

describe('T5', () => {
  it('reads labels one later, behind the start token, padding where they are ignored', async () => {
    const c = t5.t5.readConfig({ ...config, decoder_start_token_id: 7, pad_token_id: 3 })
    const labels = tensor([5, 6, -100, 8, -100, -100], [2, 3], 'int32')
    expect(await numbers(t5.shiftRight(labels, c))).toEqual([7, 5, 6, 7, 8, 3])
  })

  it('reads each spelling of a version 1.1 head', () => {
    const read = (change: object): boolean[] => {
      const { tied, scaled, gated } = t5.t5.readConfig({ ...config, ...change })
      return [tied, scaled, gated]
    }
    expect(read({})).toEqual([true, true, false])
    expect(read({ tie_word_embeddings: false, feed_forward_proj: 'gated-gelu' })).toEqual([
      false,
      false,
      true,
    ])
    expect(read({ scale_decoder_outputs: false })).toEqual([true, false, false])
  })

  it('refuses a feed-forward part that it does not know', () => {
    expect(() => t5.t5.readConfig({ ...config, feed_forward_proj: 'gated-gellu' })).toThrow(
      /feed_forward_proj is "gated-gellu"; expected an activation/,
    )
  })
})

describe('a tied tensor that the checkpoint holds all the same', () => {
  const folders: string[] = []
  afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))))

  /** The reference checkpoint with one more tensor. */
  const withTensor = async (name: string, make: (shared: Value) => Value): Promise<Checkpoint> => {
    const folder = await mkdtemp(join(tmpdir(), 'weft-t5-'))
    folders.push(folder)
    await using golden = await open(goldenFolder('t5'))
    const tensors = await Promise.all(golden.names().map(async (n) => [n, await golden.read(n)] as const))
    const all = [...tensors, [name, make(await golden.read('shared.weight'))] as const]
    await using writer = await CheckpointWriter.create(
      join(folder, 'model'),
      all.map(([n, v]) => ({ name: n, ...encode(v) })),
    )
    for (const [n, v] of all) await writer.writeValue(n, v)
    await writer.finish({ 'config.json': golden.config })
    return open(join(folder, 'model'))
  }
  const doubled = (v: Value): Value =>
    valueOf(
      toNumbers(v).map((x) => 2 * x),
      v.shape,
    )

  it('is the one it is tied to when equal, and not trained twice', async () => {
    await using checkpoint = await withTensor('lm_head.weight', (v) => v)
    const { parameters } = await openModel(checkpoint, { trainable: true })
    expect(Object.keys(parameters)).not.toContain('lm_head.weight')
  })

  it('is a head of its own when it differs', async () => {
    await using checkpoint = await withTensor('lm_head.weight', doubled)
    const { parameters } = await openModel(checkpoint, { trainable: true })
    expect(toNumbers(parameters['lm_head.weight'])).toEqual(toNumbers(doubled(parameters['shared.weight'])))
  })

  it('is refused when it differs and is no head', async () => {
    await using checkpoint = await withTensor('encoder.embed_tokens.weight', doubled)
    await expect(openModel(checkpoint)).rejects.toThrow(/encoder.embed_tokens.weight should be the same/)
  })
})

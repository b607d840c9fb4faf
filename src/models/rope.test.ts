import { describe, expect, test } from 'vitest'
import { numbersOf } from '../../test/golden-case.js'
import { compile, tensor } from '../tensor/index.js'
import { ConfigReader } from './config.js'
import { readRope, rotation } from './rope.js'

const size = 16

/** Radians a position of each pair, by the turn of position 1, and by the turns of all of `positions` its cosines. */
const turned = async (
  parameters: Record<string, unknown>,
  positions: readonly number[],
  { maximum = 4096, limit = maximum }: { maximum?: number; limit?: number } = {},
): Promise<{ cos: Float64Array; sin: Float64Array }> => {
  const rope = readRope(new ConfigReader({ rope_parameters: parameters }), maximum, 10_000)
  const program = await compile(() => {
    const ids = tensor(positions, [1, positions.length], 'int32')
    return rotation(rope, size, { ids, keys: ids, causal: true, limit })
  }, {})
  const { cos, sin } = await program.run({})
  return { cos: await numbersOf(cos), sin: await numbersOf(sin) }
}

const frequencies = async (parameters: Record<string, unknown>, options = {}): Promise<number[]> => {
  const { cos, sin } = await turned(parameters, [1], options)
  return [...sin.slice(0, size / 2)].map((s, i) => Math.atan2(s, cos[i]))
}

const plain = Array.from({ length: size / 2 }, (_, i) => 10_000 ** ((-2 * i) / size))
const closeTo = (found: readonly number[], expected: readonly number[]): void =>
  found.forEach((f, i) => expect(f / expected[i], `pair ${i}`).toBeCloseTo(1, 5))

describe('rotary tables', () => {
  test('turn each pair by position times frequency, as exactly at the last position as at the first', async () => {
    const positions = [0, 1, 2, 362, 363, 70_001, 131_071]
    const { cos, sin } = await turned({ rope_type: 'default' }, positions, { maximum: 131_072 })
    for (const [p, position] of positions.entries())
      for (let i = 0; i < size; i++) {
        const angle = position * plain[i % (size / 2)]
        expect(Math.abs(cos[p * size + i] - Math.cos(angle))).toBeLessThan(3e-7)
        expect(Math.abs(sin[p * size + i] - Math.sin(angle))).toBeLessThan(3e-7)
      }
  })

  test('linear scaling divides every frequency', async () => {
    closeTo(
      await frequencies({ rope_type: 'linear', factor: 4 }),
      plain.map((f) => f / 4),
    )
  })

  test('dynamic scaling changes nothing within the positions of the model, and slows all but the fastest beyond', async () => {
    const dynamic = { rope_type: 'dynamic', factor: 2 }
    closeTo(await frequencies(dynamic, { maximum: 64, limit: 64 }), plain)
    const beyond = await frequencies(dynamic, { maximum: 64, limit: 128 })
    expect(beyond[0]).toBeCloseTo(1, 5)
    for (let i = 1; i < plain.length; i++) expect(beyond[i]).toBeLessThan(plain[i])
    // At twice the length the base is 3 times as large to the power of size / (size - 2): the slowest slows 3 times.
    expect(plain[7] / beyond[7]).toBeCloseTo(3, 3)
  })

  test.each([
    ['llama3', { low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 256 }],
    ['yarn', { beta_fast: 32, beta_slow: 1, original_max_position_embeddings: 4096, attention_factor: 1 }],
  ])(
    '%s keeps the fastest frequencies, divides the slowest, and goes between without a step back',
    async (type, more) => {
      const found = await frequencies({ rope_type: type, factor: 8, ...more })
      expect(found[0]).toBeCloseTo(1, 5)
      expect(plain[7] / found[7]).toBeCloseTo(8, 3)
      const ratios = found.map((f, i) => plain[i] / f)
      ratios.slice(1).forEach((r, i) => expect(r).toBeGreaterThan(ratios[i] - 1e-4))
    },
  )

  test('yarn sharpens attention: cosines and sines are larger by 0.1 ln(factor) + 1', async () => {
    const { cos } = await turned({ rope_type: 'yarn', factor: 8 }, [0])
    for (const c of cos) expect(c).toBeCloseTo(0.1 * Math.log(8) + 1, 5)
  })
})

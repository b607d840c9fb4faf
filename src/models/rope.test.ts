import { describe, expect, test } from 'vitest'
import { numbersOf } from '../../test/golden-case.js'
import { compile, tensor, valueOf } from '../tensor/index.js'
import { ConfigReader } from './config.js'
import { readRope, rotation, turned as turnedHeads } from './rope.js'

const size = 16

/** Radians a position of each pair, by the turn of position 1, and by the turns of all of `positions` its cosines. */
const turned = async (
  parameters: Record<string, unknown>,
  positions: readonly number[],
  { maximum = 4096, limit = maximum }: { maximum?: number; limit?: number } = {},
): Promise<{ cos: Float64Array; sin: Float64Array }> => {
  const rope = readRope(new ConfigReader({ rope_parameters: parameters }), {
    maximum,
    theta: 10_000,
    sizes: [size],
  })
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
      for (const [i, frequency] of plain.entries()) {
        const angle = position * frequency
        expect(Math.abs(cos[p * plain.length + i] - Math.cos(angle))).toBeLessThan(3e-7)
        expect(Math.abs(sin[p * plain.length + i] - Math.sin(angle))).toBeLessThan(3e-7)
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

  const amplitude = async (parameters: Record<string, unknown>, options = {}): Promise<number> =>
    (await turned(parameters, [0], options)).cos[0]
  const yarn = { rope_type: 'yarn', factor: 8, original_max_position_embeddings: 512 }

  test('yarn blends between whole pairs, or with truncate false between the places themselves', async () => {
    const level = { ...yarn, attention_factor: 1 }
    const whole = [1, 0.2470529422, 0.05625, 0.0108703295, 0.00125, 0.0003952847, 0.000125, 0.0000395285]
    const exact = [1, 0.2989362639, 0.0654650761, 0.0115101231, 0.00125, 0.0003952847, 0.000125, 0.0000395285]
    closeTo(await frequencies(level), whole)
    closeTo(await frequencies({ ...level, truncate: true }), whole)
    closeTo(await frequencies({ ...level, truncate: false }), exact)
    closeTo(await frequencies({ ...level, truncate: false, beta_fast: 0, beta_slow: 0 }), exact)
  })

  test.each([
    [{ mscale: 1, mscale_all_dim: 0.5 }, 1.094179988101349],
    [{ mscale: 0.707, mscale_all_dim: 1 }, 0.9495608824621653],
    [{ mscale: 0.707 }, 1.2079441541679836],
    [{ mscale: 1, mscale_all_dim: 0 }, 1.2079441541679836],
    [{ mscale: 1, mscale_all_dim: 0.5, attention_factor: 1.25 }, 1.25],
    [{ factor: 1 }, 1],
  ])('yarn with %j multiplies cosines and sines by %d', async (more, expected) => {
    expect(await amplitude({ ...yarn, ...more })).toBeCloseTo(expected, 5)
  })

  test('yarn without a factor stretches by the model’s positions over the original ones', async () => {
    const { factor, ...rest } = yarn
    closeTo(await frequencies(rest, { maximum: 512 * factor }), await frequencies(yarn))
  })

  describe('longrope', () => {
    const short = [1, 1, 1, 1, 1.5, 1.5, 2, 2]
    const long = [1, 2, 3, 4, 5, 6, 7, 8]
    const longrope = {
      rope_type: 'longrope',
      short_factor: short,
      long_factor: long,
      original_max_position_embeddings: 64,
      attention_factor: 1,
    }

    test('divides by the short factors within the original context, by the long ones beyond', async () => {
      const within = await frequencies(longrope, { maximum: 256, limit: 64 })
      closeTo(
        within,
        plain.map((f, i) => f / short[i]),
      )
      const beyond = await frequencies(longrope, { maximum: 256, limit: 65 })
      closeTo(
        beyond,
        plain.map((f, i) => f / long[i]),
      )
    })

    test('multiplies by sqrt(1 + ln(factor) / ln(original))', async () => {
      const { attention_factor: _, ...rest } = longrope
      expect(await amplitude(rest, { maximum: 256 })).toBeCloseTo(1.1547005383792517, 5)
      expect(await amplitude({ ...rest, factor: 1 }, { maximum: 256 })).toBeCloseTo(1, 5)
    })

    test('refuses factors that are not one a pair', () => {
      expect(() => read({ ...longrope, long_factor: long.slice(1) })).toThrow(
        /long_factor is .*expected 8 positive/,
      )
      expect(() => read({ ...longrope, short_factor: undefined })).toThrow(/short_factor is missing/)
    })
  })

  const read = (parameters: Record<string, unknown>, more: Record<string, unknown> = {}): unknown =>
    readRope(new ConfigReader({ rope_parameters: parameters, ...more }), {
      maximum: 4096,
      theta: 10_000,
      sizes: [size],
    })

  test('the original context beside rope_parameters wins over the one within', () => {
    expect(read(yarn, { original_max_position_embeddings: 1024 })).toMatchObject({ original: 1024 })
  })

  test.each([
    [{ rope_type: 'default', mrope_section: [1, 2] }, /rope_parameters\.mrope_section is \[1,2\]/],
    [{ rope_type: 'default', factor: 2 }, /rope_parameters\.factor is 2, .*expected 1/],
    [{ rope_type: 'linear', factor: 2, attention_factor: 1.5 }, /attention_factor is 1\.5/],
    [{ rope_type: 'dynamic', factor: 2, alpha: 3 }, /rope_parameters\.alpha is 3/],
    [{ ...yarn, low_freq_factor: 2 }, /low_freq_factor is 2/],
    [{ ...yarn, llama_4_scaling_beta: 0.1 }, /llama_4_scaling_beta is 0\.1/],
    [{ rope_type: 'default', partial_rotary_factor: 0.5 }, /partial_rotary_factor is 0\.5/],
    [{ rope_type: 'proportional' }, /rope_type is 'proportional'/],
    [
      { full_attention: { rope_type: 'default' } },
      /rope_parameters\.full_attention is \{"rope_type":"default"\}/,
    ],
    [{ ...yarn, mscale: 'x' }, /mscale is "x"; expected a number/],
    [{ ...yarn, truncate: 1 }, /truncate is 1; expected true or false/],
    [{ ...yarn, factor: 0 }, /factor is 0; expected a positive number/],
  ])('%j is refused by the name of what is not done', (parameters, message) => {
    expect(() => read(parameters)).toThrow(message)
  })

  test.each([
    { rope_type: 'default', factor: 1, attention_factor: 1, partial_rotary_factor: 1 },
    { rope_type: 'linear', factor: 2, original_max_position_embeddings: 2048, attention_factor: null },
    { ...yarn, finetuned: true },
  ])('%j says nothing that matters, and is read', (parameters) => {
    expect(() => read(parameters)).not.toThrow()
  })
})

test('heads are turned by one kernel on the processor, and both it and the definition give the same', async () => {
  const rope = readRope(new ConfigReader({ rope_parameters: { rope_type: 'default' } }), {
    maximum: 64,
    theta: 10_000,
    sizes: [8],
  })
  const numbers = Array.from({ length: 2 * 3 * 4 * 8 }, (_, i) => Math.sin(3 * i))
  const turnedBy = async (device: 'cpu' | 'reference', places: readonly number[][]) => {
    const program = await compile(
      ({ x }) => {
        const ids = tensor(places.flat(), [places.length, 4], 'int32')
        return turnedHeads(x, rope, { ids, keys: ids, causal: true, limit: 64 })
      },
      { x: { shape: [2, 3, 4, 8], dtype: 'float32' as const } },
      { device },
    )
    return numbersOf(await program.run({ x: valueOf(numbers, [2, 3, 4, 8], 'float32') }))
  }
  for (const places of [
    [[5, 6, 7, 8]],
    [
      [0, 1, 2, 3],
      [60, 61, 62, 63],
    ],
  ]) {
    const [kernel, definition] = [await turnedBy('cpu', places), await turnedBy('reference', places)]
    kernel.forEach((x, i) => expect(Math.abs(x - definition[i])).toBeLessThan(1e-6))
  }
})

import fc from 'fast-check'
import { afterEach, describe, expect, it, vi } from 'vitest'
import {
  fillBytes,
  fillWords,
  keyOf,
  normal,
  philox,
  type Place,
  PlaceError,
  rademacher,
  uniform,
} from './index.js'
import { compileKernels } from './kernels.js'
import { philoxModule } from './philox.wasm.js'
import { type Kernels, scalar } from './scalar.js'

const key = keyOf(1234)
const n = 200_000

const draws = {
  fillWords: (count: number, place: Place) => {
    const out = new Uint32Array(count)
    fillWords(out, key, place)
    return out
  },
  fillBytes: (count: number, place: Place) => {
    const out = new Uint8Array(count)
    fillBytes(out, key, place)
    return out
  },
  unit: (count: number, place: Place) => {
    const out = new Float32Array(count)
    uniform(out, key, place)
    return out
  },
  centred: (count: number, place: Place) => {
    const out = new Float32Array(count)
    uniform(out, key, place, 'centred')
    return out
  },
  ih8: (count: number, place: Place) => {
    const out = new Float32Array(count)
    normal(out, key, place)
    return out
  },
  pop128: (count: number, place: Place) => {
    const out = new Float32Array(count)
    normal(out, key, place, 'pop128')
    return out
  },
  rademacher: (count: number, place: Place) => {
    const out = new Float32Array(count)
    rademacher(out, key, place)
    return out
  },
}

/** Mean, variance and kurtosis about the mean. */
const moments = (x: ArrayLike<number>) => {
  const values = Array.from(x)
  const average = (f: (v: number) => number) => values.reduce((s, v) => s + f(v), 0) / values.length
  const mean = average((v) => v)
  const variance = average((v) => (v - mean) ** 2)
  return { mean, variance, kurtosis: average((v) => (v - mean) ** 4) / variance ** 2 }
}

const chiSquare = (counts: ArrayLike<number>, expected: number) =>
  Array.from(counts).reduce((s, c) => s + (c - expected) ** 2 / expected, 0)

describe('every bulk draw', () => {
  for (const [name, draw] of Object.entries(draws))
    it(`${name}: any sub-range equals the slice of the whole`, () => {
      const place = { block: 2 ** 32 - 40, tensor: 3, domain: 9 }
      const whole = draw(20_000, place)
      const range = fc.tuple(fc.nat(19_999), fc.nat(20_000))
      fc.assert(
        fc.property(range, ([first, length]) => {
          const count = Math.min(length, 20_000 - first)
          expect(draw(count, { ...place, first })).toEqual(whole.slice(first, first + count))
        }),
        { numRuns: 40 },
      )
    })

  it('differs between tensors, domains, keys and blocks', () => {
    const base = draws.fillWords(64, {})
    for (const place of [{ tensor: 1 }, { domain: 1 }, { block: 1 }, { block: 2 ** 32 }])
      expect(draws.fillWords(64, place)).not.toEqual(base)
    const other = new Uint32Array(64)
    fillWords(other, keyOf(1235))
    expect(other).not.toEqual(base)
  })

  it('refuses a place outside the counter', () => {
    const bad = [
      { block: -1 },
      { block: 0.5 },
      { block: 2 ** 53 },
      { tensor: 2 ** 32 },
      { domain: NaN },
      { first: -1 },
    ]
    for (const place of [...bad, { block: Number.MAX_SAFE_INTEGER, first: 8 }])
      for (const draw of Object.values(draws)) expect(() => draw(8, place)).toThrow(PlaceError)
  })
})

describe('fillWords', () => {
  it('puts word e mod 4 of block floor(e / 4) at e, with the block number split over two counter words', () => {
    const block = 5 * 2 ** 32 + 0xffffffff
    const words = draws.fillWords(8, { block, tensor: 6, domain: 7 })
    expect([...words]).toEqual([...philox([0xffffffff, 5, 6, 7], key), ...philox([0, 6, 6, 7], key)])
  })
})

describe('the kernels', () => {
  const run = { counter: [0xffffff00, 1, 2, 0xfffffff3], key: [0xdeadbeef, 0x12345678] } as const

  it('give the same bits in WebAssembly as in TypeScript, at lengths around the buffer of the module', () => {
    const compiled = compileKernels()
    for (const blocks of [16, 17, 61, 192, 4096, 4097, 5001, 16384, 16385, 20_003]) {
      const short = { ...run, counter: [7, 1, 2, 0xfffffff3] as const }
      const words = [new Uint32Array(4 * blocks), new Uint32Array(4 * blocks)]
      compiled.words(words[0], short)
      scalar.words(words[1], short)
      expect(words[0]).toEqual(words[1])
      for (const sampler of ['ih8', 'pop128'] as const) {
        const normals = [new Float32Array(blocks), new Float32Array(blocks)]
        compiled[sampler](normals[0], short)
        scalar[sampler](normals[1], short)
        expect(normals[0]).toEqual(normals[1])
      }
    }
  })

  it("give Random123's known answer in WebAssembly", () => {
    const ones = 0xffffffff
    const words = new Uint32Array(128)
    compileKernels().words(words, { counter: [0, 0, 0, 0], key: [0, 0] })
    expect([...words.subarray(0, 4)]).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8])
    compileKernels().words(words, { counter: [ones, ones, ones, ones], key: [ones, ones] })
    expect([...words.subarray(0, 4)]).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd])
  })

  it('are a module that browsers compile synchronously: under 4 KB', () => {
    expect(philoxModule(1).length).toBeLessThan(4096)
  })
})

describe('without WebAssembly', () => {
  afterEach(() => {
    vi.unstubAllGlobals()
    vi.resetModules()
  })

  const refusing = {
    Module: class {
      constructor() {
        throw new Error('refused by the content security policy')
      }
    },
  }

  for (const [name, global] of [
    ['absent', undefined],
    ['refused', refusing],
  ] as const)
    it(`${name}: the bits are the same`, async () => {
      vi.stubGlobal('WebAssembly', global)
      vi.resetModules()
      const { kernels } = (await import('./kernels.js')) as { kernels: () => Kernels }
      const { scalar: plain } = await import('./scalar.js')
      expect(kernels()).toBe(plain)
      const bulk = await import('./bulk.js')
      const words = new Uint32Array(1003)
      bulk.fillWords(words, key, { first: 5 })
      expect(words).toEqual(draws.fillWords(1003, { first: 5 }))
    })
})

describe('uniform', () => {
  it('unit: multiples of 2^-24 in [0, 1), with the moments and the cells of the uniform distribution', () => {
    const x = draws.unit(n, {})
    expect(x.every((v) => v >= 0 && v < 1 && Number.isInteger(v * 2 ** 24))).toBe(true)
    const { mean, variance, kurtosis } = moments(x)
    expect(Math.abs(mean - 0.5)).toBeLessThan(4 / Math.sqrt(12 * n))
    expect(Math.abs(variance - 1 / 12)).toBeLessThan(4 * Math.sqrt(1 / 180 / n))
    expect(Math.abs(kurtosis - 1.8)).toBeLessThan(0.02)
    const cells = new Uint32Array(100)
    for (const v of x) cells[Math.floor(v * 100)]++
    expect(chiSquare(cells, n / 100)).toBeLessThan(160)
  })

  it('centred: odd multiples of 2^-25, never 0, that are the unit draw shifted by exactly 1/2 - 2^-25', () => {
    const x = draws.centred(n, {})
    expect(x.every((v) => Math.abs(v) < 0.5 && Math.abs(v * 2 ** 25) % 2 === 1)).toBe(true)
    const unit = draws.unit(n, {})
    expect(x.every((v, i) => v === unit[i] - 0.5 + 2 ** -25)).toBe(true)
  })
})

describe('normal', () => {
  const phi = (z: number): number => {
    // Marsaglia's series for the normal distribution function.
    let [sum, term, i] = [z, z, 1]
    while (Math.abs(term) > 1e-15) sum += term *= (z * z) / (i += 2)
    return 0.5 + (sum * Math.exp((-z * z) / 2)) / Math.sqrt(2 * Math.PI)
  }

  it('ih8: mean 0, variance 1, kurtosis 2.85, within 4.899, and near the normal distribution', () => {
    const x = draws.ih8(n, {})
    const { mean, variance, kurtosis } = moments(x)
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(n))
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(1.85 / n))
    expect(Math.abs(kurtosis - 2.85)).toBeLessThan(0.04)
    expect(x.every((v) => Math.abs(v) <= 4.899)).toBe(true)
    const sorted = x.slice().sort()
    let distance = 0
    sorted.forEach((v, i) => (distance = Math.max(distance, Math.abs(phi(v) - (i + 0.5) / n))))
    // The sum of eight uniforms is itself 0.0035 away from the normal (0.15 He3(z) phi(z) / 24 at z = 0.74).
    expect(distance).toBeLessThan(0.0035 + 1.63 / Math.sqrt(n))
  })

  it('ih8: the scaled sum of the eight halves of the block of that index', () => {
    const x = draws.ih8(1000, { tensor: 2 })
    for (const i of [0, 17, 999]) {
      const sum = philox([i, 0, 2, 0], key).reduce((s, w) => s + (w & 0xffff) + (w >>> 16), 0)
      expect(x[i]).toBe(
        Math.fround((sum - 262140) * new Float32Array(new Uint32Array([0x379cc471]).buffer)[0]),
      )
    }
  })

  it('pop128: mean 0, variance 1, kurtosis 2.984, the scaled count of ones', () => {
    const x = draws.pop128(n, {})
    const { mean, variance, kurtosis } = moments(x)
    expect(Math.abs(mean)).toBeLessThan(4 / Math.sqrt(n))
    expect(Math.abs(variance - 1)).toBeLessThan(4 * Math.sqrt(1.98 / n))
    expect(Math.abs(kurtosis - 2.984)).toBeLessThan(0.05)
    const ones = philox([5, 0, 0, 0], key).reduce((s, w) => s + w.toString(2).replaceAll('0', '').length, 0)
    expect(x[5]).toBe(Math.fround((ones - 64) * new Float32Array(new Uint32Array([0x3e3504f3]).buffer)[0]))
  })

  it('draws of neighbouring tensors are uncorrelated', () => {
    const [a, b] = [draws.ih8(n, { tensor: 0 }), draws.ih8(n, { tensor: 1 })]
    expect(Math.abs(a.reduce((s, v, i) => s + v * b[i], 0)) / n).toBeLessThan(4 / Math.sqrt(n))
  })
})

describe('rademacher', () => {
  it('is 1 - 2 bit, lowest bit of word 0 first, and balanced in value and from one sign to the next', () => {
    const x = draws.rademacher(n, {})
    const block = philox([0, 0, 0, 0], key)
    for (let j = 0; j < 128; j++) expect(x[j]).toBe(1 - 2 * ((block[j >> 5] >>> (j & 31)) & 1))
    expect(Math.abs(x.reduce((s, v) => s + v, 0))).toBeLessThan(4 * Math.sqrt(n))
    expect(Math.abs(x.reduce((s, v, i) => s + v * (x[i + 1] ?? 0), 0))).toBeLessThan(4 * Math.sqrt(n))
  })
})

describe('fillBytes', () => {
  it('is the little-endian bytes of the words, evenly spread over 256 values', () => {
    const bytes = draws.fillBytes(n, {})
    expect(bytes).toEqual(new Uint8Array(draws.fillWords(n / 4, {}).buffer))
    const cells = new Uint32Array(256)
    for (const b of bytes) cells[b]++
    expect(chiSquare(cells, n / 256)).toBeLessThan(345)
  })
})

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from '../tensor/dtype.js'
import { toNumbers, value, valueOf } from '../tensor/value.js'
import { convertValue, decode, encode, float32ToBfloat16, float32ToFloat16 } from './convert.js'
import type { SafetensorsDType } from './safetensors.js'

const everyByte = Uint8Array.from({ length: 256 }, (_, i) => i)
const everyHalf = Uint16Array.from({ length: 65536 }, (_, i) => i)

describe('F8', () => {
  const numbers = (dtype: SafetensorsDType): number[] => [...toNumbers(decode(everyByte, dtype, [256]))]

  it('E4M3 has the known landmarks, no infinity, and one NaN a sign', () => {
    const e4m3 = numbers('F8_E4M3')
    expect(e4m3[0x38]).toBe(1)
    expect(e4m3[0x7e]).toBe(448)
    expect(e4m3[0xfe]).toBe(-448)
    expect(e4m3[0x08]).toBe(2 ** -6)
    expect(e4m3[0x01]).toBe(2 ** -9)
    expect(e4m3[0x07]).toBe(7 * 2 ** -9)
    expect(Object.is(e4m3[0x80], -0)).toBe(true)
    expect(e4m3.flatMap((x, i) => (Number.isFinite(x) ? [] : [i]))).toEqual([0x7f, 0xff])
  })

  it('E5M2 is the upper byte of a float16', () => {
    const e5m2 = numbers('F8_E5M2')
    for (let i = 0; i < 256; i++) expect(e5m2[i]).toBe(fromFloat16(i << 8))
  })
})

describe('half floats', () => {
  it('widen to float32 as the scalar functions do, for every bit pattern', () => {
    const bytes = new Uint8Array(everyHalf.buffer)
    const float16 = decode(bytes, 'F16', [65536], 'float32').data
    const bfloat16 = decode(bytes, 'BF16', [65536], 'float32').data
    for (let i = 0; i < 65536; i++) {
      expect(Object.is(float16[i], fromFloat16(i)), `F16 ${i}`).toBe(true)
      expect(Object.is(bfloat16[i], fromBfloat16(i)), `BF16 ${i}`).toBe(true)
    }
  })

  it('come back to the same bits from float32, for every bit pattern that is no NaN', () => {
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const back = convertValue(convertValue(value(everyHalf, [65536], dtype), 'float32'), dtype).data
      const read = dtype === 'float16' ? fromFloat16 : fromBfloat16
      for (let i = 0; i < 65536; i++)
        if (Number.isNaN(read(i))) expect(read(Number(back[i]))).toBeNaN()
        else expect(back[i]).toBe(i)
    }
  })

  it('round float32 to the nearest, ties to even, as the scalar functions do', () => {
    const bits = fc.integer({ min: 0, max: 0xffffffff })
    // Ties and their neighbours are rare among random words.
    const nearTie = fc
      .tuple(bits, fc.constantFrom(0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001))
      .map(([u, tail]) => ((u & 0xffff0000) | tail) >>> 0)
    fc.assert(
      fc.property(fc.array(fc.oneof(bits, nearTie), { minLength: 1, maxLength: 50 }), (words) => {
        const numbers = new Float32Array(Uint32Array.from(words).buffer)
        expect([...float32ToBfloat16(numbers)]).toEqual(
          [...numbers].map((x, i) => (Number.isNaN(x) ? float32ToBfloat16(numbers)[i] : toBfloat16(x))),
        )
        expect([...float32ToFloat16(numbers)]).toEqual([...numbers].map(toFloat16))
      }),
      { numRuns: 300 },
    )
    expect(fromBfloat16(float32ToBfloat16(Float32Array.of(NaN))[0])).toBeNaN()
    expect(toNumbers(convertValue(valueOf([65520, -65519, 2 ** -25, 2 ** -24], [4]), 'float16'))).toEqual(
      Float64Array.of(Infinity, -65504, 0, 2 ** -24),
    )
  })
})

describe('integers that Weft has no dtype for', () => {
  it('widen without loss', () => {
    fc.assert(
      fc.property(fc.int16Array(), fc.uint16Array(), fc.uint32Array(), (i16, u16, u32) => {
        const read = (a: Int16Array | Uint16Array | Uint32Array, dtype: SafetensorsDType): number[] => [
          ...toNumbers(decode(new Uint8Array(a.buffer, a.byteOffset, a.byteLength), dtype, [a.length])),
        ]
        expect(read(i16, 'I16')).toEqual([...i16])
        expect(read(u16, 'U16')).toEqual([...u16])
        expect(read(u32, 'U32')).toEqual([...u32])
      }),
    )
  })

  it('U64 keeps every number below 2^63 and refuses others', () => {
    const bytes = (x: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(x).buffer)
    expect(decode(bytes(2n ** 63n - 1n), 'U64', [1]).data[0]).toBe(2n ** 63n - 1n)
    expect(() => decode(bytes(2n ** 63n), 'U64', [1])).toThrow(/beyond 2\^63/)
  })
})

it('encode then decode is the identity for every stored dtype of Weft', () => {
  for (const dtype of [
    'bool',
    'uint8',
    'int8',
    'int32',
    'int64',
    'float16',
    'bfloat16',
    'float32',
    'float64',
  ] as const) {
    const v = valueOf([0, 1, 0, 1, 1, 0], [2, 3], dtype)
    const { data, dtype: stored, shape } = encode(v)
    expect(decode(data, stored, shape)).toEqual(v)
  }
  expect(() => encode(value(new Uint8Array(1), [2], 'int4'))).toThrow(/int4/)
})

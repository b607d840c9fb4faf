/**
 * @file A small assembler for WebAssembly with 128-bit SIMD: typed expressions in, module bytes out. It knows the
 * instructions that the kernels here use. The types are TypeScript's, so a mismatched operand does not compile.
 *
 * Source: the binary format of the WebAssembly specification 2.0, chapter 5.
 */

/** Bytes, nested as the program is. */
export type Code = number | readonly Code[]
type Type = 'i32' | 'v128'
/** Code that leaves one value of type T. */
export interface Expression<T extends Type> {
  readonly type: T
  readonly code: Code
}
export type I32 = Expression<'i32'>
export type V128 = Expression<'v128'>

/** LEB128 of an unsigned integer below 2^32. */
const unsigned = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)])
/** LEB128 of a signed 32-bit integer. */
const signed = (n: number): number[] =>
  n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...signed(n >> 7)]
const flatten = (code: Code): number[] => (typeof code === 'number' ? [code] : code.flatMap(flatten))
const vector = (items: readonly Code[]): Code => [unsigned(items.length), items]
const sized = (code: Code): Code => {
  const bytes = flatten(code)
  return [unsigned(bytes.length), bytes]
}
const text = (s: string): Code => vector([...new TextEncoder().encode(s)])

const typeCodes: Record<Type, number> = { i32: 0x7f, v128: 0x7b }
const i32 = (code: Code): I32 => ({ type: 'i32', code })
const v128 = (code: Code): V128 => ({ type: 'v128', code })
const simd = (opcode: number): Code => [0xfd, unsigned(opcode)]
const unary =
  (opcode: number) =>
  (a: V128): V128 =>
    v128([a.code, simd(opcode)])
const binary =
  (opcode: number) =>
  (a: V128, b: V128): V128 =>
    v128([a.code, b.code, simd(opcode)])

const word =
  (opcode: number) =>
  (a: I32, b: I32): I32 =>
    i32([a.code, b.code, opcode])

/** Vectors are expected at multiples of 2^4 bytes; elsewhere they are read and written too, if slower. */
const expectedAlignment = 4

export const constant = (n: number): I32 => i32([0x41, signed(n | 0)])
export const add: (a: I32, b: I32) => I32 = word(0x6a)
export const andWords: (a: I32, b: I32) => I32 = word(0x71)
export const shiftWordRight: (a: I32, by: I32) => I32 = word(0x76)
export const equalWords: (a: I32, b: I32) => I32 = word(0x46)
export const lessThan: (a: I32, b: I32) => I32 = word(0x49)
/** Four bytes at an address. */
export const loadWord = (address: I32, offset = 0): I32 => i32([address.code, 0x28, 2, unsigned(offset)])
export const storeWord = (address: I32, x: I32): Code => [address.code, x.code, 0x36, 2, 0]

export const splat = (a: I32): V128 => v128([a.code, simd(0x11)])
/** Four 32-bit lanes of fixed bits. */
export const lanes = (...words: readonly [number, number, number, number]): V128 =>
  v128([simd(0x0c), words.map((w) => [w & 255, (w >>> 8) & 255, (w >>> 16) & 255, w >>> 24])])
export const splatFloat = (x: number): V128 => {
  const bits = new Uint32Array(new Float32Array([x]).buffer)[0]
  return lanes(bits, bits, bits, bits)
}
/** Four 32-bit lanes picked from the eight of `a` (0 to 3) and `b` (4 to 7). */
export const pick = (a: V128, b: V128, ...from: readonly [number, number, number, number]): V128 =>
  v128([a.code, b.code, simd(0x0d), from.map((lane) => [0, 1, 2, 3].map((byte) => 4 * lane + byte))])
/** Sixteen bytes picked from the 32 of `a` and `b`. */
export const pickBytes = (a: V128, b: V128, from: readonly number[]): V128 =>
  v128([a.code, b.code, simd(0x0d), from])
export const not: (a: V128) => V128 = unary(0x4d)
export const and: (a: V128, b: V128) => V128 = binary(0x4e)
export const or: (a: V128, b: V128) => V128 = binary(0x50)
export const xor: (a: V128, b: V128) => V128 = binary(0x51)
/** The bits of `a` where `mask` has ones, else those of `b`. */
export const select = (a: V128, b: V128, mask: V128): V128 => v128([a.code, b.code, mask.code, simd(0x52)])
/** 1 where any bit is set, else 0. */
export const anyBit = (a: V128): I32 => i32([a.code, simd(0x53)])
/** Lane 0 to 3 of four. */
export const lane = (a: V128, index: number): I32 => i32([a.code, simd(0x1b), index])
const shift =
  (opcode: number) =>
  (a: V128, by: number): V128 =>
    v128([a.code, constant(by).code, simd(opcode)])
export const shiftLeft: (a: V128, by: number) => V128 = shift(0xab)
/** Copies of the sign come in from the left. */
export const shiftSigned: (a: V128, by: number) => V128 = shift(0xac)
export const shiftRight: (a: V128, by: number) => V128 = shift(0xad)
/** Masks of eight 16-bit lanes; of four 32-bit ones. */
export const equalHalves: (a: V128, b: V128) => V128 = binary(0x2d)
export const equalLanes: (a: V128, b: V128) => V128 = binary(0x37)
/** Of signed lanes. */
export const greaterLanes: (a: V128, b: V128) => V128 = binary(0x3b)
export const subtractLanes: (a: V128, b: V128) => V128 = binary(0xb1)
export const greaterFloats: (a: V128, b: V128) => V128 = binary(0x44)
export const absoluteFloats: (a: V128) => V128 = unary(0xe0)
export const addFloats: (a: V128, b: V128) => V128 = binary(0xe4)
export const subtractFloats: (a: V128, b: V128) => V128 = binary(0xe5)
export const divideFloats: (a: V128, b: V128) => V128 = binary(0xe7)
export const addLanes: (a: V128, b: V128) => V128 = binary(0xae)
export const addBytes: (a: V128, b: V128) => V128 = binary(0x6e)
/** 64-bit products of the lower, or the upper, two unsigned lanes of a and b. */
export const productLow: (a: V128, b: V128) => V128 = binary(0xde)
export const productHigh: (a: V128, b: V128) => V128 = binary(0xdf)
export const multiplyFloats: (a: V128, b: V128) => V128 = binary(0xe6)
export const toFloats: (a: V128) => V128 = unary(0xfa)
export const countOnes: (a: V128) => V128 = unary(0x62)
/** Sums of neighbouring unsigned bytes, as 16-bit lanes; of 16-bit lanes, as 32-bit ones. */
export const sumBytePairs: (a: V128) => V128 = unary(0x7d)
export const sumHalfPairs: (a: V128) => V128 = unary(0x7f)

/** 16 bytes at an address plus a fixed offset. */
export const load = (address: I32, offset = 0): V128 =>
  v128([address.code, simd(0x00), expectedAlignment, unsigned(offset)])
/** Writes 16 bytes at an address plus a fixed offset. */
export const store = (address: I32, offset: number, x: V128): Code => [
  address.code,
  x.code,
  simd(0x0b),
  expectedAlignment,
  unsigned(offset),
]

/** `body`, where `condition` is not 0. */
export const when = (condition: I32, ...body: readonly Code[]): Code => [
  condition.code,
  0x04,
  0x40,
  body,
  0x0b,
]

/** Repeats `body` while `condition` holds after it. */
export const repeat = (condition: I32, ...body: readonly Code[]): Code => [
  [0x03, 0x40],
  body,
  condition.code,
  [0x0d, 0],
  0x0b,
]

/** A variable of a function: `value` reads it, `set` is a statement that writes it. */
export interface Local<T extends Type> {
  readonly value: Expression<T>
  set(to: Expression<T>): Code
}

/** A function under construction that takes i32 parameters and returns nothing, or with `returns` an i32. */
export class FunctionBody {
  #types: Type[] = []
  #parameters = 0
  #returns = false

  parameter(): Local<'i32'> {
    this.#parameters++
    return this.local('i32')
  }

  /** A new local; all parameters come before. */
  local<T extends Type>(type: T): Local<T> {
    const index = unsigned(this.#types.push(type) - 1)
    return { value: { type, code: [0x20, index] }, set: (to) => [to.code, 0x21, index] }
  }

  /** Its last statement: gives `x` to the caller. */
  returns(x: I32): Code {
    this.#returns = true
    return x.code
  }

  get signature(): Code {
    const parameters = Array<number>(this.#parameters).fill(typeCodes.i32)
    return [0x60, vector(parameters), vector(this.#returns ? [typeCodes.i32] : [])]
  }

  assemble(statements: Code): Code {
    const locals = this.#types.slice(this.#parameters).map((type) => [1, typeCodes[type]])
    return sized([vector(locals), statements, 0x0b])
  }
}

/** A module that exports `memory` (of 64 KiB pages) and the functions, each built by its statements. */
export const assembleModule = (
  pages: number,
  functions: Readonly<Record<string, (body: FunctionBody) => Code>>,
): Uint8Array<ArrayBuffer> => {
  const built = Object.entries(functions).map(([name, build]) => {
    const body = new FunctionBody()
    const code = body.assemble(build(body))
    return { name, signature: body.signature, code }
  })
  const section = (id: number, items: readonly Code[]): Code => [id, sized(vector(items))]
  return new Uint8Array(
    flatten([
      [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      section(
        1,
        built.map(({ signature }) => signature),
      ),
      section(
        3,
        built.map((_, index) => unsigned(index)),
      ),
      section(5, [[0, unsigned(pages)]]),
      section(7, [
        [text('memory'), 2, 0],
        ...built.map(({ name }, index) => [text(name), 0, unsigned(index)]),
      ]),
      section(
        10,
        built.map(({ code }) => code),
      ),
    ]),
  )
}

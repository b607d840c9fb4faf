/** @file The elementwise kernels as one WebAssembly module: eight elements at a time, where they lie. */
import {
  absoluteFloats,
  add,
  addFloats,
  addLanes,
  and,
  andWords,
  anyBit,
  assembleModule,
  type Code,
  constant,
  divideFloats,
  equalHalves,
  equalLanes,
  equalWords,
  type FunctionBody,
  greaterFloats,
  greaterLanes,
  type I32,
  lane,
  lanes,
  lessThan,
  load,
  loadWord,
  type Local,
  multiplyFloats,
  not,
  or,
  pickBytes,
  repeat,
  select,
  shiftLeft,
  shiftRight,
  shiftSigned,
  shiftWordRight,
  splat,
  splatFloat,
  store,
  storeWord,
  subtractFloats,
  subtractLanes,
  type V128,
  when,
  xor,
} from '../../random/wasm.js'

const every = (word: number): V128 => lanes(word, word, word, word)
const zero = every(0)
const magnitudeBits = every(0x7fffffff)
const magnitude = (x: V128): V128 => and(x, magnitudeBits)

/** What a kernel goes through: where it is in each array, and where its first array ends. */
interface Walk {
  readonly at: readonly Local<'i32'>[]
  readonly end: I32
}

/** The first parameters of a kernel of `count` arrays: their addresses, then the first one's end. At least one step. */
const walk = (body: FunctionBody, count: number): Walk => {
  const at = Array.from({ length: count }, () => body.parameter())
  return { at, end: body.parameter().value }
}

/** Repeats `body`, moving on by `strides` bytes in each array. */
const steps = ({ at, end }: Walk, strides: readonly number[], ...body: readonly Code[]): Code =>
  repeat(
    lessThan(at[0].value, end),
    body,
    at.map((address, i) => address.set(add(address.value, constant(strides[i])))),
  )

/** A kernel that rewrites its first array from vectors of all, eight elements at a time, given further parameters. */
const rewrite =
  (arrays: number, parameters: number, f: (vectors: readonly V128[], splats: readonly V128[]) => V128) =>
  (body: FunctionBody): Code => {
    const way = walk(body, arrays)
    const given = Array.from({ length: parameters }, () => body.parameter())
    const splats = given.map(() => body.local('v128'))
    const half = (offset: number): Code =>
      store(
        way.at[0].value,
        offset,
        f(
          way.at.map(({ value }) => load(value, offset)),
          splats.map(({ value }) => value),
        ),
      )
    return [
      given.map((parameter, i) => splats[i].set(splat(parameter.value))),
      steps(
        way,
        way.at.map(() => 32),
        half(0),
        half(16),
      ),
    ]
  }

const lowHalves = [0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29]
/** Eight 16-bit lanes of the lower halves of eight 32-bit ones. */
const pack = (a: V128, b: V128): V128 => pickBytes(a, b, lowHalves)
/** The first (0) or last (1) four of eight 16-bit lanes, in the upper (bfloat16) or lower half of 32 bits. */
const spread = (x: V128, part: 0 | 1, upper: boolean): V128 =>
  pickBytes(
    x,
    zero,
    [0, 1, 2, 3].flatMap((i) => {
      const bytes = [8 * part + 2 * i, 8 * part + 2 * i + 1]
      return upper ? [16, 16, ...bytes] : [...bytes, 16, 16]
    }),
  )

/** A kernel (from, to, end of from) that widens 16-bit floats, and gives 1 where one has the exponent of what is not finite. */
const widen =
  (exponent: number, toFloat: (x: V128, part: 0 | 1) => V128) =>
  (body: FunctionBody): Code => {
    const way = walk(body, 2)
    const x = body.local('v128')
    const bad = body.local('v128')
    const bits = every(exponent * 0x10001)
    return [
      steps(
        way,
        [16, 32],
        x.set(load(way.at[0].value)),
        bad.set(or(bad.value, equalHalves(and(x.value, bits), bits))),
        store(way.at[1].value, 0, toFloat(x.value, 0)),
        store(way.at[1].value, 16, toFloat(x.value, 1)),
      ),
      body.returns(anyBit(bad.value)),
    ]
  }

/** Exponents are moved by a multiplication, which is exact; subnormals become normal by it. */
const fromFloat16 = (x: V128, part: 0 | 1): V128 => {
  const word = spread(x, part, false)
  const shifted = shiftLeft(and(word, every(0x7fff)), 13)
  const infinite = and(greaterLanes(shifted, every(0x0f7fffff)), every(0x7f800000))
  const sign = shiftLeft(and(word, every(0x8000)), 16)
  return or(or(multiplyFloats(shifted, splatFloat(2 ** 112)), infinite), sign)
}

const checkFloat32 = (body: FunctionBody): Code => {
  const way = walk(body, 1)
  const bad = body.local('v128')
  const bits = every(0x7f800000)
  const check = (offset: number): Code =>
    bad.set(or(bad.value, equalLanes(and(load(way.at[0].value, offset), bits), bits)))
  return [steps(way, [32], check(0), check(16)), body.returns(anyBit(bad.value))]
}

/** A kernel (from, to, end of from) that rounds float32 to 16 bits. */
const narrow =
  (round: (x: V128) => V128) =>
  (body: FunctionBody): Code => {
    const way = walk(body, 2)
    const x = [body.local('v128'), body.local('v128')]
    return steps(
      way,
      [32, 16],
      x.map((half, i) => half.set(load(way.at[0].value, 16 * i))),
      store(way.at[1].value, 0, pack(round(x[0].value), round(x[1].value))),
    )
  }

/** The bit that decides a tie, added with what is just less than half a unit. */
const toEven = (x: V128, bit: number): V128 =>
  addLanes(and(shiftRight(x, bit), every(1)), every((1 << (bit - 1)) - 1))

const toBfloat16 = (x: V128): V128 =>
  select(
    or(shiftRight(x, 16), every(0x40)),
    shiftRight(addLanes(x, toEven(x, 16)), 16),
    greaterLanes(magnitude(x), every(0x7f800000)),
  )

/** Subnormals are rounded by adding 1/2, whose unit in the last place is theirs. */
const toFloat16 = (x: V128): V128 => {
  const m = magnitude(x)
  const normal = shiftRight(addLanes(subtractLanes(m, every(0x38000000)), toEven(m, 13)), 13)
  const subnormal = subtractLanes(addFloats(m, splatFloat(0.5)), every(0x3f000000))
  const finite = select(subnormal, normal, greaterLanes(every(0x38800000), m))
  const special = select(every(0x7e00), every(0x7c00), greaterLanes(m, every(0x7f800000)))
  const sign = and(shiftRight(x, 16), every(0x8000))
  return or(sign, select(special, finite, greaterLanes(m, every(0x477fefff))))
}

/** (keys, end, bins): counts keys by their upper 16 bits. */
const countHigh = (body: FunctionBody): Code => {
  const way = walk(body, 1)
  const bins = body.parameter()
  const bin = body.local('i32')
  const count = (i: number): Code => [
    bin.set(
      add(
        andWords(shiftWordRight(loadWord(way.at[0].value, 4 * i), constant(14)), constant(0x3fffc)),
        bins.value,
      ),
    ),
    storeWord(bin.value, add(loadWord(bin.value), constant(1))),
  ]
  return steps(way, [32], [0, 1, 2, 3, 4, 5, 6, 7].map(count))
}

/** (keys, end, bins, high): counts by their lower 16 bits the keys whose upper ones are `high`. */
const countLow = (body: FunctionBody): Code => {
  const way = walk(body, 1)
  const bins = body.parameter()
  const high = body.parameter()
  const key = body.local('i32')
  const bin = body.local('i32')
  const wanted = body.local('v128')
  const count = (i: number): Code => [
    key.set(loadWord(way.at[0].value, 4 * i)),
    when(
      equalWords(shiftWordRight(key.value, constant(16)), high.value),
      bin.set(add(bins.value, shiftLeftTwo(andWords(key.value, constant(0xffff))))),
      storeWord(bin.value, add(loadWord(bin.value), constant(1))),
    ),
  ]
  const inBin = (offset: number): V128 =>
    equalLanes(shiftRight(load(way.at[0].value, offset), 16), wanted.value)
  return [
    wanted.set(splat(high.value)),
    steps(way, [32], when(anyBit(or(inBin(0), inBin(16))), [0, 1, 2, 3, 4, 5, 6, 7].map(count))),
  ]
}

const shiftLeftTwo = (x: I32): I32 => {
  const twice = add(x, x)
  return add(twice, twice)
}

/** (keys, end, key): how many keys are `key` but for their highest bit. */
const countEqual = (body: FunctionBody): Code => {
  const way = walk(body, 1)
  const key = body.parameter()
  const wanted = body.local('v128')
  const sum = body.local('v128')
  const count = (offset: number): Code =>
    sum.set(subtractLanes(sum.value, equalLanes(magnitude(load(way.at[0].value, offset)), wanted.value)))
  const parts = [0, 1, 2, 3].map((i) => lane(sum.value, i))
  return [
    wanted.set(splat(key.value)),
    steps(way, [32], count(0), count(16)),
    body.returns(parts.reduce(add)),
  ]
}

/** (vector, total, divisors, end, weight): zeroes what has not the sign of the total, adds the weight where something stays. */
const elect = (body: FunctionBody): Code => {
  const way = walk(body, 3)
  const weight = body.parameter()
  const x = body.local('v128')
  const w = body.local('v128')
  const [vector, total, divisors] = way.at.map(({ value }) => value)
  const half = (offset: number): Code => [
    x.set(load(vector, offset)),
    x.set(and(x.value, not(shiftSigned(xor(x.value, load(total, offset)), 31)))),
    store(vector, offset, x.value),
    store(
      divisors,
      offset,
      addFloats(
        load(divisors, offset),
        and(w.value, shiftSigned(subtractLanes(zero, magnitude(x.value)), 31)),
      ),
    ),
  ]
  return [w.set(splat(weight.value)), steps(way, [32, 32, 32], half(0), half(16))]
}

/** The module's functions; addresses are in bytes, `end` is that of the first array, numbers are passed as their bits. */
export interface KernelExports {
  readonly memory: WebAssembly.Memory
  widenBfloat16(from: number, to: number, end: number): number
  widenFloat16(from: number, to: number, end: number): number
  checkFloat32(from: number, end: number): number
  narrowBfloat16(from: number, to: number, end: number): void
  narrowFloat16(from: number, to: number, end: number): void
  scaled(out: number, x: number, end: number, factor: number): void
  addScaled(out: number, x: number, end: number, factor: number): void
  plus(out: number, x: number, end: number): void
  difference(out: number, a: number, b: number, end: number): void
  divide(out: number, end: number, divisor: number): void
  divideEach(out: number, divisors: number, end: number): void
  distances(out: number, a: number, b: number, end: number): void
  keep(out: number, end: number, belowLow: number, high: number): void
  elect(vector: number, total: number, divisors: number, end: number, weight: number): void
  countHigh(keys: number, end: number, bins: number): void
  countLow(keys: number, end: number, bins: number, high: number): void
  countEqual(keys: number, end: number, bits: number): number
}

/** The module; its memory begins with one page and grows. */
export const kernelModule = (): Uint8Array<ArrayBuffer> =>
  assembleModule(1, {
    widenBfloat16: widen(0x7f80, (x, part) => spread(x, part, true)),
    widenFloat16: widen(0x7c00, fromFloat16),
    checkFloat32,
    narrowBfloat16: narrow(toBfloat16),
    narrowFloat16: narrow(toFloat16),
    // Of the array itself, the old value comes first.
    scaled: rewrite(2, 1, ([, x], [factor]) => multiplyFloats(x, factor)),
    addScaled: rewrite(2, 1, ([out, x], [factor]) => addFloats(out, multiplyFloats(x, factor))),
    plus: rewrite(2, 0, ([out, x]) => addFloats(out, x)),
    difference: rewrite(3, 0, ([, a, b]) => subtractFloats(a, b)),
    divide: rewrite(1, 1, ([out], [divisor]) => divideFloats(out, divisor)),
    divideEach: rewrite(2, 0, ([out, x]) =>
      divideFloats(out, select(x, splatFloat(1), greaterFloats(absoluteFloats(x), zero))),
    ),
    distances: rewrite(3, 0, ([, a, b]) => magnitude(subtractFloats(a, b))),
    keep: rewrite(1, 2, ([out], [belowLow, high]) =>
      and(out, and(greaterLanes(magnitude(out), belowLow), not(greaterLanes(magnitude(out), high)))),
    ),
    elect,
    countHigh,
    countLow,
    countEqual,
  })

/** @file The bulk kernels as one WebAssembly module: four Philox blocks at a time, a counter word to a vector. */
import { M0, M1, rounds, W0, W1 } from './philox.js'
import { ih8Mean, ih8Scale, pop128Mean, pop128Scale } from './scalar.js'
import {
  add,
  addBytes,
  addLanes,
  assembleModule,
  type Code,
  constant,
  countOnes,
  type FunctionBody,
  type I32,
  lanes,
  lessThan,
  type Local,
  multiplyFloats,
  pick,
  productHigh,
  productLow,
  repeat,
  splat,
  splatFloat,
  store,
  sumBytePairs,
  sumHalfPairs,
  toFloats,
  type V128,
  xor,
} from './wasm.js'

type Four<T> = readonly [T, T, T, T]
const four = <T>(make: () => T): Four<T> => [make(), make(), make(), make()]

type Vector = Local<'v128'>
/** Four lanes of the same fixed bits. */
const every = (word: number): V128 => lanes(word, word, word, word)

/**
 * The ten rounds on `x`, which holds word i of four counters in x[i], and of their blocks afterwards. A loop rather
 * than ten copies keeps the module small; `key` is bumped on the way.
 */
const philoxRounds = (body: FunctionBody, x: Four<Vector>, key: readonly [Vector, Vector]): Code => {
  const [a, b, high, low] = four(() => body.local('v128'))
  const round = body.local('i32')
  return [
    round.set(constant(-rounds)),
    repeat(
      round.value,
      a.set(productLow(x[0].value, every(M0))),
      b.set(productHigh(x[0].value, every(M0))),
      low.set(pick(a.value, b.value, 0, 2, 4, 6)),
      high.set(pick(a.value, b.value, 1, 3, 5, 7)),
      a.set(productLow(x[2].value, every(M1))),
      b.set(productHigh(x[2].value, every(M1))),
      x[0].set(xor(xor(pick(a.value, b.value, 1, 3, 5, 7), x[1].value), key[0].value)),
      x[1].set(pick(a.value, b.value, 0, 2, 4, 6)),
      x[2].set(xor(xor(high.value, x[3].value), key[1].value)),
      x[3].set(low.value),
      key[0].set(addLanes(key[0].value, every(W0))),
      key[1].set(addLanes(key[1].value, every(W1))),
      round.set(add(round.value, constant(1))),
    ),
  ]
}

/**
 * A kernel with parameters (start and end address, four counter words of the first block, two key words): draws four
 * blocks, has `emit` write `stride` bytes for them, and goes on until the end.
 */
const kernel =
  (stride: number, emit: (body: FunctionBody, address: I32, x: Four<Vector>) => Code) =>
  (body: FunctionBody): Code => {
    const address = body.parameter()
    const end = body.parameter()
    const counter = four(() => body.parameter())
    const key = [body.parameter(), body.parameter()]
    const blocks = body.local('v128')
    const x = four(() => body.local('v128'))
    const bumped = [body.local('v128'), body.local('v128')] as const
    return [
      blocks.set(addLanes(splat(counter[0].value), lanes(0, 1, 2, 3))),
      repeat(
        lessThan(address.value, end.value),
        x[0].set(blocks.value),
        [1, 2, 3].map((i) => x[i].set(splat(counter[i].value))),
        bumped.map((k, i) => k.set(splat(key[i].value))),
        philoxRounds(body, x, bumped),
        emit(body, address.value, x),
        blocks.set(addLanes(blocks.value, every(4))),
        address.set(add(address.value, constant(stride))),
      ),
    ]
  }

/** The four blocks one after the other: the transpose of x. */
const emitWords = (body: FunctionBody, address: I32, x: Four<Vector>): Code => {
  const t = four(() => body.local('v128'))
  return [
    t[0].set(pick(x[0].value, x[1].value, 0, 4, 1, 5)),
    t[1].set(pick(x[2].value, x[3].value, 0, 4, 1, 5)),
    t[2].set(pick(x[0].value, x[1].value, 2, 6, 3, 7)),
    t[3].set(pick(x[2].value, x[3].value, 2, 6, 3, 7)),
    store(address, 0, pick(t[0].value, t[1].value, 0, 1, 4, 5)),
    store(address, 16, pick(t[0].value, t[1].value, 2, 3, 6, 7)),
    store(address, 32, pick(t[2].value, t[3].value, 0, 1, 4, 5)),
    store(address, 48, pick(t[2].value, t[3].value, 2, 3, 6, 7)),
  ]
}

const sum = (terms: readonly V128[], plus: (a: V128, b: V128) => V128): V128 => terms.reduce(plus)

/** An integer a lane, less its mean, times one float: the shape of both samplers. */
const emitScaled =
  (integers: (x: readonly V128[]) => V128, mean: number, scale: number) =>
  (_body: FunctionBody, address: I32, x: Four<Vector>): Code => {
    const centred = addLanes(integers(x.map(({ value }) => value)), every(-mean))
    return store(address, 0, multiplyFloats(toFloats(centred), splatFloat(scale)))
  }

const halves = (x: readonly V128[]): V128 => sum(x.map(sumHalfPairs), addLanes)
const ones = (x: readonly V128[]): V128 => sumHalfPairs(sumBytePairs(sum(x.map(countOnes), addBytes)))

/** The bytes of the module, under 4 KB so that browsers compile it synchronously on the main thread. */
export const philoxModule = (pages: number): Uint8Array<ArrayBuffer> =>
  assembleModule(pages, {
    words: kernel(64, emitWords),
    ih8: kernel(16, emitScaled(halves, ih8Mean, ih8Scale)),
    pop128: kernel(16, emitScaled(ones, pop128Mean, pop128Scale)),
  })

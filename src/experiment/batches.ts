/** @file What the family's experiments share: labelled data as batches, and trained numbers on the host. */
import { Stream } from '../random/index.js'
import type { LabelledData } from '../synth/index.js'
import { type Value, value, valueOf } from '../tensor/index.js'
import type { Batch } from '../train/index.js'

/** Rows of labelled data as one batch. rows: [n], indices of rows. */
export const batchOf = ({ x, labels }: LabelledData, rows?: ArrayLike<number>): Batch => {
  const [count, width] = x.shape
  const chosen = rows ?? Array.from({ length: count }, (_, i) => i)
  const out = new Float32Array(chosen.length * width)
  const classes = Int32Array.from(chosen, (row, i) => {
    out.set((x.data as Float32Array).subarray(row * width, (row + 1) * width), i * width)
    return Number(labels.data[row])
  })
  return {
    embeddings: value(out, [chosen.length, width], 'float32'),
    labels: valueOf(classes, [chosen.length], 'int32'),
  }
}

/** Batches of `size` rows drawn with replacement, without end: batch i is the same whatever came before it. */
export const minibatches = (
  data: LabelledData,
  size: number,
  seed: string,
): ((startAt: number) => Generator<Batch>) =>
  function* (startAt) {
    const count = data.x.shape[0]
    for (let i = startAt; ; i++) {
      const stream = new Stream(seed).fork(i)
      yield batchOf(
        data,
        Array.from({ length: size }, () => stream.int(count)),
      )
    }
  }

/** All of the data as one batch, as often as it is asked for. */
export const whole = (data: LabelledData): (() => readonly Batch[]) => {
  const batches = [batchOf(data)]
  return () => batches
}

/** Copies of these parameters on the host. */
export const onHost = async (parameters: Readonly<Record<string, Value>>): Promise<Record<string, Value>> => {
  const entries = Object.entries(parameters).map(
    async ([name, v]) => [name, value(await v.read(), v.shape, v.dtype)] as const,
  )
  return Object.fromEntries(await Promise.all(entries))
}

/** @file Batches of a task's records over epochs. */
import { type Dataset, epochOrder } from '../data/dataset.js'
import { Stream } from '../random/index.js'
import type { Batch, BatchSource, Course } from '../train/index.js'
import type { TaskFormat } from './task.js'

/** Numbers of the records of a course, from the `skip`th on: epoch after epoch, shuffled where there is a seed. */
function* numbersOf(size: number, { seed, epochs = 1 }: Course, skip: number): Generator<number> {
  for (let epoch = Math.floor(skip / size); epoch < epochs; epoch++) {
    const order = seed === undefined ? undefined : epochOrder(size, seed, epoch)
    const from = epoch === Math.floor(skip / size) ? skip % size : 0
    for (let i = from; i < size; i++) yield order ? order[i] : i
  }
}

/**
 * Batches of `batch` records of `dataset`, all of whose records are good, as `format` makes them. They run on over the end
 * of an epoch, and `startAt` reads nothing of what it leaves out.
 */
export const taskSource = <R>(
  dataset: Dataset<R>,
  size: number,
  format: TaskFormat<R>,
  batch: number,
): BatchSource => ({
  measures: format.measures,
  count: ({ epochs = 1 }) => Math.ceil((size * epochs) / batch),
  async *batches(course): AsyncGenerator<Batch> {
    let made = course.startAt ?? 0
    const reader = await dataset.open()
    const random = new Stream(course.seed ?? 'evaluation').fork('task')
    let records: R[] = []
    try {
      for (const number of numbersOf(size, course, made * batch)) {
        records.push((await reader.at(number))!)
        if (records.length < batch) continue
        yield await format.batch(records, random.fork(made++))
        records = []
      }
      if (records.length > 0) yield await format.batch(records, random.fork(made))
    } finally {
      await reader.close()
    }
  },
})

/** @file What experiments need around `fit`: a schedule, and the count of what trains. */
import type { Model } from '../models/index.js'
import { sizeOf } from '../tensor/index.js'
import { movedParameters, type Schedule } from '../train/index.js'

/** Learning rate that stays for the first half of `steps` and falls linearly to zero over the second. */
export const halfLinear =
  (steps: number, learningRate: number): Schedule =>
  (step) =>
    learningRate * Math.min(1, 2 * (1 - step / steps))

/** How many numbers of `model` training moves. */
export const trainedNumbers = (model: Model): number =>
  Object.values(movedParameters(model)).reduce((sum, { shape }) => sum + sizeOf(shape), 0)

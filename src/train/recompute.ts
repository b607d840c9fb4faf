/** @file Activation checkpointing (Chen et al. 2016, arXiv 1604.06174) as an answer to the seam: no model knows of it. */
import { answering, type Model } from '../models/index.js'
import { recompute } from '../tensor/index.js'

/** Whether a module is a block: its name ends with its number, and it lies in no other block. */
export const isBlock = (name: string): boolean => /^\D*\.\d+$/.test(name)

/** The same model, which keeps of each block only what enters it and computes the rest again in the backward pass. */
export const recomputing = <C>(model: Model<C>): Model<C> => ({
  ...model,
  weights(parameters, trace) {
    const base = model.weights(parameters, trace)
    return answering(base, {
      module: (name, x, at, body) =>
        isBlock(name)
          ? recompute((again) => base.module(name, again, at, body), x)
          : base.module(name, x, at, body),
    })
  },
})

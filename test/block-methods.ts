/** @file Block methods for the tests of streaming, in a module that threads can load. */
import { threadId } from 'node:worker_threads'
import { blockMethod } from '../src/stream/method.js'

/** The mean of the inputs, times the parameter `factor`. */
export const mean = blockMethod<{ factor: number }, undefined>({
  name: 'mean',
  module: import.meta.url,
  rows: false,
  block: (out, { inputs }, { factor }) => {
    for (let i = 0; i < out.length; i++)
      out[i] = (factor * inputs.reduce((sum, x) => sum + x[i], 0)) / inputs.length
  },
})

/** What a family may export: something that has a block method. Each row less its mean, and the mean of the tensor. */
export const centred = {
  label: 'any other property',
  blockMethod: blockMethod<undefined, { whole: number; width: number }>({
    name: 'centred',
    module: import.meta.url,
    rows: true,
    prepare: async (tensor) => {
      let sum = 0
      for await (const { inputs } of tensor.blocks()) for (const x of inputs[0]) sum += x
      return { whole: sum / tensor.count, width: tensor.width }
    },
    block: (out, { inputs: [x] }, _, { whole, width }) => {
      for (let row = 0; row < out.length; row += width) {
        const numbers = x.subarray(row, row + width)
        const own = numbers.reduce((a, b) => a + b, 0) / width
        for (let i = 0; i < width; i++) out[row + i] = numbers[i] - own - whole
      }
    },
  }),
}

const channel = 'weft test: a thread that another has loaded a method in'

/** Resolves when a thread beside the calling one computes. */
const anotherThread = (): Promise<void> =>
  new Promise((resolve) => {
    const listener = new BroadcastChannel(channel)
    listener.onmessage = () => {
      listener.close()
      resolve()
    }
  })

let waited: Promise<void> | undefined

/** 1 where the calling thread computes, which waits until another does; 2 where another does. */
export const threads = blockMethod<{ caller: number }, boolean>({
  name: 'threads',
  module: import.meta.url,
  rows: false,
  prepare: async (_, { caller }) => {
    const isCaller = threadId === caller
    if (isCaller) await (waited ??= anotherThread())
    else {
      const sender = new BroadcastChannel(channel)
      sender.postMessage('computing')
      sender.close()
    }
    return isCaller
  },
  block: (out, _block, _parameters, isCaller) => out.fill(isCaller ? 1 : 2),
})

/** @file The run that resume.test.ts kills and continues: the same in every process. */
import { lora } from '../src/adapt/index.js'
import { open } from '../src/checkpoint/index.js'
import { fit, type FitResult, type Hook } from '../src/train/index.js'
import { sentences } from './tiny.js'

/** Trains an adapter with dropout, accumulated gradients and evaluations; a checkpoint a step. */
export const trainForResume = async (
  base: string,
  out: string | undefined,
  hook?: Hook,
): Promise<FitResult> => {
  await using checkpoint = await open(base)
  const model = await lora(checkpoint, { rank: 2, dropout: 0.1, targets: 'all-linear', seed: 1 })
  return await fit(
    model,
    sentences.map((text) => ({ text })),
    {
      batch: 2,
      length: 24,
      steps: 40,
      accumulate: 2,
      learningRate: 1e-2,
      schedule: 'warmup-cosine',
      evaluation: 0.2,
      evaluateEvery: 5,
      seed: 3,
      checkpointEvery: 1,
      out,
      resume: out !== undefined,
      hook,
    },
  )
}

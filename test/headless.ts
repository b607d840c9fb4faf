/** @file Models of whose logits nobody knows which head made them, so that losses take them whole. */
import type { Model } from '../src/models/index.js'

/** The same architecture; its logits: [batch, time, vocabulary] are not its head's own. */
export const headless = (architecture: Model['architecture']): Model['architecture'] => ({
  ...architecture,
  forward: (...given) => {
    const outputs = architecture.forward(...given)
    return { ...outputs, logits: outputs.logits.mul(1) }
  },
})

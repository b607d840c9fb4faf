/** @file Sentence vectors from a process of their own, so that neither the lab nor a generation waits for them. */
import { WeftError } from '../../errors.js'
import type { Embedder } from '../../catalogue/index.js'
import type { Answer } from './messages.js'
import { EngineProcess } from './process.js'
import { append } from '../../tensor/numbers.js'

/** Texts in one order; a question asked meanwhile waits for no more than that. */
const together = 16

/** The embedder of the BERT checkpoint in `folder`. */
export class EmbedderProcess {
  private readonly engine = new EngineProcess()

  constructor(private readonly folder: string) {}

  /** Throws WeftError with the engine's words. */
  readonly embed: Embedder = async (texts) => {
    const vectors: Float32Array[] = []
    for (let at = 0; at < texts.length; at += together) {
      let last: Answer | undefined
      const part = texts.slice(at, at + together)
      await this.engine.order(
        { type: 'embed', folder: this.folder, texts: part },
        (answer) => (last = answer),
      )
      if (last?.type === 'error') throw new WeftError(last.data.code, last.data.message)
      if (last?.type === 'vectors') append(vectors, last.data)
    }
    return vectors
  }

  close(): void {
    this.engine.close()
  }
}

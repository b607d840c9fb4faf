/**
 * @file Sentence embeddings by a local BERT checkpoint: the mean of the last hidden states over a text's tokens (Reimers
 * and Gurevych 2019). The checkpoint may have a head, or none, as those of sentence-transformers.
 */
import { open } from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import { type Model, openModel, relativeOf } from '../../models/index.js'
import { type Tensor, type Value, value } from '../../tensor/index.js'
import { openTokenizer, type Tokenizer } from '../../text/index.js'
import { byShape } from '../../train/index.js'
import { maxOf } from '../../tensor/numbers.js'

/** Gives each text a vector; the cosine of two says how near their meanings are. */
export type Embedder = (texts: readonly string[]) => Promise<readonly Float32Array[]>

interface Rows<T> {
  /** [batch, time] int32. */
  readonly ids: T
  /** 1 for tokens, 0 for padding: [batch, time] float32. */
  readonly mask: T
}

/** The mean of each row's last hidden states over its tokens. -> [batch, width] */
const meanPooled = (model: Model, { ids, mask }: Rows<Tensor>): Tensor => {
  const inputs = { ids, mask: mask.cast('int32') }
  const { logits } = model.architecture.forward(model.weights({}, {}), inputs, model.config)
  const counted = mask.unsqueeze(2)
  return logits.mul(counted).sum(1).div(counted.sum(1))
}

const rowsAtOnce = 8
const longest = 256
/** Programs are compiled for few lengths. */
const multiple = 32

/** Ids of a text, its closing token kept where it is too long. */
const idsOf = (tokenizer: Tokenizer, text: string, most: number): number[] => {
  const ids = tokenizer.encode(text)
  return ids.length <= most ? ids : [...ids.slice(0, most - 1), ids[ids.length - 1]]
}

const padded = (rows: readonly number[][], most: number): Rows<Value> => {
  const time = Math.min(
    most,
    Math.ceil(
      maxOf(
        rows.map((row) => row.length),
        1,
      ) / multiple,
    ) * multiple,
  )
  const ids = new Int32Array(rows.length * time)
  const mask = new Float32Array(rows.length * time)
  rows.forEach((row, i) => {
    ids.set(row, i * time)
    mask.fill(1, i * time, i * time + row.length)
  })
  return { ids: value(ids, [rows.length, time], 'int32'), mask: value(mask, [rows.length, time], 'float32') }
}

/** An embedder, and the checkpoint under it to close. */
export interface BertEmbedder extends AsyncDisposable {
  readonly embed: Embedder
}

/**
 * The embedder in `folder`: a BERT checkpoint with its tokenizer. Texts are cut at 256 tokens, or where the model's
 * positions end. Throws CheckpointError for any other model.
 */
export const bertEmbedder = async (folder: string): Promise<BertEmbedder> => {
  const checkpoint = await open(folder)
  const body = relativeOf(String(checkpoint.config.model_type))?.body
  if (!body) {
    await checkpoint.close()
    throw new CheckpointError(
      'NoEmbedder',
      `${folder}: model_type is ${JSON.stringify(checkpoint.config.model_type)}; an embedder is an encoder such as BERT`,
    )
  }
  const model = await openModel(checkpoint, { architecture: body })
  const tokenizer = await openTokenizer(checkpoint.folder)
  const program = byShape((rows: Rows<Tensor>) => meanPooled(model, rows))
  const most = Math.min(longest, body.positions?.(model.config) ?? longest)
  const embed: Embedder = async (texts) => {
    const ids = texts.map((text) => idsOf(tokenizer, text, most))
    // Texts of one length together: padding is work for nothing.
    const order = [...ids.keys()].sort((a, b) => ids[a].length - ids[b].length)
    const vectors: Float32Array[] = []
    for (let at = 0; at < order.length; at += rowsAtOnce) {
      const some = order.slice(at, at + rowsAtOnce)
      const pooled = await program(
        padded(
          some.map((i) => ids[i]),
          most,
        ),
      )
      const data = (await pooled.read()) as Float32Array
      const width = data.length / some.length
      some.forEach((i, row) => (vectors[i] = data.slice(row * width, (row + 1) * width)))
    }
    return vectors
  }
  return { embed, [Symbol.asyncDispose]: () => checkpoint.close() }
}

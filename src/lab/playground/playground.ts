/** @file Trying checkpoints: which there are, what is in them, and what they write. */
import { open } from '../../checkpoint/index.js'
import type { CheckpointList, GenerateEvents, TensorList, TensorStatistics } from '../api.js'
import { HttpError, notFound } from '../errors.js'
import { inside } from '../files.js'
import type { Generation } from '../requests.js'
import { contained, findCheckpoints, rootsOf } from './find.js'
import type { Root } from './find.js'
import type { Answer, Place } from './messages.js'
import { EngineProcess } from './process.js'

/** The checkpoints under some folders, and an engine for them. */
export class Playground {
  private readonly roots: readonly Root[]
  private readonly engine = new EngineProcess()

  constructor(folders: readonly string[]) {
    this.roots = rootsOf(folders)
  }

  async list(): Promise<CheckpointList> {
    return {
      roots: this.roots.map(({ folder }) => folder),
      checkpoints: await findCheckpoints(this.roots),
    }
  }

  /** The real folder of a checkpoint. Throws HttpError 404 for all that does not lie under the roots, files included. */
  private async folder(id: string): Promise<string> {
    const [name, ...rest] = id.split('/')
    const root = this.roots.find((r) => r.name === name)
    if (!root) throw notFound('checkpoint', id)
    try {
      const folder = rest.length ? await inside(root.folder, rest.join('/')) : root.folder
      if (await contained(folder, this.roots)) return folder
    } catch {
      // Refused below, like what lies outside.
    }
    throw notFound('checkpoint', id)
  }

  async tensors(id: string): Promise<TensorList> {
    await using checkpoint = await open(await this.folder(id))
    const tensors = checkpoint
      .names()
      .sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
      .map((name) => {
        const { dtype, shape, length } = checkpoint.info(name)
        return { name, dtype, shape: [...shape], bytes: length }
      })
    return { checkpoint: id, tensors }
  }

  /** Throws HttpError 404, and HttpError 400 with the engine's words. */
  async statistics(id: string, name: string): Promise<TensorStatistics> {
    const folder = await this.folder(id)
    let last: Answer | undefined
    await this.engine.order({ type: 'tensor', folder, name }, (answer) => (last = answer))
    if (last?.type === 'tensor') return last.data
    if (last?.type === 'error') throw new HttpError(400, last.data.code, last.data.message)
    throw new HttpError(503, 'EngineEnded', 'the engine gave no answer')
  }

  /** Where a request's model and adapter lie. Throws HttpError 404. */
  async place({ checkpoint, adapter }: Generation): Promise<Place> {
    const model = await this.folder(checkpoint)
    return adapter === undefined ? { model } : { model, adapter: await this.folder(adapter) }
  }

  /** Hands every token to `send`, then `done` or `error`. */
  async generate(
    place: Place,
    request: Generation,
    send: <K extends keyof GenerateEvents>(event: K, data: GenerateEvents[K]) => void,
    signal: AbortSignal,
  ): Promise<void> {
    await this.engine.order(
      { type: 'generate', place, request },
      ({ type, data }) => send(type as 'token', data as GenerateEvents['token']),
      signal,
    )
  }

  close(): void {
    this.engine.close()
  }
}

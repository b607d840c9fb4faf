/**
 * @file Where a merge is written until it is whole: finished shards in a hidden folder of the output, moved to their
 * names at the end. A merge that was killed goes on from them.
 */
import { readFile, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import {
  isWeights,
  shardName,
  type TensorData,
  writeFileAtomic,
  writeSafetensors,
} from '../checkpoint/index.js'
import { UsageError } from '../errors.js'

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  )

/** Whether the folder `out` holds a merge that was interrupted. */
export const isInterrupted = async (out: string): Promise<boolean> =>
  (await exists(join(out, '.merging'))) || exists(join(out, '.steps'))

/** What to do with what a folder holds. */
export interface StagingOptions {
  readonly resume?: boolean
  readonly overwrite?: boolean
}

/** The hidden folder of one merge into the folder `out`. */
export class Staging {
  readonly folder: string
  private constructor(readonly out: string) {
    this.folder = join(out, '.merging')
  }

  private at(name: string): string {
    return join(this.folder, name)
  }

  /** Throws UsageError where the folder holds weights, or an interrupted merge, and the options do not say what then. */
  static async enter(out: string, { resume, overwrite }: StagingOptions): Promise<Staging> {
    const staging = new Staging(out)
    await rm(`${staging.folder}-done`, { recursive: true, force: true })
    const interrupted = await exists(staging.at('state'))
    if (overwrite && !resume) await rm(staging.folder, { recursive: true, force: true })
    if (resume || overwrite) return staging
    if (interrupted)
      throw new UsageError('InterruptedMerge', `${out} holds a merge that was interrupted.`, {
        hint: 'Go on with it: --resume. Or begin anew: --force.',
      })
    const there = (await readdir(out).catch(() => [])).find(isWeights)
    if (there)
      throw new UsageError('FolderInUse', `${out} already holds ${there}.`, {
        hint: 'Choose another folder, or overwrite it on purpose (--force).',
      })
    return staging
  }

  /**
   * Begins the merge that `fingerprint` stands for, or goes on with it. Throws UsageError when what was begun is another.
   */
  async begin(fingerprint: string): Promise<void> {
    const begun = await readFile(this.at('state'), 'utf8').catch(() => undefined)
    if (begun !== undefined && begun !== fingerprint)
      throw new UsageError('MergeChanged', `${this.out} holds an interrupted merge of something else.`, {
        hint: 'Its recipe, options or inputs were others. Begin anew: --force.',
      })
    await writeFileAtomic(this.at('state'), fingerprint)
    for (const file of await readdir(this.folder))
      if (file.endsWith('.tmp')) await rm(this.at(file), { recursive: true, force: true })
  }

  /** Whether shard `i` of `n` is finished. */
  async has(i: number, n: number): Promise<boolean> {
    const name = shardName(i, n)
    return (
      (await exists(this.at(name))) || ((await exists(this.at('publishing'))) && exists(join(this.out, name)))
    )
  }

  async write(i: number, n: number, tensors: readonly TensorData[]): Promise<void> {
    await writeSafetensors(this.at(shardName(i, n)), tensors)
  }

  /** Moves `n` finished shards to their names, and writes the files beside them, the last of which makes it whole. */
  async publish(n: number, files: Readonly<Record<string, string>>): Promise<void> {
    await writeFileAtomic(this.at('publishing'), '')
    const names = Array.from({ length: n }, (_, i) => shardName(i, n))
    for (const file of await readdir(this.out))
      if (isWeights(file) && !names.includes(file)) await rm(join(this.out, file))
    for (const name of names)
      if (await exists(this.at(name))) await rename(this.at(name), join(this.out, name))
    for (const [name, content] of Object.entries(files)) await writeFileAtomic(join(this.out, name), content)
    await rename(this.folder, `${this.folder}-done`)
    await rm(`${this.folder}-done`, { recursive: true, force: true })
  }

  /** Removes everything, unless there is a finished shard to go on from. */
  async leave(): Promise<void> {
    const files = await readdir(this.folder).catch(() => [])
    if (!files.some((file) => isWeights(file) || file === 'publishing'))
      await rm(this.folder, { recursive: true, force: true })
  }
}

/**
 * @file Where a checkpoint is written until it is whole: finished shards in a hidden folder of the output, moved to their
 * names at the end. Work that was killed goes on from them.
 */
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  exists,
  isWeights,
  layOut,
  shardName,
  type TensorPlan,
  writeFileAtomic,
} from '../checkpoint/index.js'
import { UsageError } from '../errors.js'

/** How the hidden folder of some kind of work is called, and the work in messages. */
export interface Workplace {
  /** Name of the folder within the output, hidden by its dot. */
  readonly hidden: string
  /** A noun for what is done there. */
  readonly work: string
}

/** Options for what a folder holds already. */
export interface StagingOptions {
  /** Go on with what was interrupted. Default false. */
  readonly resume?: boolean
  /** Begin anew over what the folder holds. Default false. */
  readonly overwrite?: boolean
}

/** Whether the folder `out` holds work of this kind that was interrupted. */
export const holdsUnfinished = (out: string, { hidden }: Workplace): Promise<boolean> =>
  exists(join(out, hidden))

/** A safetensors file that threads write their tensors to, each at its place; it has a temporary name until it is finished. */
export class Shard {
  private constructor(
    private readonly path: string,
    private readonly handle: FileHandle,
    private readonly offsets: ReadonlyMap<string, number>,
  ) {}

  /** Writes the header, and takes the room of all tensors. */
  static async create(path: string, plans: readonly TensorPlan[]): Promise<Shard> {
    const named = plans.map(({ name, dtype, shape }) => ({ name, dtype, shape }))
    const { header, tensors, size } = layOut(named, { format: 'pt' }, path)
    const handle = await open(`${path}.tmp`, 'w')
    const shard = new Shard(path, handle, new Map(tensors.map(({ name, offset }) => [name, offset])))
    try {
      await handle.write(header, 0, header.length, 0)
      await handle.truncate(size)
      return shard
    } catch (error) {
      await shard.discard()
      throw error
    }
  }

  /** The descriptor of the file. */
  get file(): number {
    return this.handle.fd
  }

  /** Offset of the first byte of a tensor in the file. */
  offsetOf(name: string): number {
    return this.offsets.get(name)!
  }

  /** Brings the file to the disk, and gives it its name. */
  async finish(): Promise<void> {
    await this.handle.sync()
    await this.handle.close()
    await rename(`${this.path}.tmp`, this.path)
  }

  /** Removes the file, unless it is finished. */
  async discard(): Promise<void> {
    await this.handle.close().catch(() => undefined)
    await rm(`${this.path}.tmp`, { force: true })
  }
}

/** The hidden folder of one piece of work into the folder `out`. */
export class Staging {
  readonly folder: string
  private constructor(
    readonly out: string,
    private readonly place: Workplace,
  ) {
    this.folder = join(out, place.hidden)
  }

  private at(name: string): string {
    return join(this.folder, name)
  }

  /** Throws UsageError where the folder holds weights, or interrupted work, and the options do not say what then. */
  static async enter(out: string, place: Workplace, { resume, overwrite }: StagingOptions): Promise<Staging> {
    const staging = new Staging(out, place)
    await rm(`${staging.folder}-done`, { recursive: true, force: true })
    const interrupted = await exists(staging.at('state'))
    if (overwrite && !resume) await rm(staging.folder, { recursive: true, force: true })
    if (resume || overwrite) return staging
    if (interrupted)
      throw new UsageError('Interrupted', `${out} holds a ${place.work} that was interrupted.`, {
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
   * Begins the work that `fingerprint` stands for, or goes on with it. Throws UsageError when what was begun is another.
   */
  async begin(fingerprint: string): Promise<void> {
    const begun = await readFile(this.at('state'), 'utf8').catch(() => undefined)
    if (begun !== undefined && begun !== fingerprint)
      throw new UsageError(
        'InputsChanged',
        `${this.out} holds an interrupted ${this.place.work} of something else.`,
        {
          hint: 'Its options or inputs were others. Begin anew: --force.',
        },
      )
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

  /** Begins shard `i` of `n`. */
  async shard(i: number, n: number, plans: readonly TensorPlan[]): Promise<Shard> {
    await mkdir(this.folder, { recursive: true })
    return Shard.create(this.at(shardName(i, n)), plans)
  }

  /** Moves `n` finished shards to their names, and writes the files beside them, the last of which makes it whole. */
  async publish(n: number, files: Readonly<Record<string, string>>): Promise<void> {
    await writeFileAtomic(this.at('publishing'), '')
    const names = Array.from({ length: n }, (_, i) => shardName(i, n))
    for (const file of await readdir(this.out))
      if (isWeights(file) && !names.includes(file)) await rm(join(this.out, file))
    for (const name of names)
      if (await exists(this.at(name))) await rename(this.at(name), join(this.out, name))
    // Written here and moved: what a kill leaves half-written is not among the finished files.
    for (const [name, content] of Object.entries(files)) {
      await writeFileAtomic(this.at(name), content)
      await rename(this.at(name), join(this.out, name))
    }
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

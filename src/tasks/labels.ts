/** @file Labels as the numbers of a model's classes: by number, by the model's names, or by names that the data bring. */
import type { JsonObject } from '../checkpoint/index.js'
import { isObject } from '../data/files.js'
import { malformed } from '../data/row.js'
import { CheckpointError, nearest } from '../errors.js'

/** A label as it was read: the number of a class, or a name whose number is known once all names are. */
export type Label = number | string

/** Names that Transformers gives classes that nobody named. */
const isUnnamed = (name: string): boolean => /^LABEL_\d+$/.test(name)

const namesIn = ({ id2label }: JsonObject): string[] => {
  const named = isObject(id2label) ? Object.entries(id2label) : []
  return named.sort(([a], [b]) => Number(a) - Number(b)).map(([, name]) => String(name))
}

/** The classes of a model, and the names by which data call them. */
export class Labels {
  readonly count: number
  readonly #names: readonly string[]
  readonly #unnamed: boolean
  /** Names of the data, where the model has none. */
  readonly #brought = new Set<string>()
  #order: readonly string[] | undefined

  constructor(private readonly config: JsonObject) {
    this.#names = namesIn(config)
    this.count = this.#names.length || (typeof config.num_labels === 'number' ? config.num_labels : 2)
    this.#unnamed = this.#names.every(isUnnamed)
  }

  /** The label that a value stands for. Throws CheckpointError for one beyond the model's classes. */
  read(value: unknown, where: string): Label {
    if (typeof value === 'string' && this.#names.includes(value)) return this.#names.indexOf(value)
    if (typeof value === 'boolean') return this.#number(Number(value), where)
    const number = typeof value === 'string' && /^\d+(\.0+)?$/.test(value.trim()) ? Number(value) : value
    if (typeof number === 'number') return this.#number(number, where)
    if (typeof value !== 'string' || value === '')
      throw malformed(where, `a label is ${JSON.stringify(value)}; expected the number or name of a class`)
    return this.#name(value, where)
  }

  #number(value: number, where: string): number {
    if (Number.isInteger(value) && value >= 0 && value < this.count) return value
    throw this.#beyond(where, `label ${value}`)
  }

  #name(name: string, where: string): string {
    if (!this.#unnamed) {
      const near = nearest(name, this.#names, 1)
      throw this.#beyond(where, `label "${name}"`, `Nearest: ${near.join()}.`)
    }
    this.#brought.add(name)
    if (this.#brought.size > this.count)
      throw this.#beyond(where, `"${name}" is one more than ${[...this.#brought].slice(0, -1).join(', ')}`)
    return name
  }

  #beyond(where: string, what: string, near = ''): CheckpointError {
    const shown = this.#unnamed ? `0 to ${this.count - 1}` : this.#names.slice(0, 20).join(', ')
    return new CheckpointError(
      'BadLabel',
      `${where}: ${what}; the model has ${this.count} classes: ${shown}`,
      {
        hint: `${near} Correct the label, or take a model with such a class.`.trim(),
      },
    )
  }

  /**
   * Numbers the names that the data have brought, in the order of their code points, and gives config.json with them;
   * undefined where they brought none.
   */
  settle(): JsonObject | undefined {
    if (this.#brought.size === 0) return undefined
    this.#order = [...this.#brought].sort()
    const all = Array.from({ length: this.count }, (_, i) => this.#order![i] ?? `LABEL_${i}`)
    const id2label = Object.fromEntries(all.map((name, i) => [String(i), name]))
    return { ...this.config, id2label, label2id: Object.fromEntries(all.map((name, i) => [name, i])) }
  }

  /** The number of a label's class. */
  index(label: Label): number {
    return typeof label === 'number' ? label : (this.#order ?? [...this.#brought].sort()).indexOf(label)
  }
}

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

/** Most classes that a new head may tell apart. */
const mostClasses = 65_536

/** The classes of a model, and the names by which data call them. */
export class Labels {
  /** Number of classes; of a new head as many as there may be. */
  readonly count: number
  readonly #names: readonly string[]
  readonly #unnamed: boolean
  /** One more than the highest number that data of a new head have. */
  #numbers = 0
  /** Names of the data, where the model has none. */
  readonly #brought = new Set<string>()
  #order: readonly string[] | undefined

  /** fresh: whether the head is new, and the data say how many classes there are. */
  constructor(
    private readonly config: JsonObject,
    private readonly fresh = false,
  ) {
    const count = typeof config.num_labels === 'number' ? config.num_labels : 2
    this.#names = fresh ? [] : namesIn(config)
    this.count = fresh ? mostClasses : this.#names.length || count
    this.#unnamed = this.#names.every(isUnnamed)
  }

  /** Names of the classes, in their order, once all records have been read. */
  get names(): readonly string[] {
    const brought = this.#order ?? [...this.#brought].sort()
    const count = this.fresh ? Math.max(brought.length, this.#numbers) : this.count
    return Array.from({ length: count }, (_, i) =>
      this.#unnamed ? (brought[i] ?? `LABEL_${i}`) : this.#names[i],
    )
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
    if (!(Number.isInteger(value) && value >= 0 && value < this.count))
      throw this.#beyond(where, `label ${value}`)
    this.#numbers = Math.max(this.#numbers, value + 1)
    return value
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
    const has = this.fresh ? 'a new head has at most' : 'the model has'
    return new CheckpointError('BadLabel', `${where}: ${what}; ${has} ${this.count} classes: ${shown}`, {
      hint: `${near} Correct the label, or take a model with such a class.`.trim(),
    })
  }

  /**
   * Numbers the names that the data have brought, in the order of their code points, and gives config.json with them;
   * undefined where the classes are those that the model has. Throws CheckpointError where the labels of a new head are names
   * and numbers both, or one alone.
   */
  settle(): JsonObject | undefined {
    if (this.#brought.size > 0) this.#order = [...this.#brought].sort()
    const { names } = this
    if (this.fresh) this.#requireClasses(names)
    else if (this.#brought.size === 0) return undefined
    const id2label = Object.fromEntries(names.map((name, i) => [String(i), name]))
    return { ...this.config, id2label, label2id: Object.fromEntries(names.map((name, i) => [name, i])) }
  }

  #requireClasses(names: readonly string[]): void {
    if (this.#brought.size > 0 && this.#numbers > 0)
      throw new CheckpointError(
        'BadLabel',
        `the labels are names (${[...this.#brought].slice(0, 3).join(', ')}) and numbers (up to ${this.#numbers - 1})`,
        { hint: 'A new head takes its classes from the data: give all by name, or all by number.' },
      )
    if (names.length < 2)
      throw new CheckpointError('BadLabel', `all records have one label: ${names.join()}`, {
        hint: 'A new head takes its classes from the data, and tells at least two apart.',
      })
  }

  /** The number of a label's class. */
  index(label: Label): number {
    return typeof label === 'number' ? label : (this.#order ?? [...this.#brought].sort()).indexOf(label)
  }
}

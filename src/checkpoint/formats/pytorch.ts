/**
 * @file PyTorch's checkpoints (.bin, .pt): a state dict as a pickle whose tensors lie in storages, in the ZIP form of PyTorch
 * 1.6 and later or in the older form of pickles behind each other. Headers are read; tensors stay where they are.
 */
import { CheckpointError } from '../../errors.js'
import type { RandomAccess } from '../checkpoint.js'
import { type SafetensorsDType, tensorBytes, type TensorPlan } from '../safetensors.js'
import { PickleEnds, PickleGlobal, type PickleRules, PickleTuple, unpickle } from './pickle.js'
import { dataOffset, type ZipEntry, zipEntries } from './zip.js'

/** A tensor of a PyTorch file: its numbers lie behind each other, or `file` reads them so. */
export interface PytorchTensor extends TensorPlan {
  /** Place of its first byte: in the file, or in `file`. */
  readonly offset: number
  readonly length: number
  /** Where its numbers do not lie in the order of its axes (a transposed one): they, in that order. */
  readonly file?: RandomAccess
}

/** Classes of storages, and what they hold. */
const storageTypes: Readonly<Record<string, SafetensorsDType>> = {
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  DoubleStorage: 'F64',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
}

/** Numbers that tensors share. */
interface Storage {
  readonly key: string
  readonly dtype: SafetensorsDType
  readonly count: number
}

/** A tensor as the pickle describes it. */
class Strided {
  constructor(
    readonly storage: Storage,
    /** Element of the storage at which it begins. */
    readonly start: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {}
}

const isCount = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0
const areCounts = (x: unknown): x is PickleTuple => x instanceof PickleTuple && x.items.every(isCount)

const fault = (shown: string, code: string, message: string): CheckpointError =>
  new CheckpointError(code, `${shown}: ${message}`)

/** The pickle's words for a state dict. */
const rulesFor = (shown: string, storages: Map<string, Storage>): PickleRules => {
  const damaged = (what: string): CheckpointError =>
    fault(shown, 'InvalidTensor', `its pickle describes ${what} that is none.`)
  const tensor = ([storage, start, shape, strides]: readonly unknown[]): Strided => {
    const known = storage !== null && typeof storage === 'object' && 'count' in storage
    if (!known || !isCount(start) || !areCounts(shape) || !areCounts(strides)) throw damaged('a tensor')
    if (shape.items.length !== strides.items.length) throw damaged('a tensor')
    return new Strided(storage as Storage, start, shape.items as number[], strides.items as number[])
  }
  const parameter = ([data]: readonly unknown[]): Strided => {
    if (data instanceof Strided) return data
    throw damaged('a parameter')
  }
  const dictionary = ([pairs = []]: readonly unknown[]): Map<unknown, unknown> => {
    if (Array.isArray(pairs) && pairs.length === 0) return new Map()
    throw damaged('a dictionary')
  }
  const named = [
    new PickleGlobal('collections.OrderedDict', dictionary),
    new PickleGlobal('torch._utils._rebuild_tensor_v2', tensor),
    new PickleGlobal('torch._utils._rebuild_tensor', tensor),
    new PickleGlobal('torch._utils._rebuild_parameter', parameter),
    ...Object.keys(storageTypes).map((name) => new PickleGlobal(`torch.${name}`)),
  ]
  const persistent = (id: unknown): Storage => {
    const [word, type, key, , count, view = null] = id instanceof PickleTuple ? id.items : []
    const dtype = type instanceof PickleGlobal ? storageTypes[type.name.replace(/^torch\./, '')] : undefined
    if (
      word !== 'storage' ||
      dtype === undefined ||
      typeof key !== 'string' ||
      !isCount(count) ||
      view !== null
    )
      throw damaged('a storage')
    const storage = storages.get(key) ?? { key, dtype, count }
    if (storage.dtype !== dtype || storage.count !== count) throw damaged('a storage')
    storages.set(key, storage)
    return storage
  }
  return { globals: new Map(named.map((global) => [global.name, global])), persistent }
}

/** Numbers of a tensor in the order of its axes, gathered from where they lie. */
class GatheredFile implements RandomAccess {
  readonly size: number

  constructor(
    private readonly source: RandomAccess,
    /** Place of the storage's first byte. */
    private readonly origin: number,
    private readonly tensor: Strided,
    private readonly bytes: number,
  ) {
    this.size = tensor.shape.reduce((n, size) => n * size, bytes)
  }

  /** The element of the storage that stands at the place `index` of the tensor. */
  private elementAt(index: number): number {
    const { start, shape, strides } = this.tensor
    let at = start
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += (index % shape[axis]) * strides[axis]
      index = Math.floor(index / shape[axis])
    }
    return at
  }

  async read(into: Uint8Array, offset: number): Promise<void> {
    const from = Math.floor(offset / this.bytes)
    const to = Math.ceil((offset + into.length) / this.bytes)
    let first = Infinity
    let last = 0
    for (let i = from; i < to; i++) {
      const element = this.elementAt(i)
      first = Math.min(first, element)
      last = Math.max(last, element + 1)
    }
    if (from === to) return
    const span = new Uint8Array((last - first) * this.bytes)
    await this.source.read(span, this.origin + first * this.bytes)
    const gathered = new Uint8Array((to - from) * this.bytes)
    for (let i = from; i < to; i++) {
      const at = (this.elementAt(i) - first) * this.bytes
      gathered.set(span.subarray(at, at + this.bytes), (i - from) * this.bytes)
    }
    into.set(gathered.subarray(offset - from * this.bytes, offset - from * this.bytes + into.length))
  }

  /** The file that it reads is closed by whoever opened it. */
  async close(): Promise<void> {}
}

/** Whether the numbers lie in the order of the axes, without gaps. */
const isPacked = ({ shape, strides }: Strided): boolean => {
  let step = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== step) return false
    step *= shape[axis]
  }
  return true
}

/** Place and numbers of the tensor `name`. Throws CheckpointError where it does not lie within its storage. */
const placed = (
  name: string,
  tensor: Strided,
  { source, shown, origin }: { source: RandomAccess; shown: string; origin: number },
): PytorchTensor => {
  const { storage, start, shape, strides } = tensor
  const { dtype, count } = storage
  const length = tensorBytes(dtype, shape)
  const bytes = tensorBytes(dtype, [])
  const empty = shape.includes(0)
  const reach = shape.reduce((end, size, axis) => end + (size - 1) * strides[axis], start + 1)
  const outside = Number.isNaN(length) || (!empty && !(reach <= count))
  if (outside || length > count * bytes)
    throw fault(
      shown,
      'OutOfRange',
      `tensor ${JSON.stringify(name)}: ${dtype} [${shape}] with strides [${strides}] does not lie within its storage of ${count} numbers.`,
    )
  const plan = { name, dtype, shape }
  if (empty || isPacked(tensor)) return { ...plan, offset: origin + (empty ? 0 : start * bytes), length }
  return { ...plan, offset: 0, length, file: new GatheredFile(source, origin, tensor, bytes) }
}

/** The state dict `value`: its tensors by name. Throws CheckpointError where it is none. */
const tensorsOf = (value: unknown, shown: string): Map<string, Strided> => {
  if (!(value instanceof Map))
    throw fault(shown, 'NoStateDict', 'its pickle holds no state dict (a dictionary of tensors by name).')
  for (const [name, tensor] of value)
    if (typeof name !== 'string' || !(tensor instanceof Strided))
      throw fault(
        shown,
        'NoStateDict',
        `its entry ${JSON.stringify(String(name))} is no tensor: it is no state dict.`,
      )
  return value as Map<string, Strided>
}

/** No state dict's pickle comes near this. */
const maximumPickle = 100_000_000

/** The pickle in `bytes` from `start` on, which is all there is of it. */
const wholePickle = (
  bytes: Uint8Array,
  rules: PickleRules,
  place: { shown: string; start?: number },
): { value: unknown; end: number } => {
  try {
    return unpickle(bytes, rules, place)
  } catch (error) {
    if (error instanceof PickleEnds) throw fault(place.shown, 'TruncatedFile', 'its pickle is cut off.')
    throw error
  }
}

/** Little-endian is what every machine of today writes; what else there is would be read as other numbers. */
const requireLittle = (little: boolean, shown: string): void => {
  if (!little) throw fault(shown, 'WrongByteOrder', 'its numbers are written with the greatest byte first.')
}

const readEntry = async (source: RandomAccess, entry: ZipEntry, shown: string): Promise<Uint8Array> => {
  if (entry.size > maximumPickle)
    throw fault(
      shown,
      'HeaderTooLong',
      `${entry.name} has ${entry.size} bytes; the limit is ${maximumPickle}.`,
    )
  const offset = await dataOffset(source, entry, shown)
  const bytes = new Uint8Array(entry.size)
  await source.read(bytes, offset)
  return bytes
}

/** The ZIP form: data.pkl, and a file for each storage. */
const readArchive = async (source: RandomAccess, shown: string): Promise<PytorchTensor[]> => {
  const entries = await zipEntries(source, shown)
  const pickle = [...entries.values()].find(({ name }) => /^[^/]+\/data\.pkl$/.test(name))
  if (!pickle) throw fault(shown, 'NoStateDict', 'the archive holds no data.pkl, as PyTorch writes it.')
  const folder = pickle.name.slice(0, -'data.pkl'.length)
  const order = entries.get(`${folder}byteorder`)
  if (order)
    requireLittle(new TextDecoder().decode(await readEntry(source, order, shown)) === 'little', shown)
  const storages = new Map<string, Storage>()
  const { value } = wholePickle(await readEntry(source, pickle, shown), rulesFor(shown, storages), { shown })
  const origins = new Map<string, number>()
  for (const { key, dtype, count } of storages.values()) {
    const entry = entries.get(`${folder}data/${key}`)
    if (!entry || entry.size < tensorBytes(dtype, [count]))
      throw fault(shown, 'TruncatedFile', `the archive lacks the ${count} numbers of data/${key}.`)
    origins.set(key, await dataOffset(source, entry, shown))
  }
  return [...tensorsOf(value, shown)].map(([name, tensor]) =>
    placed(name, tensor, { source, shown, origin: origins.get(tensor.storage.key)! }),
  )
}

/** The number with which a file of the older form begins. */
const magic = 0x1950a86a20f9469cfc6cn

/** How much of a file of the older form is read for its pickles at first. */
const firstBytes = 1 << 16

interface OlderHeader {
  readonly tensors: Map<string, Strided>
  /** Keys of the storages in the order in which they follow. */
  readonly keys: readonly string[]
  readonly end: number
}

/** The five pickles of the older form: magic number, protocol, the machine, the state dict, and its storages' keys. */
const olderHeader = (bytes: Uint8Array, storages: Map<string, Storage>, shown: string): OlderHeader => {
  const rules = rulesFor(shown, storages)
  const values: unknown[] = []
  let end = 0
  for (let i = 0; i < 5; i++) {
    const read = unpickle(bytes, rules, { shown, start: end })
    values.push(read.value)
    end = read.end
  }
  const [number, protocol, machine, state, keys] = values
  if (number !== magic || protocol !== 1001)
    throw fault(shown, 'NoStateDict', 'it is none of the forms in which PyTorch writes checkpoints.')
  requireLittle(machine instanceof Map && machine.get('little_endian') === true, shown)
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === 'string'))
    throw fault(shown, 'NoStateDict', 'it does not say in which order its storages follow.')
  return { tensors: tensorsOf(state, shown), keys: keys as string[], end }
}

/** The header, from as many bytes of the file as it takes. */
const readOlderHeader = async (
  source: RandomAccess,
  storages: Map<string, Storage>,
  shown: string,
): Promise<OlderHeader> => {
  const most = Math.min(source.size, maximumPickle)
  for (let length = Math.min(firstBytes, most); ; length = Math.min(4 * length, most)) {
    const bytes = new Uint8Array(length)
    await source.read(bytes, 0)
    try {
      storages.clear()
      return olderHeader(bytes, storages, shown)
    } catch (error) {
      if (!(error instanceof PickleEnds)) throw error
      if (length === most) throw fault(shown, 'TruncatedFile', 'its pickle is cut off.')
    }
  }
}

/** The older form: pickles, then for each storage its number of elements and its bytes. */
const readOlder = async (source: RandomAccess, shown: string): Promise<PytorchTensor[]> => {
  const storages = new Map<string, Storage>()
  const { tensors, keys, end } = await readOlderHeader(source, storages, shown)
  const origins = new Map<string, number>()
  let at = end
  for (const key of keys) {
    const storage = storages.get(key)
    if (!storage || origins.has(key))
      throw fault(
        shown,
        'NoStateDict',
        `it lists a storage ${JSON.stringify(key)} that none of its tensors has.`,
      )
    const length = tensorBytes(storage.dtype, [storage.count])
    if (at + 8 + length > source.size)
      throw fault(
        shown,
        'TruncatedFile',
        `its storage ${JSON.stringify(key)} ends beyond its ${source.size} bytes.`,
      )
    const size = new Uint8Array(8)
    await source.read(size, at)
    if (new DataView(size.buffer).getBigInt64(0, true) !== BigInt(storage.count))
      throw fault(
        shown,
        'WrongSize',
        `its storage ${JSON.stringify(key)} has not the ${storage.count} numbers it should.`,
      )
    origins.set(key, at + 8)
    at += 8 + length
  }
  const lost = [...storages.keys()].find((key) => !origins.has(key))
  if (lost !== undefined) throw fault(shown, 'TruncatedFile', `it lacks the storage ${JSON.stringify(lost)}.`)
  return [...tensors].map(([name, tensor]) =>
    placed(name, tensor, { source, shown, origin: origins.get(tensor.storage.key)! }),
  )
}

/**
 * The tensors of the PyTorch checkpoint `source`, none of which is read. Throws CheckpointError for a file that is broken, for
 * a pickle that is no state dict, and (ForeignPickle) for an opcode or a name in it that state dicts have no use for, with its
 * place; nothing of the pickle is executed. shown: the file in messages.
 */
export const readPytorch = async (source: RandomAccess, shown: string): Promise<PytorchTensor[]> => {
  const start = new Uint8Array(Math.min(4, source.size))
  await source.read(start, 0)
  const isZip = start.length === 4 && new DataView(start.buffer).getUint32(0, true) === 0x04034b50
  return isZip ? readArchive(source, shown) : readOlder(source, shown)
}

/** Whether `file` is named as PyTorch's checkpoints are. */
export const isPytorchFile = (file: string): boolean => /\.(bin|pt|pth)$/.test(file)

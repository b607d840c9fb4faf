/** @file Sessions on ONNX Runtime's JavaScript interface, which its Node and its web package share. */
import type { InferenceSession, Tensor as OrtTensor, TypedTensor } from 'onnxruntime-common'
import type { DType, TypedArray } from '../tensor/dtype.js'
import type { Shape } from '../tensor/shape.js'
import type { Value } from '../tensor/value.js'
import { EngineError, type Session, type SessionOptions } from './session.js'

/** The part of the packages that is used. */
export interface Ort {
  readonly InferenceSession: {
    create(model: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession>
  }
  readonly Tensor: new (type: OrtTensor.Type, data: OrtTensor.DataType, dims: readonly number[]) => OrtTensor
}

/** ORT's element type names, and the form in which values cross the border (bits, packed bytes). */
const borderTypes: Record<DType, OrtTensor.Type> = {
  float32: 'float32',
  float64: 'float64',
  int32: 'int32',
  int64: 'int64',
  bool: 'bool',
  float16: 'float16',
  bfloat16: 'uint16',
  int8: 'int8',
  uint8: 'uint8',
  int4: 'uint8',
}

/** A result of a run: fed back to a session, it goes as it came. */
class OrtValue implements Value {
  constructor(
    readonly tensor: OrtTensor,
    readonly dtype: DType,
    readonly shape: Shape,
    private readonly turn: Turn,
    /**
     * The session it came from: ONNX Runtime gives a GPU up, with all that lies on it, when its last session is
     * released.
     */
    readonly owner?: OrtSession,
  ) {}
  get data(): TypedArray {
    if (
      this.tensor.location !== 'cpu' &&
      this.tensor.location !== 'none' &&
      this.tensor.location !== 'cpu-pinned'
    )
      throw new EngineError(`a value that lies in ${this.tensor.location} was read as if on the host`, {
        hint: 'await value.read() first.',
      })
    return bits(this.tensor.data as TypedArray)
  }
  async read(): Promise<TypedArray> {
    if (this.tensor.location === 'cpu') return bits(this.tensor.data as TypedArray)
    // A value that is collected, or a session released, while its numbers are on their way would cut them off.
    inUse.add(this)
    try {
      return bits((await this.turn(() => this.tensor.getData())) as TypedArray)
    } finally {
      inUse.delete(this)
    }
  }
  dispose(): void {
    if (this.tensor.location === 'gpu-buffer' && released.unregister(this)) this.tensor.dispose()
  }
}

/** float16 data as bit patterns, whether the platform has Float16Array or not. */
const bits = (data: TypedArray): TypedArray =>
  data.constructor.name === 'Float16Array' ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data

type Float16ArrayConstructor = new (
  buffer: ArrayBufferLike,
  offset: number,
  length: number,
) => OrtTensor.DataType

const float16 = (data: TypedArray): OrtTensor.DataType => {
  const native = (globalThis as { Float16Array?: Float16ArrayConstructor }).Float16Array
  return (native ? new native(data.buffer, data.byteOffset, data.length) : data) as OrtTensor.DataType
}

const toOrt = (ort: Ort, v: Value): OrtTensor => {
  if (v instanceof OrtValue) return v.tensor
  const data = v.dtype === 'float16' ? float16(v.data) : (v.data as OrtTensor.DataType)
  return new ort.Tensor(borderTypes[v.dtype], data, v.dtype === 'int4' ? [v.data.length] : v.shape)
}

const dtypes = Object.fromEntries(Object.entries(borderTypes).map(([d, t]) => [t, d])) as Record<
  string,
  DType
>
dtypes.uint16 = 'bfloat16'
dtypes.uint8 = 'uint8'

/** ONNX Runtime frees its objects only when told to, except in Node: tell it once nobody holds ours. */
const released = new FinalizationRegistry<() => void>((release) => release())

/** What runs and reads under way need, lest it be collected and released meanwhile. */
const inUse = new Set<unknown>()

const fromOrt = (tensor: OrtTensor, turn: Turn, session: OrtSession): Value => {
  const onGpu = tensor.location === 'gpu-buffer'
  const made = new OrtValue(
    tensor,
    dtypes[(tensor as TypedTensor<OrtTensor.Type>).type],
    tensor.dims,
    turn,
    onGpu ? session : undefined,
  )
  // What lay on a device that is gone needs no release.
  const release = (): void => void turn(async () => tensor.dispose()).catch(() => undefined)
  if (onGpu) released.register(made, release, made)
  return made
}

const bytesOf = ({ data }: Value): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** Says when a call into ONNX Runtime may start. */
export type Turn = <T>(call: () => Promise<T>) => Promise<T>

/** Every call waits for the one before it. */
export const oneAtATime = (): Turn => {
  let last: Promise<unknown> = Promise.resolve()
  return (call) => {
    const next = last.then(call)
    last = next.catch(() => undefined)
    return next
  }
}

class OrtSession implements Session {
  constructor(
    private readonly ort: Ort,
    private readonly session: InferenceSession,
    private readonly turn: Turn,
  ) {}

  async run(feeds: Readonly<Record<string, Value>>, outputs: readonly string[]): Promise<Value[]> {
    const given: Record<string, OrtTensor> = {}
    for (const name in feeds) given[name] = toOrt(this.ort, feeds[name])
    const use = { session: this, feeds }
    inUse.add(use)
    try {
      const results = await this.turn(() => this.session.run(given, outputs as string[]))
      return outputs.map((name) => fromOrt(results[name] as OrtTensor, this.turn, this))
    } finally {
      inUse.delete(use)
    }
  }
}

/**
 * What ONNX Runtime's optimiser gets wrong. Scales folded into products: where one scaled value is read by a product
 * and by another scale, the value is removed while it is still read, and the graph is refused.
 */
const broken = 'MatMulScaleFusion'

/** Opens a session; `options` of ORT's own are the platform's, as is when it may be called. Throws EngineError. */
export const openOrt = async (
  ort: Ort,
  model: Uint8Array,
  { optimization, memory, device }: SessionOptions,
  options: InferenceSession.SessionOptions,
  turn: Turn = (call) => call(),
): Promise<Session> => {
  const externalData = [...memory].map(([path, v]) => ({ path, data: bytesOf(v) }))
  let session: InferenceSession
  try {
    const settings = {
      graphOptimizationLevel: optimization,
      logSeverityLevel: 3,
      ...(externalData.length ? { externalData } : {}),
      ...options,
      extra: { ...options.extra, optimization: { disable_specified_optimizers: broken } },
    } as const
    session = await turn(() => ort.InferenceSession.create(model, settings))
  } catch (cause) {
    throw new EngineError(`ONNX Runtime refused a graph on ${device}: ${(cause as Error).message}`, { cause })
  }
  const opened = new OrtSession(ort, session, turn)
  released.register(opened, () => void turn(() => session.release()).catch(() => undefined))
  return opened
}

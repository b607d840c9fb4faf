/**
 * @file Sessions in Node: onnxruntime-node, on the CPU by default, on CUDA or WebGPU where the provider loads. On
 * WebGPU results stay on the device from run to run; on CUDA they pass through the host's memory, since the package
 * gives them back there.
 */
import type { Device } from '../tensor/device.js'
import { openOrt, type Ort } from './ort.js'
import { EngineError, type Session, type SessionOptions } from './session.js'
import { UsageError } from '../errors.js'

const devices: readonly string[] = ['cpu', 'cuda', 'webgpu']

let loaded: Promise<Ort> | undefined

const load = (): Promise<Ort> =>
  (loaded ??= import('onnxruntime-node').then(
    (m) => m as unknown as Ort,
    (cause) => {
      throw new EngineError(
        'the engine onnxruntime-node is not installed, or does not load on this machine',
        {
          hint: `Install it beside Weft: ONNXRUNTIME_NODE_INSTALL=skip npm i weft-ml onnxruntime-node (${(cause as Error).message})`,
          cause,
        },
      )
    },
  ))

/** The device of WEFT_DEVICE, else the CPU. Throws UsageError for a name that is none. */
export const defaultDevice = (): Device => {
  const device = process.env.WEFT_DEVICE ?? 'cpu'
  if (device === 'auto' || devices.includes(device)) return device === 'auto' ? 'cpu' : (device as Device)
  throw new UsageError('UnknownDevice', `WEFT_DEVICE is '${device}'`, {
    hint: `In Node it may be ${devices.join(', ')} or auto.`,
  })
}

/** The device that computes on this machine's processor: it has every dtype, float64 among them. */
export const hostDevice: Device = 'cpu'

/** WEFT_THREADS; 0 lets ONNX Runtime take every core. */
const threads = (): number => Number(process.env.WEFT_THREADS) || 0

/**
 * WEFT_SPIN: with 0 a session's threads sleep while they wait. They spin otherwise, which is faster on cores that nobody
 * shares, and takes half or more of them from whoever does.
 */
const spins = (): boolean => process.env.WEFT_SPIN !== '0'

/** Bound files are mapped, not read. */
export const mapsFiles = true

/**
 * A session for an ONNX model, [bytes] of a ModelProto, on the device that the options name. Throws EngineError
 * where the engine or the device is missing, or the graph is refused.
 */
export const openSession = async (model: Uint8Array, options: SessionOptions): Promise<Session> => {
  const { device } = options
  if (device === 'wasm')
    throw new EngineError('device wasm runs in browsers', { hint: 'In Node use cpu, which is faster.' })
  const ort = await load()
  await options.prepare?.()
  const session = {
    disable_prepacking: options.prepack ? '0' : '1',
    model_external_initializers_file_folder_path: '/',
    intra_op: { allow_spinning: spins() ? '1' : '0' },
    // Threads that went on spinning behind a run would take the cores from the next session's.
    force_spinning_stop: '1',
  }
  try {
    return await openOrt(ort, model, options, {
      executionProviders: device === 'cpu' ? ['cpu'] : [device, 'cpu'],
      intraOpNumThreads: threads(),
      // From the second run on a memory pattern holds the peak of a run once more, and no run is faster for it.
      enableMemPattern: device !== 'cpu',
      extra: { session },
      ...(device === 'webgpu' ? { preferredOutputLocation: 'gpu-buffer' as const } : {}),
    })
  } catch (error) {
    if (device === 'cpu') throw error
    throw new EngineError(`device ${device} is not available here`, {
      hint: `ONNX Runtime's ${device} provider did not load: ${(error as Error).message}`,
      cause: error,
    })
  }
}

export { saturatesSignedProducts } from './processor.js'
export type { OpenSession, Session, SessionOptions } from './session.js'

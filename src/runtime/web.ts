/**
 * @file Sessions in browsers: onnxruntime-web, on WebAssembly by default (threads where the page is isolated), or
 * WebGPU.
 */
import type { Device } from '../tensor/device.js'
import { oneAtATime, openOrt, type Ort } from './ort.js'
import { EngineError, type Session, type SessionOptions } from './session.js'

interface WebOrt extends Ort {
  readonly env: { readonly wasm: { numThreads?: number }; logLevel?: string }
}

/** WebAssembly threads share memory, which a page has only behind the headers COOP and COEP. */
const threads = (): number => (globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1)

const load = async (name: string, package_: () => Promise<unknown>): Promise<WebOrt> => {
  try {
    const ort = (await package_()) as WebOrt
    ort.env.wasm.numThreads = threads()
    return ort
  } catch (cause) {
    throw new EngineError(`the engine ${name} is not installed, or does not load in this browser`, {
      hint: `Install it beside Weft: npm i weft-ml onnxruntime-web (${(cause as Error).message})`,
      cause,
    })
  }
}

const loaded: Partial<Record<Device, Promise<WebOrt>>> = {}

/** WebGPU's build runs WebAssembly too, but slower than the plain one. */
const engine = (device: Device): Promise<WebOrt> =>
  (loaded[device] ??=
    device === 'webgpu'
      ? load('onnxruntime-web/webgpu', () => import('onnxruntime-web/webgpu'))
      : load('onnxruntime-web/wasm', () => import('onnxruntime-web/wasm')))

/** The device that computes on this machine's processor: it has every dtype, float64 among them. */
export const hostDevice: Device = 'wasm'

/** WebAssembly. */
export const defaultDevice = (): Device => 'wasm'

/** A page has no files to map: bound ones are read into memory. */
export const mapsFiles = false

/**
 * A session for an ONNX model, [bytes] of a ModelProto, on the device that the options name. Throws EngineError
 * where the engine or the device is missing, or the graph is refused.
 */
export const openSession = async (model: Uint8Array, options: SessionOptions): Promise<Session> => {
  const { device } = options
  if (device !== 'wasm' && device !== 'webgpu')
    throw new EngineError(`device ${device} does not exist in a browser`, { hint: 'Use wasm or webgpu.' })
  if (device === 'webgpu' && !(await hasAdapter()))
    throw new EngineError('device webgpu is not available here', {
      hint: 'This browser offers no WebGPU adapter; use wasm.',
    })
  const ort = await engine(device)
  if (device === 'wasm')
    return openOrt(ort, model, options, { executionProviders: [device], enableMemPattern: false })
  const gpu = { executionProviders: [device], preferredOutputLocation: 'gpu-buffer' } as const
  return openOrt(ort, model, options, gpu, webgpuTurn)
}

/** WebGPU's build suspends inside a call, and bears no second one meanwhile. */
const webgpuTurn = oneAtATime()

const hasAdapter = async (): Promise<boolean> => {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } }
  return Boolean(await gpu?.requestAdapter())
}

export { saturatesSignedProducts } from './processor.js'
export type { OpenSession, Session, SessionOptions } from './session.js'

/** @file Writes ONNX models: the few messages of onnx.proto3 that lowering needs, on a protobuf wire writer. */
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire'
import type { DType } from './dtype.js'
import type { Shape } from './shape.js'

/** TensorProto.DataType. uint16 and uint32 appear only inside lowered graphs; int4 is packed in uint8 at the border. */
export const onnxType: Record<DType | 'uint16' | 'uint32', number> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  bfloat16: 16,
  int4: 2,
}

export type OnnxAttribute =
  number | string | readonly number[] | { readonly float: number } | { readonly graph: OnnxGraph }

export interface OnnxNode {
  readonly type: string
  readonly domain?: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly attributes?: Readonly<Record<string, OnnxAttribute>>
}

/** A tensor of the model: its bytes inside the model, or a range of a file beside it. */
export interface OnnxTensor {
  readonly name: string
  readonly type: number
  readonly shape: Shape
  readonly bytes?: Uint8Array
  readonly external?: { readonly location: string; readonly offset: number; readonly length: number }
}

export interface OnnxValueInfo {
  readonly name: string
  readonly type: number
  readonly shape: Shape
  /** Axes whose length a run decides: the same for all. */
  readonly open?: readonly number[]
}

export interface OnnxGraph {
  readonly name: string
  readonly nodes: readonly OnnxNode[]
  readonly inputs: readonly OnnxValueInfo[]
  readonly outputs: readonly OnnxValueInfo[]
  readonly initializers: readonly OnnxTensor[]
  /** Values inside the graph whose shapes are said. */
  readonly values?: readonly OnnxValueInfo[]
  /** What is known of the values inside, branches included: not written into the model. */
  readonly known?: ReadonlyMap<string, OnnxValueInfo>
}

const message = (w: BinaryWriter, field: number, bytes: Uint8Array): BinaryWriter =>
  w.tag(field, WireType.LengthDelimited).bytes(bytes)
const text = (w: BinaryWriter, field: number, s: string): BinaryWriter =>
  w.tag(field, WireType.LengthDelimited).string(s)
const integer = (w: BinaryWriter, field: number, n: number): BinaryWriter =>
  w.tag(field, WireType.Varint).int64(n)

const enum AttributeType {
  float = 1,
  int = 2,
  string = 3,
  graph = 5,
  ints = 7,
}

const attribute = (name: string, value: OnnxAttribute): Uint8Array => {
  const w = text(new BinaryWriter(), 1, name)
  const typed = (type: AttributeType): Uint8Array => integer(w, 20, type).finish()
  if (typeof value === 'number') {
    integer(w, 3, value)
    return typed(AttributeType.int)
  }
  if (typeof value === 'string') {
    text(w, 4, value)
    return typed(AttributeType.string)
  }
  if ('float' in value) {
    w.tag(2, WireType.Bit32).float(value.float)
    return typed(AttributeType.float)
  }
  if ('graph' in value) {
    message(w, 6, encodeGraph(value.graph))
    return typed(AttributeType.graph)
  }
  for (const n of value) integer(w, 8, n)
  return typed(AttributeType.ints)
}

const node = (n: OnnxNode): Uint8Array => {
  const w = new BinaryWriter()
  for (const i of n.inputs) text(w, 1, i)
  for (const o of n.outputs) text(w, 2, o)
  text(w, 4, n.type)
  for (const [k, v] of Object.entries(n.attributes ?? {})) message(w, 5, attribute(k, v))
  if (n.domain) text(w, 7, n.domain)
  return w.finish()
}

const entry = (key: string, value: string): Uint8Array =>
  text(text(new BinaryWriter(), 1, key), 2, value).finish()

const EXTERNAL = 1

const tensor = (t: OnnxTensor): Uint8Array => {
  const w = new BinaryWriter()
  for (const d of t.shape) integer(w, 1, d)
  integer(w, 2, t.type)
  text(w, 8, t.name)
  if (t.bytes) message(w, 9, t.bytes)
  if (t.external) {
    message(w, 13, entry('location', t.external.location))
    message(w, 13, entry('offset', String(t.external.offset)))
    message(w, 13, entry('length', String(t.external.length)))
    integer(w, 14, EXTERNAL)
  }
  return w.finish()
}

const valueInfo = (v: OnnxValueInfo): Uint8Array => {
  const shape = new BinaryWriter()
  for (const [axis, size] of v.shape.entries()) {
    const w = new BinaryWriter()
    message(shape, 1, (v.open?.includes(axis) ? text(w, 2, 'length') : integer(w, 1, size)).finish())
  }
  const tensorType = message(integer(new BinaryWriter(), 1, v.type), 2, shape.finish()).finish()
  const type = message(new BinaryWriter(), 1, tensorType).finish()
  return message(text(new BinaryWriter(), 1, v.name), 2, type).finish()
}

/** GraphProto bytes. */
export const encodeGraph = (g: OnnxGraph): Uint8Array => {
  const w = new BinaryWriter()
  for (const n of g.nodes) message(w, 1, node(n))
  text(w, 2, g.name)
  for (const t of g.initializers) message(w, 5, tensor(t))
  for (const i of g.inputs) message(w, 11, valueInfo(i))
  for (const o of g.outputs) message(w, 12, valueInfo(o))
  for (const v of g.values ?? []) message(w, 13, valueInfo(v))
  return w.finish()
}

const opset = (domain: string, version: number): Uint8Array =>
  integer(text(new BinaryWriter(), 1, domain), 2, version).finish()

/** ModelProto bytes. `opsetVersion` is that of the default operator set. */
export const encodeModel = (g: OnnxGraph, opsetVersion = 21): Uint8Array => {
  const w = integer(new BinaryWriter(), 1, 10)
  text(w, 2, 'weft')
  message(w, 7, encodeGraph(g))
  message(w, 8, opset('', opsetVersion))
  message(w, 8, opset('com.microsoft', 1))
  return w.finish()
}

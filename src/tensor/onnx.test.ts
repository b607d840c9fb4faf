import { fromBinary } from '@bufbuild/protobuf'
import {
  AttributeProto_AttributeType as Kind,
  GraphProtoSchema,
  ModelProtoSchema,
  TensorProto_DataLocation,
} from 'onnx-buf'
import { describe, expect, it } from 'vitest'
import { input } from './create.js'
import { concat, cond, tensor, type Tensor } from './index.js'
import { lower } from './lower.js'
import { encodeGraph, encodeModel, type OnnxGraph, onnxType } from './onnx.js'

const info = { name: 'x', type: onnxType.float32, shape: [2, 3] }
const inner: OnnxGraph = { name: 'inner', nodes: [], inputs: [], outputs: [info], initializers: [] }
const graph: OnnxGraph = {
  name: 'g',
  nodes: [
    {
      type: 'Op',
      domain: 'com.microsoft',
      inputs: ['x', '', 'w'],
      outputs: ['y'],
      attributes: {
        int: -3,
        float: { float: 0.5 },
        text: 'größer',
        ints: [1, -2, 2 ** 40],
        graph: { graph: inner },
      },
    },
  ],
  inputs: [info],
  outputs: [{ name: 'y', type: onnxType.bool, shape: [] }],
  initializers: [
    { name: 'w', type: onnxType.int32, shape: [1], bytes: Uint8Array.of(1, 0, 0, 0) },
    {
      name: 'far',
      type: onnxType.bfloat16,
      shape: [4],
      external: { location: 'a/b', offset: 2 ** 33, length: 8 },
    },
  ],
}

describe('the ONNX writer, read by an independent reader', () => {
  const model = fromBinary(ModelProtoSchema, encodeModel(graph, 21))

  it('writes the model, its operator sets, and no unknown field', () => {
    expect(model.irVersion).toBe(10n)
    expect(model.opsetImport.map(({ domain, version }) => [domain, version])).toEqual([
      ['', 21n],
      ['com.microsoft', 1n],
    ])
    expect(JSON.stringify(model, (_, v) => (typeof v === 'bigint' ? String(v) : v))).not.toContain('$unknown')
  })

  it('writes nodes with every kind of attribute', () => {
    const [node] = model.graph!.node
    expect([node.opType, node.domain, node.input, node.output]).toEqual([
      'Op',
      'com.microsoft',
      ['x', '', 'w'],
      ['y'],
    ])
    const attributes = Object.fromEntries(node.attribute.map((a) => [a.name, a]))
    expect([attributes.int.type, attributes.int.i]).toEqual([Kind.INT, -3n])
    expect([attributes.float.type, attributes.float.f]).toEqual([Kind.FLOAT, 0.5])
    expect([attributes.text.type, new TextDecoder().decode(attributes.text.s)]).toEqual([
      Kind.STRING,
      'größer',
    ])
    expect([attributes.ints.type, attributes.ints.ints]).toEqual([Kind.INTS, [1n, -2n, 2n ** 40n]])
    expect([attributes.graph.type, attributes.graph.g?.name]).toEqual([Kind.GRAPH, 'inner'])
  })

  it('writes shapes, embedded tensors and ranges of files', () => {
    const {
      input: [x],
      output: [y],
      initializer: [w, far],
    } = model.graph!
    const typeOf = (v: typeof x) => (v.type?.value.case === 'tensorType' ? v.type.value.value : undefined)
    expect(typeOf(x)?.shape?.dim.map((d) => d.value.value)).toEqual([2n, 3n])
    expect([typeOf(y)?.elemType, typeOf(y)?.shape?.dim]).toEqual([onnxType.bool, []])
    expect([w.dims, w.dataType, [...w.rawData]]).toEqual([[1n], onnxType.int32, [1, 0, 0, 0]])
    expect(far.dataLocation).toBe(TensorProto_DataLocation.EXTERNAL)
    expect(Object.fromEntries(far.externalData.map(({ key, value }) => [key, value]))).toEqual({
      location: 'a/b',
      offset: String(2 ** 33),
      length: '8',
    })
  })

  it('gives every name one producer before its uses, in branches too', () => {
    const p = input('p', [], 'bool')
    const x = input('x', [2], 'float32')
    const f = (t: Tensor): Tensor[] =>
      cond(
        p,
        () => concat([t.exp(), tensor([1, 2])]),
        () => concat([t, t.neg()]),
      )
    const lowered = lower([...f(x.mul(3)), x], new Set(), 'cpu', { mapsFiles: true })
    const read = fromBinary(GraphProtoSchema, encodeGraph(lowered.graph))
    const check = (g: typeof read, outer: readonly string[]): void => {
      const known = new Set([...outer, ...g.input.map((i) => i.name), ...g.initializer.map((i) => i.name)])
      for (const node of g.node) {
        for (const name of node.input) expect(known).toContain(name)
        for (const a of node.attribute) if (a.g) check(a.g, [...known])
        for (const name of node.output) {
          expect(known).not.toContain(name)
          known.add(name)
        }
      }
      for (const { name } of g.output) expect(known).toContain(name)
    }
    check(read, [])
    expect(read.node.some((n) => n.opType === 'If')).toBe(true)
  })
})

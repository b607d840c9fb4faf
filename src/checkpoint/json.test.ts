import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CheckpointError } from '../errors.js'
import { decodeText, formatJson, type Json, parseJson, parseJsonObject, parseReadOnly } from './json.js'
import { withFloats } from './numerals.js'

describe('parseJson', () => {
  it('agrees with JSON.parse on every JSON value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1, '\t'), (json, space) => {
        const text = JSON.stringify(json, null, space)
        expect(parseJson(text, 'f')).toEqual(JSON.parse(text))
      }),
    )
  })

  it('refuses with a CheckpointError whatever JSON.parse refuses', () => {
    const character = fc.constantFrom(...'{}[]":,\\/eE+-.0123 \n\ttruefalsn\u0001é'.split(''))
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 12 }), (text) => {
        let valid = true
        try {
          JSON.parse(text)
        } catch {
          valid = false
        }
        if (!valid) expect(() => parseJson(text, 'f')).toThrow(CheckpointError)
      }),
      { numRuns: 2000 },
    )
  })

  it('refuses a duplicate key and names it', () => {
    expect(() => parseJson('{"a": {"b": 1, "\\u0062": 2}}', 'x.json')).toThrow(/x\.json.*duplicate key "b"/)
  })

  it('keeps __proto__ an ordinary key', () => {
    const json = parseJsonObject('{"__proto__": {"polluted": true}}', 'f')
    expect(Object.keys(json)).toEqual(['__proto__'])
    expect((json as { polluted?: boolean }).polluted).toBeUndefined()
    expect(() => parseJson('{"__proto__": 1, "__proto__": 2}', 'f')).toThrow(/duplicate/)
    expect(formatJson(json)).toContain('"__proto__"')
  })

  it('refuses nesting that would exhaust the stack', () => {
    expect(() => parseJson('['.repeat(1e6), 'f')).toThrow(/nested/)
    expect(() => parseJson('{"a":'.repeat(1e6), 'f')).toThrow(/nested/)
  })

  it('refuses what is no object where one is needed, and text that is no UTF-8', () => {
    expect(() => parseJsonObject('[1]', 'f')).toThrow(/expected a JSON object/)
    expect(() => decodeText(Uint8Array.of(0xc3, 0x28), 'f')).toThrow(CheckpointError)
  })
})

describe('formatJson', () => {
  it('sorts keys at every level and indents by two', () => {
    expect(formatJson({ b: [1, { d: 1, c: null }], a: 'x' })).toBe(
      '{\n  "a": "x",\n  "b": [\n    1,\n    {\n      "c": null,\n      "d": 1\n    }\n  ]\n}',
    )
  })

  it('writes what JSON.stringify writes, where nothing was read', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (json) => {
        const plain = JSON.parse(JSON.stringify(json)) as Json
        expect(formatJson(plain, { sorted: false })).toBe(JSON.stringify(plain, null, 2))
      }),
    )
  })
})

describe('numbers that are read and written again', () => {
  const lines = (text: string): string[] => text.split('\n').map((line) => line.trim())
  const text =
    '{"a": 30.0, "b": 0.0, "c": 1e-05, "d": 1000000000000000019884624838656, "e": NaN, "f": Infinity, "g": -Infinity, ' +
    '"h": -0.0, "i": 1E+30, "j": 9007199254740993, "k": [1.0, 2, {"x": 3.50}], "l": 7}'

  it('keep the text that they had', () => {
    const written = formatJson(parseJson(text, 'f'))
    expect(lines(written)).toEqual(
      `{|"a": 30.0,|"b": 0.0,|"c": 1e-05,|"d": 1000000000000000019884624838656,|"e": NaN,|"f": Infinity,|"g": -Infinity,|"h": -0.0,|"i": 1E+30,|"j": 9007199254740993,|"k": [|1.0,|2,|{|"x": 3.50|}|],|"l": 7|}`.split(
        '|',
      ),
    )
    expect(formatJson(parseJson(written, 'f'))).toBe(written)
  })

  it('are the numbers that JavaScript has of them', () => {
    const { a, c, d, e, f, g } = parseJsonObject(text, 'f')
    expect([a, c, d, e, f, g]).toEqual([30, 1e-5, 1e30, NaN, Infinity, -Infinity])
  })

  it('keep their text in a copy with other keys changed, added and left out', () => {
    const { b: _, ...rest } = parseJsonObject(text, 'f')
    const copy = { ...rest, l: 8, m: 1 }
    expect(lines(formatJson(copy))).toEqual(
      expect.arrayContaining(['"a": 30.0,', '"c": 1e-05,', '"l": 8,', '"m": 1']),
    )
  })

  it('of two documents both keep theirs when one is laid over the other', () => {
    const both = {
      ...parseJsonObject('{"a": 1.0, "b": 2.0}', 'f'),
      ...parseJsonObject('{"b": 3.00, "c": 4.0}', 'f'),
    }
    expect(lines(formatJson(both))).toEqual(['{', '"a": 1.0,', '"b": 3.00,', '"c": 4.0', '}'])
  })

  it('are written as they are now when they have changed: a float stays a float, a large integer no longer matters', () => {
    const { a, d, ...rest } = parseJsonObject('{"a": 30.0, "d": 1000000000000000019884624838656}', 'f')
    expect([a, d]).toEqual([30, 1e30])
    expect(lines(formatJson({ ...rest, a: 31, d: 4096 }))).toEqual(['{', '"a": 31.0,', '"d": 4096', '}'])
    expect(lines(formatJson({ ...rest, a: 0.5, d: 1 }))).toEqual(['{', '"a": 0.5,', '"d": 1', '}'])
  })

  it('of a configuration that Weft makes are floats where Transformers and PEFT declare floats', () => {
    const made = withFloats({
      rms_norm_eps: 1e-5,
      attention_dropout: 0,
      hidden_size: 4,
      rope_parameters: { rope_theta: 10_000 },
    })
    expect(formatJson(made)).toBe(
      '{\n  "attention_dropout": 0.0,\n  "hidden_size": 4,\n  "rms_norm_eps": 0.00001,\n  "rope_parameters": {\n    "rope_theta": 10000.0\n  }\n}',
    )
  })

  it('are read, NaN and infinities among them, where nothing is written again', () => {
    expect(parseReadOnly('{"a": 1.0}', 'f')).toEqual({ a: 1 })
    expect(parseReadOnly('{"b": [NaN, -Infinity]}', 'f')).toEqual({ b: [NaN, -Infinity] })
    expect(() => parseReadOnly('{"a": nan}', 'f', 'Broken')).toThrow(/f: not valid JSON/)
  })
})

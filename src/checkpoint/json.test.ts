import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CheckpointError } from '../errors.js'
import { decodeText, formatJson, parseJson, parseJsonObject } from './json.js'

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
})

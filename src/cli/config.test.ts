import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { UsageError } from '../errors.js'
import { check, formatConfig, parseConfig } from './config.js'
import { size } from './schema.js'

const schema = z.object({
  steps: z.number().int().positive(),
  rate: z.number().default(1e-3),
  memory: size.optional(),
  data: z.array(z.object({ file: z.string(), weight: z.number().optional() })).optional(),
  names: z.record(z.string(), z.object({ rank: z.number() })).optional(),
  method: z
    .union([
      z.string(),
      z.object({ kind: z.literal('lora'), rank: z.number() }),
      z.object({ kind: z.literal('none') }),
    ])
    .optional(),
})

const load = (text: string): z.infer<typeof schema> => {
  const config = parseConfig(text, 'c.yaml')
  return check(schema, config.data ?? {}, config.place)
}

const refusal = (text: string): string => {
  try {
    load(text)
  } catch (error) {
    if (error instanceof UsageError) return error.message
    throw error
  }
  return 'accepted'
}

describe('config files', () => {
  it('read numbers and sizes as people write them', () => {
    expect(load('steps: 10\nrate: 1e-4\nmemory: 512MiB')).toEqual({ steps: 10, rate: 1e-4, memory: 2 ** 29 })
    expect(load('steps: 10\nmemory: 1.5 GB').memory).toBe(1.5e9)
    expect(load('{"steps": 1E1, "memory": 7}')).toEqual({ steps: 10, rate: 1e-3, memory: 7 })
  })

  it.each([
    ['rate: 1', /^c\.yaml:1:1: steps: expected number, found nothing$/],
    ['steps: ten', /^c\.yaml:1:8: steps: expected number, found "ten"$/],
    ['steps: 1.5', /^c\.yaml:1:8: steps: expected int, found 1\.5$/],
    ['steps:', /^c\.yaml:1:7: steps: expected number, found null$/],
    ['steps: 1\nmemory: big', /^c\.yaml:2:9: memory: expected a size such as 5GB or 512MiB, found "big"$/],
    [
      'steps: 1\ndata:\n- file: a\n- weight: 2\n',
      /^c\.yaml:4:3: data\[1\]\.file: expected string, found nothing$/,
    ],
    [
      'steps: 1\ndata:\n- file: a\n  wieght: 2\n',
      /^c\.yaml:4:3: data\[0\]\.wieght: unknown key\n {2}Nearest: weight/,
    ],
    ['steps: 1\nnames: {q: {rnak: 2}}', /^c\.yaml:2:13: names\.q\.rnak: unknown key\n {2}Nearest: rank/],
    ['steps: 1\nmethod: {kind: lora, rnak: 2}', /^c\.yaml:2:22: method\.rnak: unknown key/],
    ['a: &a [1]\nb: *c', /^c\.yaml:/],
    ['steps: 1\n---\nsteps: 2', /^c\.yaml:2:/],
    ['hello', /^c\.yaml:1:1: expected object, found "hello"$/],
  ])('%j is refused where it is wrong', (text, message) => {
    expect(refusal(text)).toMatch(message)
  })

  it('all that is wrong is said at once', () => {
    expect(refusal('steps: 0\nrate: fast').split('\n')).toHaveLength(2)
  })

  it('any text is read or refused, never a crash', () => {
    const piece = fc.constantFrom(
      'steps',
      'data',
      ':',
      '- ',
      '{',
      '}',
      '[',
      ']',
      '\n',
      '  ',
      '1',
      '&a',
      '*a',
      '!!x',
      '"',
      '|',
      '#',
      '? ',
    )
    const text = fc.oneof(
      fc.string(),
      fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join('')),
    )
    fc.assert(
      fc.property(text, (source) => refusal(source).length > 0),
      { numRuns: 2000 },
    )
  })

  it('what is saved is read back the same', () => {
    const options = fc.record({
      steps: fc.integer({ min: 1 }),
      rate: fc.double({ noNaN: true, min: -1e9, max: 1e9 }),
    })
    fc.assert(
      fc.property(options, (o) => {
        expect(load(formatConfig(o))).toEqual(o)
      }),
    )
  })
})

import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { card } from '../adapt/lora/card.js'
import { reproduction } from '../papers/index.js'
import type { Paper, Reproduction } from '../papers/index.js'
import type { LeftOut } from '../runs/index.js'
import { catalogue, findPaper, recordReproduction } from './index.js'
import { codeOf } from './reference.js'
import type { Reference } from './reference.js'

const base = mkdtempSync(join(tmpdir(), 'weft-reference-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))
const home = join(base, 'runs')
const reference = join(base, 'reference')
const path = join(reference, 'lora.json')
beforeEach(() => {
  rmSync(reference, { recursive: true, force: true })
  rmSync(home, { recursive: true, force: true })
})

/** An experiment whose one arm measures the seed plus `value`; the claims are that it is below 5, and above 9. */
const experimentOf = (value: number, paper: Paper = card): Reproduction =>
  reproduction(
    { paper },
    {
      arms: { ours: value },
      measure: (arm, { seed }) => Promise.resolve({ loss: arm + seed }),
      claims: ({ holds }) => [
        holds('is low', (m) => m.ours.loss.below(5)),
        holds('is high', (m) => m.ours.loss.above(9), { known: 'fails', why: 'it is low' }),
      ],
    },
  )

const keep = (experiment = experimentOf(1), options = {}): ReturnType<typeof recordReproduction> =>
  recordReproduction(home, experiment, { reference, engine: { threads: 2 }, ...options })

const stateOf = async (options = {}): Promise<string> =>
  findPaper(await catalogue({ reference, ...options }), 'lora').state

describe('a reference', () => {
  test('says what was claimed and measured with each seed, and what it was made with', async () => {
    expect((await keep()).reference).toBe(path)
    expect(readdirSync(reference)).toEqual(['lora.json'])
    const kept = JSON.parse(readFileSync(path, 'utf8')) as Reference
    expect(kept).toMatchObject({
      paper: 'lora',
      options: { threads: 2 },
      seeds: [0, 1, 2],
      seconds: expect.any(Number) as number,
      arms: { ours: { loss: { values: [1, 2, 3], mean: 2, spread: 1 } } },
      claims: [
        { text: 'is low', verdict: 'holds', mean: 2, spread: 1, values: [1, 2, 3] },
        { text: 'is high', verdict: 'fails', why: 'it is low' },
      ],
    })
    expect(kept.at).toMatch(/^\d{4}-\d\d-\d\dT/)
    expect(kept.commit).toMatch(/^[0-9a-f]{40}\+?$/)
    expect(kept.code).toBe(await codeOf(card))
    expect(kept.versions).toHaveProperty('node')
  })

  test('decides the state wherever no full run does', async () => {
    expect(await stateOf()).toBe('baseline')
    await keep()
    expect(await stateOf()).toBe('short')
    const { latest } = findPaper(await catalogue({ reference }), 'lora')
    expect(latest).toMatchObject({ result: { quick: false, seeds: [0, 1, 2] } })
    expect(latest!.run).toBeUndefined()
    const only = { ...experimentOf(1), claims: experimentOf(1).claims.slice(0, 1) }
    await recordReproduction(home, only, { quick: true })
    expect(await stateOf({ home })).toBe('short')
    await recordReproduction(home, only)
    expect(await stateOf({ home })).toBe('baseline')
  })

  test('is no quick run, none of fewer seeds, and none without sources; what was there stays', async () => {
    await keep()
    const before = readFileSync(path)
    await expect(keep(experimentOf(1), { quick: true })).rejects.toMatchObject({
      code: 'BadUsage',
      exitCode: 2,
    })
    await expect(keep(experimentOf(1), { seeds: 2 })).rejects.toThrow('lora has 3 seeds, --seeds asks for 2')
    await expect(keep(experimentOf(1, { ...card, id: 'nowhere' }))).rejects.toMatchObject({
      code: 'NoSources',
    })
    expect(readdirSync(home)).toHaveLength(1)
    const stop = new AbortController()
    const experiment = experimentOf(1)
    const measure: Reproduction['measure'] = (...given) => {
      stop.abort()
      return experiment.measure(...given)
    }
    await expect(keep({ ...experiment, measure }, { signal: stop.signal })).rejects.toThrow()
    await expect(keep({ ...experiment, measure: () => Promise.reject(new Error('no')) })).rejects.toThrow(
      'no',
    )
    expect(readFileSync(path)).toEqual(before)
    expect(readdirSync(reference)).toEqual(['lora.json'])
  })

  test('that is a pipe, or any other JSON, decides nothing and is named', async () => {
    await keep()
    const kept = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>
    const read = async (): Promise<LeftOut[]> => {
      const left: LeftOut[] = []
      expect(await stateOf({ leftOut: (what: LeftOut) => left.push(what) })).toMatch(/baseline|short/)
      return left
    }
    rmSync(path)
    execFileSync('mkfifo', [path])
    expect(await read()).toEqual([{ path: 'reference/lora.json', reason: 'lora.json is not a regular file' }])
    rmSync(path)
    const spoilt = fc
      .tuple(fc.constantFrom(...Object.keys(kept)), fc.jsonValue())
      .map(([key, value]) => ({ ...kept, [key]: value }))
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.jsonValue(), spoilt), async (value) => {
        writeFileSync(path, JSON.stringify(value))
        for (const { path } of await read()) expect(path).toBe('reference/lora.json')
      }),
      { numRuns: 50 },
    )
    writeFileSync(path, JSON.stringify({ ...kept, claims: [null] }))
    expect((await read())[0].reason).toMatch(/^lora.json: claims.0/)
    writeFileSync(path, JSON.stringify({ ...kept, paper: 'mos' }))
    expect((await read())[0].reason).toBe('lora.json: paper: mos is not lora')
  })
})

describe('the code of a reproduction', () => {
  const paper = { ...card, family: 'family', id: 'method' }
  const root = join(base, 'root')
  const write = (name: string, text: string): void => {
    mkdirSync(join(root, 'src', name, '..'), { recursive: true })
    writeFileSync(join(root, 'src', name), text)
  }

  test('is that of its folder and of what it imports of its family, tests aside', async () => {
    write(
      'family/method/method.ts',
      "import { a } from '../core/a.js'\nimport { t } from '../../tensor/t.js'\n",
    )
    write('family/method/index.ts', "export const load = () => import('./experiment.js')\n")
    write('family/method/experiment.ts', '')
    write('family/method/method.test.ts', '')
    write('family/core/a.ts', "export { b } from './b.js'\n")
    write('family/core/b.ts', '')
    write('family/other/other.ts', '')
    write('tensor/t.ts', '')
    const before = await codeOf(paper, root)
    expect(before).toMatch(/^sha256:[0-9a-f]{64}$/)
    const decides = async (name: string): Promise<boolean> => {
      const text = readFileSync(join(root, 'src', name), 'utf8')
      write(name, `${text}// changed`)
      const after = await codeOf(paper, root)
      write(name, text)
      return after !== before
    }
    for (const name of [
      'method/method.ts',
      'method/experiment.ts',
      'method/index.ts',
      'core/a.ts',
      'core/b.ts',
    ])
      expect(await decides(`family/${name}`), name).toBe(true)
    for (const name of ['family/method/method.test.ts', 'family/other/other.ts', 'tensor/t.ts'])
      expect(await decides(name), name).toBe(false)
    expect(await codeOf(paper, root)).toBe(before)
    expect(existsSync(join(root, 'src', 'family'))).toBe(true)
  })
})

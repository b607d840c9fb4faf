import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { Paper } from '../papers/card.js'
import { inWords, measuredWords, reproduction } from '../papers/index.js'
import {
  catalogue,
  type CataloguedPaper,
  experimentOf,
  findPaper,
  type MethodFamily,
  planned,
  recordReproduction,
} from '../catalogue/index.js'
import { readMetrics, readRuns } from '../runs/index.js'
import type { LeftOut } from '../runs/index.js'

const home = mkdtempSync(join(tmpdir(), 'weft-catalogue-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

/** Two papers that have no method yet. */
const [some, other] = planned

const card = (id: string, more: Partial<Paper> = {}): Paper => ({
  ...planned.find((paper) => paper.id === id)!,
  summary: 'The method itself.',
  ...more,
})

/** A family whose one method measures `value`; the claim is that it is below 1. */
const family = (paper: Paper, value: number, known?: 'fails'): MethodFamily => {
  const experiment = reproduction(
    { paper },
    {
      arms: { ours: value },
      measure: (arm, { log }) => Promise.resolve({ loss: (log({ step: 1, loss: 9 }), arm) }),
      claims: ({ holds }) => [holds('is low', (m) => m.ours.loss.below(1), known ? { known } : {})],
    },
  )
  return {
    name: paper.family,
    entries: () => Promise.resolve([{ card: paper, experiment: () => Promise.resolve({ experiment }) }]),
  }
}

const stateOf = (entries: readonly CataloguedPaper[], id: string): string => findPaper(entries, id).state

describe('the papers that Weft is about', () => {
  test('are 63, of nine families, planned or done, with everything that a card has', async () => {
    // A baseline is what others are compared with, and none of the 63.
    const papers = (await catalogue()).filter(({ baseline }) => !baseline)
    expect(papers).toHaveLength(63)
    expect(new Set(papers.map(({ arxiv }) => arxiv)).size).toBe(63)
    expect(new Set(papers.map((paper) => paper.family)).size).toBe(9)
    for (const { id, title, date, arxiv, code, summary, claims } of papers) {
      expect(id).toMatch(/^[a-z0-9]+(-[a-z0-9]+)*$/)
      expect(title.length).toBeGreaterThan(10)
      expect(arxiv).toMatch(/^\d{4}\.\d{5}$/)
      // arXiv numbers its papers by month. Its day begins the evening before.
      const [year, month] = date.split('-').map(Number)
      const numbered = 12 * (2000 + Number(arxiv.slice(0, 2))) + Number(arxiv.slice(2, 4))
      expect(numbered - (12 * year + month)).toBeGreaterThanOrEqual(0)
      expect(numbered - (12 * year + month)).toBeLessThanOrEqual(1)
      expect(code ?? 'https://').toMatch(/^https:\/\//)
      expect(summary.length).toBeGreaterThan(200)
      expect(summary).not.toMatch(/[\n]|\bwe\b/i)
      expect(claims.length).toBeGreaterThan(0)
    }
  })
})

describe('the catalogue', () => {
  test('lists all papers, newest first, and the methods that there are in place of planned ones', async () => {
    const entries = await catalogue()
    expect(entries.length).toBeGreaterThanOrEqual(64)
    const dates = entries.map(({ date }) => date)
    expect(dates).toEqual([...dates].sort().reverse())
    expect(findPaper(entries, 'lora')).toMatchObject({ baseline: true, source: 'src/adapt/lora/lora.ts' })
    expect(findPaper(entries, '2508.04581').id).toBe('masa')
    expect(() => findPaper(entries, 'lorra')).toThrow(/Nearest: lora/)
  })

  test("puts a method's own card in the planned one's place", async () => {
    const entries = await catalogue({ families: [family(card(some.id), 0.5)] })
    expect(entries).toHaveLength(planned.length)
    expect(findPaper(entries, some.id)).toMatchObject({ state: 'unmeasured', summary: 'The method itself.' })
    expect(stateOf(entries, other.id)).toBe('planned')
  })

  test('shows a claim that is known to fail, before anything was run here', async () => {
    expect(stateOf(await catalogue({ families: [family(card(some.id), 2, 'fails')] }), some.id)).toBe('short')
  })

  describe('decides by full runs alone:', () => {
    const run = async (folder: string, families: MethodFamily[], quick: boolean): Promise<void> => {
      const experiment = await experimentOf(findPaper(await catalogue({ families }), some.id))
      await recordReproduction(folder, experiment, { quick })
    }
    const works = [family(card(some.id), 0.5)]
    const fails = [family(card(some.id), 2)]
    /** The claim fails, as is known; what is measured now holds. */
    const known = [family(card(some.id), 0.5, 'fails')]
    const stateIn = async (folder: string, families: MethodFamily[]): Promise<string> =>
      stateOf(await catalogue({ home: folder, families }), some.id)

    test('a quick run changes no state, whatever it finds, and clears no known failure', async () => {
      const quickly = join(home, 'quick')
      await run(quickly, fails, true)
      expect(await stateIn(quickly, fails)).toBe('unmeasured')
      await run(quickly, known, true)
      expect(await stateIn(quickly, known)).toBe('short')
      const { latest } = findPaper(await catalogue({ home: quickly, families: known }), some.id)
      expect(latest!.result).toMatchObject({ quick: true, claims: [{ verdict: 'holds' }] })
    })

    test('a full run does, and stands before quick ones that come after it', async () => {
      const fully = join(home, 'full')
      await run(fully, works, false)
      expect(await stateIn(fully, known)).toBe('works')
      await run(fully, fails, true)
      expect(await stateIn(fully, known)).toBe('works')
      const [latest] = await readRuns(fully)
      expect(latest).toMatchObject({ command: 'reproduce', subject: some.id, status: 'finished' })
      const { rows } = await readMetrics(latest.folder)
      expect(rows.map(({ series, step, values }) => [series, step, values])).toContainEqual([
        'ours/0',
        1,
        { loss: 9 },
      ])
      await run(fully, fails, false)
      expect(await stateIn(fully, known)).toBe('short')
    })

    test('a result that says nothing, or is about another paper, decides nothing and is named', async () => {
      const broken = join(home, 'broken')
      await run(broken, works, false)
      const [{ folder }] = await readRuns(broken)
      const path = join(folder, 'run.json')
      const record = JSON.parse(readFileSync(path, 'utf8')) as { result: object }
      for (const change of [{ claims: [null] }, { paper: other.id }, { seeds: 'three' }]) {
        writeFileSync(path, JSON.stringify({ ...record, result: { ...record.result, ...change } }))
        const left: LeftOut[] = []
        const leftOut = (what: LeftOut): void => void left.push(what)
        const entries = await catalogue({ home: broken, families: known, leftOut })
        expect(stateOf(entries, some.id)).toBe('short')
        expect(left).toHaveLength(1)
        expect(left[0].reason).toContain(Object.keys(change)[0])
      }
    })
  })

  test('marks baselines, and has no experiment for what is planned', async () => {
    const entries = await catalogue({ families: [family(card(some.id, { baseline: true }), 0.5)] })
    expect(stateOf(entries, some.id)).toBe('baseline')
    await expect(experimentOf(findPaper(entries, other.id))).rejects.toMatchObject({
      code: 'NotReproducible',
    })
  })

  test('has a paper that sync found once, and not where it is planned', async () => {
    const found = (arxiv: string): Paper => ({
      ...card(some.id),
      id: arxiv,
      arxiv,
      date: '2026-03-01',
      family: 'cs.LG',
    })
    const entries = await catalogue({ listed: [found('2603.00001'), found(some.arxiv)], families: [] })
    expect(entries).toHaveLength(planned.length + 1)
    expect(entries[0]).toMatchObject({ id: '2603.00001', state: 'listed' })
  })
})

test('claims and measurements in words', () => {
  expect(inWords({ quantity: 'q' })).toBeUndefined()
  expect(inWords({ quantity: 'q', value: 10_000, unit: 'times', baseline: 'LoRA' })).toBe(
    '10,000x against LoRA',
  )
  expect(inWords({ quantity: 'q', value: 0.047, unit: 'percent' })).toBe('0.047 %')
  expect(inWords({ quantity: 'q', value: 0, unit: 's' })).toBe('0 s')
  const claim = { text: 't', verdict: 'holds' as const }
  expect(measuredWords(claim)).toBeUndefined()
  expect(measuredWords({ ...claim, mean: 0.93751, spread: 0.0123, unit: 'times lora' })).toBe(
    '0.9375 ± 0.012 times lora',
  )
})

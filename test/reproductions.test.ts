/** @file Every experiment in its quick form: it runs, its metrics are numbers, and what so small a size can show holds. */
import { describe, expect, it } from 'vitest'
import { families } from '../src/catalogue/families.js'
import { reproduce } from '../src/catalogue/index.js'

const entries = (await Promise.all(families.map((family) => family.entries()))).flat()
const experiments = new Map(entries.map(({ card, experiment }) => [card.id, experiment]))

describe('quick reproductions', () => {
  it.each([...experiments].flatMap(([id, load]) => (load ? [{ id, load }] : [])))('$id', async ({ load }) => {
    const { experiment } = await load()
    const { arms, claims } = await reproduce(experiment, { quick: true })
    expect(Object.keys(arms)).toEqual([...experiment.arms])
    expect(claims.map(({ text }) => text)).toEqual(experiment.claims.map(({ text }) => text))
    const known = new Set(experiment.claims.filter((claim) => claim.known).map(({ text }) => text))
    const failing = claims.filter(({ verdict, text }) => verdict === 'fails' && !known.has(text))
    expect(failing).toEqual([])
    // What is not shown says why, or that the full experiment is needed.
    for (const claim of experiment.claims) if (!claim.test) expect(claim.why, claim.text).toMatch(/\w/)
  })
})

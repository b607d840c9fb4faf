/** @file Papers that sync has found: one file each under WEFT_HOME/papers, so that any number of syncs may write. */
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { ZodType } from 'zod'
import { writeFileAtomic } from '../../checkpoint/index.js'
import type { Claim, Paper } from '../../papers/card.js'
import { FileRefused, readRecord, time } from '../../runs/index.js'
import type { LeftOut } from '../../runs/index.js'

/** A paper that nobody has planned here. Its id is its arXiv id, its family arXiv's category, its summary the authors'. */
export interface ListedPaper extends Paper {
  /** Names of the authors. */
  readonly names: readonly string[]
  /** When the first version was published: ISO 8601. */
  readonly published: string
  /** Source that lists it: arXiv, or the daily papers of Hugging Face. */
  readonly from: 'arxiv' | 'daily'
  /** Votes where it was found, at the time. */
  readonly upvotes?: number
}

const arxivId = /^(\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?\/\d{7})$/

/** Whether `id` is an arXiv id, and so safe as a file's name. */
export const isArxivId = (id: string): boolean => arxivId.test(id)

/** Where sync keeps what it knows. */
export const listedFolder = (home: string): string => join(home, 'papers')

const fileOf = (id: string): string => `${id.replace('/', '_')}.json`

/** Puts a paper in the list; its file is complete or not there. */
export const writeListed = async (home: string, paper: ListedPaper): Promise<void> => {
  await mkdir(listedFolder(home), { recursive: true })
  await writeFileAtomic(join(listedFolder(home), fileOf(paper.id)), `${JSON.stringify(paper, null, 2)}\n`)
}

const claim: ZodType<Claim> = z.object({
  quantity: z.string(),
  value: z.number().optional(),
  unit: z.string().optional(),
  baseline: z.string().optional(),
  condition: z.string().optional(),
})

/** What a file of the list must say. */
const listedPaper: ZodType<ListedPaper> = z.object({
  id: z.string().regex(arxivId, "expected arXiv's id"),
  title: z.string().min(1),
  date: z.iso.date(),
  authors: z.number().int().nonnegative().optional(),
  arxiv: z.string().regex(arxivId, "expected arXiv's id"),
  code: z.url({ protocol: /^https?$/ }).optional(),
  family: z.string(),
  summary: z.string(),
  claims: z.array(claim),
  terms: z.array(z.string()).optional(),
  names: z.array(z.string()),
  published: time,
  from: z.enum(['arxiv', 'daily']),
  upvotes: z.number().optional(),
})

/** Bytes of one file at most. */
const limit = 2 ** 20

/** Every paper in the list, in no order. `leftOut` hears of the files that are no papers. */
export const readListed = async (home: string, leftOut?: (what: LeftOut) => void): Promise<ListedPaper[]> => {
  const folder = listedFolder(home)
  const names = await readdir(folder).catch(() => [])
  const files = names.filter((name) => name.endsWith('.json') && !name.startsWith('.'))
  const papers: ListedPaper[] = []
  const read = async (name: string): Promise<void> => {
    try {
      const paper = await readRecord(folder, name, listedPaper, limit)
      if (paper) papers.push(paper)
    } catch (error) {
      if (!(error instanceof FileRefused)) throw error
      leftOut?.({ path: `papers/${name}`, reason: error.message })
    }
  }
  for (let start = 0; start < files.length; start += 64)
    await Promise.all(files.slice(start, start + 64).map(read))
  return papers
}

/** @file Papers that sync has found: one file each under WEFT_HOME/papers, so that any number of syncs may write. */
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeFileAtomic } from '../../checkpoint/index.js'
import type { Paper } from '../../papers/card.js'

/** A paper that nobody has planned here. Its id is its arXiv id, its family arXiv's category, its summary the authors'. */
export interface ListedPaper extends Paper {
  /** Names of the authors. */
  readonly names: readonly string[]
  /** When the first version was published: ISO 8601. */
  readonly published: string
  /** Where it was found. */
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

const isListed = (paper: Partial<ListedPaper> | null): paper is ListedPaper =>
  typeof paper?.id === 'string' &&
  isArxivId(paper.id) &&
  [paper.title, paper.date, paper.summary, paper.family, paper.arxiv].every(
    (text) => typeof text === 'string',
  ) &&
  Array.isArray(paper.claims) &&
  Array.isArray(paper.names)

/** Every paper in the list, in no order; files that are no papers are passed over. */
export const readListed = async (home: string): Promise<ListedPaper[]> => {
  const names = await readdir(listedFolder(home)).catch(() => [])
  const papers: ListedPaper[] = []
  const files = names.filter((name) => name.endsWith('.json') && !name.startsWith('.'))
  for (let at = 0; at < files.length; at += 64)
    for (const paper of await Promise.all(files.slice(at, at + 64).map((name) => read(home, name))))
      if (paper) papers.push(paper)
  return papers
}

const read = async (home: string, name: string): Promise<ListedPaper | undefined> => {
  try {
    const paper = JSON.parse(await readFile(join(listedFolder(home), name), 'utf8')) as ListedPaper
    return isListed(paper) ? paper : undefined
  } catch {
    return undefined
  }
}

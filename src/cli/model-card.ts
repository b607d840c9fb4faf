/** @file The card of a model that is pushed: what it was made of and what was measured, from its run. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { isObject } from '../data/files.js'

const readObject = async (path: string): Promise<Record<string, unknown>> => {
  const text = await readFile(path, 'utf8').catch(() => '{}')
  const json: unknown = JSON.parse(text)
  return isObject(json) ? json : {}
}

/** SHA-256 of a data file; undefined where it is not here any more. */
const hashOf = async (file: unknown): Promise<string | undefined> => {
  if (typeof file !== 'string' || !(await stat(file).catch(() => undefined))?.isFile()) return undefined
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array)
  return hash.digest('hex')
}

/** Numbers that the run's last evaluation measured. */
const measured = (result: unknown): [string, number][] => {
  const evaluation = isObject(result) ? result.evaluation : undefined
  const numbers = Object.entries(isObject(evaluation) ? evaluation : {})
  return numbers.filter(
    (entry): entry is [string, number] => typeof entry[1] === 'number' && entry[0] !== 'tokensPerSecond',
  )
}

/** A base that others can fetch: a hub's id, not a folder of this machine. */
const isId = (base: unknown): base is string => typeof base === 'string' && /^[\w.-]+\/[\w.-]+$/.test(base)

/** Whether a card is the one that saving leaves. */
const isOwn = (card: string): boolean => /^---\n[^]*?\n\s*- weft\n[^]*?---/.test(card)

/**
 * The README.md of the model in `folder`, from its run.json and adapter_config.json: method, base, options, hash of the data
 * and what was measured; undefined where somebody has written
 * one; the one that saving leaves, which names folders of this machine, gives way.
 */
export const modelCard = async (folder: string, id: string): Promise<string | undefined> => {
  const there = await readFile(join(folder, 'README.md'), 'utf8').catch(() => undefined)
  if (there !== undefined && !isOwn(there)) return undefined
  const run = await readObject(join(folder, 'run.json'))
  const adapter = await readObject(join(folder, 'adapter_config.json'))
  const config = isObject(run.config) ? run.config : {}
  const base = adapter.base_model_name_or_path ?? config.base
  const isAdapter = Object.keys(adapter).length > 0
  const method = [run.command, isAdapter ? (adapter.peft_type ?? 'adapter') : undefined]
    .filter(Boolean)
    .join(' ')
  const front = {
    ...(isId(base) && { base_model: base }),
    library_name: isAdapter ? 'peft' : 'transformers',
    tags: ['weft', ...(isAdapter ? ['adapter'] : [])],
  }
  const hash = await hashOf(config.data)
  const facts: [string, unknown][] = [
    ['Method', method || undefined],
    ['Base', isId(base) ? base : undefined],
    ['Seed', run.seed],
    ['Data, SHA-256', hash],
  ]
  const lines = facts.flatMap(([name, value]) => (value === undefined ? [] : [`- ${name}: ${String(value)}`]))
  const numbers = measured(run.result).map(([name, value]) => `| ${name} | ${Number(value.toPrecision(5))} |`)
  const table = [
    '## Measured',
    '',
    'On data held out of its training:',
    '',
    '| measure | value |',
    '| --- | --- |',
  ]
  return [
    `---\n${stringify(front).trim()}\n---`,
    `# ${id.replace(/.*\//, '')}`,
    ['Made with Weft.', '', ...lines].join('\n'),
    ...(numbers.length > 0 ? [[...table, ...numbers].join('\n')] : []),
  ]
    .join('\n\n')
    .concat('\n')
}

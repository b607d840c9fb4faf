/** @file The check of the docstrings, on a small package that lacks one thing of each kind. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { inspectSurface, type Lack } from '../scripts/documented/rules.js'
import { openProject } from '../scripts/documented/surface.js'

const source = `/** @file A room. */
export class Tensor {
  /** The sum with \`other\`: [...]. */
  add(other: Tensor): Tensor { return other }
  sub(other: Tensor): Tensor { return other }
  private hidden(other: Tensor): Tensor { return other }
}
export const bare = 1
/** Mean of the losses. */
export const unshaped = (losses: readonly number[]): number => losses.length
/** Mean of the losses [n]. */
export const shapedWell = (losses: readonly number[]): number => losses.length
/** Options of a step. */
export interface StepOptions {
  /** Rows to keep. */
  readonly rows: Float32Array
  /** Of the columns. */
  readonly columns?: number
  readonly undocumented?: number
}
/** One step. */
export const step = (options: StepOptions): number => options.rows.length
/** One step over the rows [rows, width]. */
export const stepWell = (options: StepOptions): number => options.rows.length
/** The first letter. */
export const first = (text: string): string => { if (!text) throw new Error('empty'); return text[0] }
/** The first letter. Throws Error when there is none. */
export const firstWell = (text: string): string => { if (!text) throw new Error('empty'); return text[0] }
/** The number in a text. */
export const parse = (text: string): number => { try { return JSON.parse(text) } catch (error) { throw error } }
/** The middle of an interval, in [0, 1). */
export const middle = (ends: number[]): number => ends[0]
const internal = (x: Tensor): Tensor => x
export { internal as renamed }
`

let folder: string
let lacks: Lack[]
let names: string[]

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'weft-documented-'))
  await mkdir(join(folder, 'src/room'), { recursive: true })
  const exports = { './room': { types: './dist/room/index.d.ts', default: './dist/room/index.js' } }
  await writeFile(join(folder, 'package.json'), JSON.stringify({ type: 'module', exports }))
  await writeFile(
    join(folder, 'tsconfig.json'),
    JSON.stringify({ compilerOptions: { strict: true, module: 'NodeNext', target: 'ES2022', types: [] } }),
  )
  await writeFile(join(folder, 'src/room/index.ts'), "export * from './parts.js'\n")
  await writeFile(join(folder, 'src/room/parts.ts'), source)
  const inspected = inspectSurface(openProject(folder))
  lacks = inspected.lacks
  names = inspected.items.map(({ name }) => name)
})
afterAll(() => rm(folder, { recursive: true }))

const named = (rule: Lack['rule']): string[] =>
  lacks.filter((lack) => lack.rule === rule).map(({ name }) => name)

test('an export, a public method and a member of options without docstring are named', () => {
  expect(named('docstring')).toEqual(['Tensor', 'Tensor.sub', 'bare', 'StepOptions.undocumented', 'renamed'])
})

test('what takes numbers without a shape in brackets is named; an interval is no shape', () => {
  expect(named('shape')).toEqual(['Tensor.sub', 'unshaped', 'step', 'middle', 'renamed'])
})

test('a body that throws an error of its own without saying so is named', () => {
  expect(named('throws')).toEqual(['first'])
})

test('a docstring that begins without its noun is named', () => {
  expect(named('noun')).toEqual(['StepOptions.columns'])
})

test('a lack says its file and line, and what is private is no part of the surface', () => {
  expect(lacks.find(({ name }) => name === 'bare')).toMatchObject({ file: 'src/room/parts.ts', line: 8 })
  expect(names).not.toContain('Tensor.hidden')
})

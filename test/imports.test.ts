/**
 * @file The rules of the house, over the import graph (type imports and late imports count). What breaks one is named:
 * file, arrow and rule.
 */
import { build, type Metafile } from 'esbuild'
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { architectures } from '../src/models/index.js'
import type { Entry } from '../src/papers/index.js'
import { type Arrow, circlesOf, readGraph, stringsOf, textOf } from './import-graph.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const graph = readGraph()

/** Rooms from the ground up; an import goes to the same room or one before it. */
const rooms = [
  ...[
    'errors',
    'progress',
    'random',
    'tensor',
    'runtime',
    'linalg',
    'checkpoint',
    'runs',
    'data',
    'text',
    'models',
  ],
  ...[
    'synth',
    'train',
    'tasks',
    'papers',
    'units',
    'sparse',
    'observe',
    'distil',
    'solve',
    'stream',
    'nats',
    'workers',
  ],
  'experiment',
  ...['adapt', 'merge', 'share', 'quantize', 'search', 'federate', 'serve', 'curate', 'domain'],
  ...['open', 'catalogue', 'lab', 'cli'],
]
const familyNames = rooms.slice(rooms.indexOf('adapt'), rooms.indexOf('domain') + 1)

const partsOf = (file: string): string[] => file.replace(/\.ts$/, '').split('/').slice(1)
const roomOf = (file: string): string => partsOf(file)[0]
/** The method's folder of a file of a family: its second part, where that is no file of the root. */
const methodOf = (file: string): string | undefined => {
  const [family, method, ...rest] = partsOf(file)
  return familyNames.includes(family) && rest.length > 0 ? method : undefined
}
const isExperiment = (file: string): boolean => file.endsWith('/experiment.ts') || /\/experiment\//.test(file)

const said = (rule: string, arrows: readonly Arrow[]): string[] =>
  arrows.map(({ from, to }) => `${from} -> ${to}: ${rule}`)

const lists = [import('../src/adapt/index.js'), import('../src/merge/index.js')]
const entries: readonly Entry[] = (await Promise.all(lists)).flatMap(
  (family) => family.entries as readonly Entry[],
)
const combinations = new Map(
  entries.map(({ card, combines = [] }) => [`${card.family}/${card.id}`, combines]),
)

describe('the rules of imports', () => {
  it('every room has its place', () => {
    expect(graph.files.map(roomOf).filter((room) => !rooms.includes(room))).toEqual([])
  })

  it('imports point to the same room or one below, but for the sessions of a compiled program', () => {
    const upward = graph.arrows.filter(
      ({ from, to }) => rooms.indexOf(roomOf(to)) > rooms.indexOf(roomOf(from)),
    )
    const allowed = (a: Arrow): boolean =>
      a.from === 'src/tensor/compile.ts' && a.to === 'src/runtime/node.ts'
    expect(
      said(
        'points to a room above',
        upward.filter((arrow) => !allowed(arrow)),
      ),
    ).toEqual([])
  })

  it('there is no circle but the four files of tensor/ that are one thing', () => {
    const circles = circlesOf(graph)
    const one = circles.filter(
      (circle) => circle.length <= 4 && circle.every((file) => roomOf(file) === 'tensor'),
    )
    expect(one.length).toBeLessThanOrEqual(1)
    expect(circles.filter((circle) => !one.includes(circle)).map((circle) => circle.join(' - '))).toEqual([])
  })

  it('a family is known to others by its index alone, and to those after it', () => {
    const across = graph.arrows.filter(
      ({ from, to }) => familyNames.includes(roomOf(to)) && roomOf(from) !== roomOf(to),
    )
    const isIndex = ({ to }: Arrow): boolean => to === `src/${roomOf(to)}/index.ts`
    const byExperiment = ({ from }: Arrow): boolean => isExperiment(from)
    expect(
      said(
        'reaches into a family past its index',
        across.filter((arrow) => !isIndex(arrow) && !byExperiment(arrow)),
      ),
    ).toEqual([])
  })

  it("a family's core knows no method, and a method only those that its entry combines", () => {
    const floors = ['core', 'tensor-methods']
    const within = graph.arrows.filter(({ from, to }) => {
      const here = methodOf(from)
      const there = methodOf(to)
      return roomOf(from) === roomOf(to) && here !== undefined && there !== undefined && here !== there
    })
    const broken = within.filter(({ from, to }) => {
      if (isExperiment(from)) return false
      const there = methodOf(to)!
      if (floors.includes(there))
        return floors.indexOf(there) > floors.indexOf(methodOf(from)!) && floors.includes(methodOf(from)!)
      return !combinations.get(`${roomOf(from)}/${methodOf(from)}`)?.includes(there)
    })
    expect(said('is another method, which its entry does not combine', broken)).toEqual([])
  })

  it('only the index of a method names its experiment', () => {
    const broken = graph.arrows.filter(
      ({ from, to }) =>
        to.endsWith('/experiment.ts') &&
        methodOf(to) !== undefined &&
        from !== to.replace(/experiment\.ts$/, 'index.ts'),
    )
    expect(said('names an experiment', broken)).toEqual([])
  })

  it('no file outside models/ names an architecture', () => {
    const names = new Set(architectures.flatMap(({ name, modelTypes }) => [name, ...modelTypes]))
    // Whoever makes models or measures on some names what it makes; a card's words are the paper's.
    const makes = (file: string): boolean =>
      isExperiment(file) ||
      roomOf(file) === 'synth' ||
      file.endsWith('/card.ts') ||
      roomOf(file) === 'models' ||
      /^src\/catalogue\/(planned|search)\//.test(file) ||
      file === 'src/cli/new-model.ts'
    const found = graph.files
      .filter((file) => !makes(file))
      .flatMap((file) =>
        stringsOf(file)
          .filter(({ text }) => names.has(text))
          .map(({ text, line }) => `${file}:${line}: names ${text}`),
      )
    expect(found).toEqual([])
  })

  it("a family's root holds its core, its methods and its index, and a method is named as its card", () => {
    for (const family of familyNames.filter((name) => existsSync(join(root, 'src', name)))) {
      const names = readdirSync(join(root, 'src', family))
      const files = names.filter((name) => statSync(join(root, 'src', family, name)).isFile())
      expect(files, family).toEqual(['index.ts'])
      const cards = entries.flatMap(({ card }) => (card.family === family ? [card.id] : []))
      for (const id of cards) expect(names, `src/${family}/${id}`).toContain(id)
    }
  })

  it("a method's main file has at most 250 lines, but where ARCHITECTURE.md says why", () => {
    const reasons = textOf('ARCHITECTURE.md')
    const long = entries
      .map(({ card: { family, id } }) => `src/${family}/${id}/${id}.ts`)
      .filter((file) => existsSync(join(root, file)))
      .map((file) => ({ file, lines: textOf(file).split('\n').length - 1 }))
      .filter(({ file, lines }) => lines > 250 && !reasons.includes(file))
    expect(long).toEqual([])
  })
})

/** Entries of the package that need a disk: no page imports them. Every other one claims the browser. */
const nodeOnly = [
  './data',
  './tasks',
  './merge',
  './stream',
  './runs',
  './catalogue',
  './observe',
  './distil',
  './experiment',
]

interface PackageEntry {
  readonly default?: string
  readonly browser?: { readonly default: string }
}

const packageEntries = Object.entries(
  (JSON.parse(textOf('package.json')) as { exports: Record<string, PackageEntry | string> }).exports,
).flatMap(([name, entry]) =>
  typeof entry === 'string'
    ? []
    : [
        {
          name,
          file: (entry.browser?.default ?? entry.default!).replace('./dist/', 'src/').replace(/\.js$/, '.ts'),
        },
      ],
)

/** Files that a page loads with `entry`: what is imported late is loaded when it is called. */
const loadedWith = (entry: string, { inputs }: Metafile): string[] => {
  const seen = new Set([entry])
  for (const file of seen)
    for (const { path, kind } of inputs[file]?.imports ?? []) if (kind === 'import-statement') seen.add(path)
  return [...seen]
}

describe('what a page runs', () => {
  it.each(packageEntries.filter(({ name }) => !nodeOnly.includes(name)))(
    '$name bundles for a browser, and loads nothing of Node',
    async ({ file }) => {
      const { metafile } = await build({
        ...{ absWorkingDir: root, entryPoints: [file], bundle: true, write: false, metafile: true },
        ...{ format: 'esm', platform: 'browser', splitting: true, outdir: 'out', logLevel: 'silent' },
        conditions: ['browser', 'onnxruntime-web-use-extern-wasm'],
        alias: { '#sessions': join(root, 'src/runtime/web.ts') },
        external: ['node:*'],
      })
      expect(loadedWith(file, metafile).filter((path) => path.startsWith('node:'))).toEqual([])
    },
  )

  it('names no entry that the package lacks', () => {
    const names = packageEntries.map(({ name }) => name)
    expect(nodeOnly.filter((name) => !names.includes(name))).toEqual([])
  })
})

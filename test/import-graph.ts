/** @file The import graph of src/: who imports whom, types and late imports included, and its circles. */
import { readFileSync, readdirSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const root = fileURLToPath(new URL('..', import.meta.url))

/** An import: `from` names `to`, both as paths from the repository's root. */
export interface Arrow {
  readonly from: string
  readonly to: string
}

export interface ImportGraph {
  /** Source files of src/, tests and pages' entries left out. */
  readonly files: readonly string[]
  readonly arrows: readonly Arrow[]
}

/** Text of a file named from the repository's root. */
export const textOf = (file: string): string => readFileSync(join(root, file), 'utf8')

const isSource = (file: string): boolean => file.endsWith('.ts') && !/\.(test|entry|d)\.ts$/.test(file)

const sourceFiles = (): string[] =>
  readdirSync(join(root, 'src'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && isSource(entry.name))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
    .sort()

/** The file that `specifier` means in `from`; undefined for a package. */
const resolved = (from: string, specifier: string): string | undefined => {
  if (specifier === '#sessions') return 'src/runtime/node.ts'
  if (!specifier.startsWith('.')) return undefined
  return normalize(join(dirname(from), specifier)).replace(/\.js$/, '.ts')
}

/** Reads the graph from the files as they are. */
export const readGraph = (): ImportGraph => {
  const files = sourceFiles()
  const known = new Set(files)
  const arrows = files.flatMap((from) => {
    const { importedFiles } = ts.preProcessFile(textOf(from), true, true)
    const targets = importedFiles.map(({ fileName }) => resolved(from, fileName))
    return [...new Set(targets)].flatMap((to) => (to !== undefined && known.has(to) ? [{ from, to }] : []))
  })
  return { files, arrows }
}

/** Circles: the sets of files each of which reaches all others of its set (Tarjan's algorithm). */
export const circlesOf = ({ files, arrows }: ImportGraph): string[][] => {
  const targets = new Map<string, string[]>(files.map((file) => [file, []]))
  for (const { from, to } of arrows) targets.get(from)!.push(to)
  const index = new Map<string, number>()
  const lowest = new Map<string, number>()
  const open: string[] = []
  const circles: string[][] = []
  const visit = (file: string): void => {
    index.set(file, index.size)
    lowest.set(file, index.get(file)!)
    open.push(file)
    for (const next of targets.get(file)!) {
      if (!index.has(next)) {
        visit(next)
        lowest.set(file, Math.min(lowest.get(file)!, lowest.get(next)!))
      } else if (open.includes(next)) lowest.set(file, Math.min(lowest.get(file)!, index.get(next)!))
    }
    if (lowest.get(file) !== index.get(file)) return
    const circle = open.splice(open.indexOf(file))
    if (circle.length > 1 || targets.get(file)!.includes(file)) circles.push(circle.sort())
  }
  for (const file of files) if (!index.has(file)) visit(file)
  return circles
}

/** String literals of a file, with their lines. */
export const stringsOf = (file: string): { readonly text: string; readonly line: number }[] => {
  const source = ts.createSourceFile(file, textOf(file), ts.ScriptTarget.Latest, true)
  const strings: { text: string; line: number }[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isStringLiteralLike(node))
      strings.push({
        text: node.text,
        line: source.getLineAndCharacterOfPosition(node.getStart()).line + 1,
      })
    ts.forEachChild(node, visit)
  }
  visit(source)
  return strings
}

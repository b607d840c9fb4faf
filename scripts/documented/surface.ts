/** @file The public surface: every symbol that an entry of package.json exports, with its documentation. */
import { readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import ts from 'typescript'

/** One exported symbol, or a method, accessor or member of one. */
export interface Item {
  /** Name as a reader would search for it: `Tensor.add`, `FitOptions.steps`. */
  readonly name: string
  /** Path of the declaring file, from the project's root. */
  readonly file: string
  readonly line: number
  readonly node: ts.Declaration
  readonly symbol: ts.Symbol
  /** Docstring with its tags; '' where there is none. */
  readonly text: string
  /** True where the item must have a docstring of its own. */
  readonly required: boolean
}

/** A type-checked project and the files of its public entries. */
export interface Project {
  readonly root: string
  readonly checker: ts.TypeChecker
  readonly entries: readonly ts.SourceFile[]
}

/** Source files of the entries in `exports`, the browser's included: `./dist/x.js` is built from `src/x.ts`. */
const entryFiles = (root: string): string[] => {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: object }
  const built = JSON.stringify(exports).match(/\.\/dist\/[^"]+\.js/g) ?? []
  return [...new Set(built)].map((path) =>
    join(root, path.replace('./dist/', 'src/').replace(/\.js$/, '.ts')),
  )
}

/** The project in the folder `root`, checked by its tsconfig.json. Throws Error when an entry has no source. */
export const openProject = (root: string): Project => {
  const config = ts.getParsedCommandLineOfConfigFile(
    join(root, 'tsconfig.json'),
    {},
    { ...ts.sys, onUnRecoverableConfigFileDiagnostic: () => undefined },
  )
  const files = entryFiles(root)
  const program = ts.createProgram(files, { ...config?.options, noEmit: true })
  const entries = files.map((file) => {
    const source = program.getSourceFile(file)
    if (!source) throw new Error(`package.json exports ${relative(root, file)}, which is not there.`)
    return source
  })
  return { root, checker: program.getTypeChecker(), entries }
}

const textOf = (symbol: ts.Symbol, checker: ts.TypeChecker): string => {
  const tags = symbol
    .getJsDocTags(checker)
    .filter(({ name }) => name !== 'file')
    .map(({ name, text }) => `@${name} ${ts.displayPartsToString(text)}`)
  return [ts.displayPartsToString(symbol.getDocumentationComment(checker)), ...tags].join('\n').trim()
}

/** Where a symbol declared as a value or as a type has its parts. */
const membersOf = (node: ts.Declaration): readonly (ts.ClassElement | ts.TypeElement)[] => {
  if (ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node)) return node.members
  if (ts.isTypeAliasDeclaration(node) && ts.isTypeLiteralNode(node.type)) return node.type.members
  return []
}

const isHidden = (node: ts.ClassElement | ts.TypeElement): boolean =>
  (ts.getCombinedModifierFlags(node) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) !== 0 ||
  !node.name ||
  ts.isPrivateIdentifier(node.name) ||
  ts.isComputedPropertyName(node.name)

/** A class's methods and accessors and the members of options must say what they are; other members may. */
const mustSpeak = (owner: ts.Declaration, member: ts.ClassElement | ts.TypeElement, name: string): boolean =>
  ts.isClassDeclaration(owner)
    ? ts.isMethodDeclaration(member) || ts.isAccessor(member)
    : /(Options|Settings)$/.test(name)

/** Every item of the public surface, once, whichever entries export it. */
export const surface = ({ root, checker, entries }: Project): Item[] => {
  const seen = new Set<ts.Symbol>()
  const items: Item[] = []
  const add = (symbol: ts.Symbol, node: ts.Declaration, name: string, required: boolean): void => {
    const source = node.getSourceFile()
    const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1
    const file = relative(root, source.fileName)
    items.push({ name, file, line, node, symbol, text: textOf(symbol, checker), required })
  }
  const addMembers = (owner: ts.Declaration, ownerName: string): void => {
    for (const member of membersOf(owner)) {
      const symbol = member.name && checker.getSymbolAtLocation(member.name)
      if (!symbol || isHidden(member) || seen.has(symbol)) continue
      seen.add(symbol)
      add(symbol, member, `${ownerName}.${symbol.name}`, mustSpeak(owner, member, ownerName))
    }
  }
  for (const entry of entries) {
    const module = checker.getSymbolAtLocation(entry)
    for (const exported of module ? checker.getExportsOfModule(module) : []) {
      const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
      const declarations = symbol.declarations ?? []
      const isModule = (symbol.flags & ts.SymbolFlags.Module) !== 0
      if (seen.has(symbol) || isModule || !declarations.length) continue
      if (declarations[0].getSourceFile().fileName.includes('/node_modules/')) continue
      seen.add(symbol)
      add(symbol, declarations[0], exported.name, true)
      for (const declaration of declarations) addMembers(declaration, exported.name)
    }
  }
  return items
}

/** @file What a docstring must say, and which parts of the public surface do not say it. */
import ts from 'typescript'
import { type Item, type Project, surface } from './surface.js'

export const rules = ['docstring', 'shape', 'throws', 'noun'] as const
export type Rule = (typeof rules)[number]

/** One thing that an item's docstring lacks. */
export interface Lack {
  readonly rule: Rule
  readonly file: string
  readonly line: number
  readonly name: string
  readonly message: string
}

/** A shape in brackets with at least one letter or dots ([batch, width], [..., n]), or words that stand for one. */
const shaped = /\[[^[\]]*(?:\p{L}|\.\.\.|…)[^[\]]*\]|\bscalars?\b|\b(?:any|same|its|one) shape\b/u

/** A thrown class by its name: "Throws UsageError when ...". */
const saysThrows =
  /\bthrows?\b[\s\S]*?\b(?:[A-Z]\w*(?:Error|Exception|Refused)|AggregateError|Error|Stopped)\b/i

/** First words that leave out the noun: "Of the scores over the keys", "What is added". "Whether" and "How many" name a thing. */
const nounless =
  /^(?:What|Which|Who|Whose|That|Those|It|Its|They|And|But|So|Of|In|On|At|As|By|From|To|For|With|Without|Where|Into|Per)\b/

const tensorNames = /^(?:Tensor|(?:Float|Int|Uint|BigInt|BigUint)\d+(?:Clamped)?Array|Buffer)$/
const listNames = /^(?:Array|ReadonlyArray|ArrayLike)$/

/**
 * True for a tensor, a typed array, a list of numbers, and lists or unions of these; tuples have a length already. Not
 * below three lists, since types may be recursive.
 */
const holdsNumbers = (type: ts.Type, checker: ts.TypeChecker, depth = 3): boolean => {
  const constraint = type.flags & ts.TypeFlags.TypeParameter ? checker.getBaseConstraintOfType(type) : type
  if (!constraint) return false
  if (constraint.isUnion()) return constraint.types.some((part) => holdsNumbers(part, checker, depth))
  const name = constraint.symbol?.name ?? ''
  if (tensorNames.test(name)) return true
  if (!listNames.test(name) || depth === 0) return false
  const [element] = checker.getTypeArguments(constraint as ts.TypeReference)
  return (
    element !== undefined &&
    ((element.flags & ts.TypeFlags.Number) !== 0 || holdsNumbers(element, checker, depth - 1))
  )
}

/** Bytes of a file have no shape; a shape and a list of axes are as long as the tensor's rank. */
const isExempt = (declaration: ts.Declaration, name: string): boolean =>
  /bytes|shape|axes|seed|key$/i.test(name) ||
  ((ts.isParameter(declaration) ||
    ts.isPropertySignature(declaration) ||
    ts.isPropertyDeclaration(declaration)) &&
    /\bShape\b|\bBytes\b/.test(declaration.type?.getText() ?? ''))

/** Names of what a call takes that holds numbers: parameters, and fields of options that do not give their own shape. */
const shapesDue = (signature: ts.Signature, checker: ts.TypeChecker): string[] =>
  signature.parameters.flatMap((parameter) => {
    const declaration = parameter.valueDeclaration
    if (!declaration || isExempt(declaration, parameter.name)) return []
    const type = checker.getTypeOfSymbolAtLocation(parameter, declaration)
    const isRest = ts.isParameter(declaration) && declaration.dotDotDotToken !== undefined
    if (holdsNumbers(type, checker))
      return isRest && !/Tensor|Operand/.test(declaration.getText()) ? [] : [parameter.name]
    const plain = checker.getNonNullableType(type)
    const typeName = plain.aliasSymbol?.name ?? plain.symbol?.name ?? ''
    if (!/(Options|Settings|__type)$/.test(typeName)) return []
    return checker
      .getPropertiesOfType(plain)
      .filter((field) => {
        const at = field.valueDeclaration
        if (!at || isExempt(at, field.name) || at.getSourceFile().fileName.includes('/node_modules/'))
          return false
        const text = ts.displayPartsToString(field.getDocumentationComment(checker))
        return holdsNumbers(checker.getTypeOfSymbolAtLocation(field, at), checker) && !shaped.test(text)
      })
      .map((field) => `${parameter.name.startsWith('__') ? 'options' : parameter.name}.${field.name}`)
  })

const signaturesOf = ({ symbol, node }: Item, checker: ts.TypeChecker): readonly ts.Signature[] =>
  symbol.flags & (ts.SymbolFlags.Interface | ts.SymbolFlags.TypeAlias | ts.SymbolFlags.Class)
    ? []
    : checker.getTypeOfSymbolAtLocation(symbol, node).getCallSignatures()

/** The bodies that run when the item is called: a function's, a method's, a class's constructor's. */
const bodiesOf = ({ symbol }: Item): ts.Node[] =>
  (symbol.declarations ?? []).flatMap((node): ts.Node[] => {
    if (ts.isFunctionDeclaration(node) || ts.isMethodDeclaration(node) || ts.isAccessor(node))
      return node.body ? [node.body] : []
    if (ts.isClassDeclaration(node))
      return node.members.flatMap((member) =>
        ts.isConstructorDeclaration(member) && member.body ? [member.body] : [],
      )
    const initial = ts.isVariableDeclaration(node) ? node.initializer : undefined
    return initial && (ts.isArrowFunction(initial) || ts.isFunctionExpression(initial)) ? [initial.body] : []
  })

/** A `throw` of the body itself, functions inside it included; an error caught there and thrown on is another's. */
const throwsItself = (node: ts.Node, caught: readonly string[] = []): boolean => {
  if (ts.isThrowStatement(node))
    return !(ts.isIdentifier(node.expression) && caught.includes(node.expression.text))
  const name = ts.isCatchClause(node) ? node.variableDeclaration?.name.getText() : undefined
  const known = name === undefined ? caught : [...caught, name]
  return ts.forEachChild(node, (child) => throwsItself(child, known) || undefined) ?? false
}

const lacksOf = (item: Item, checker: ts.TypeChecker): Lack[] => {
  const { file, line, name, text, required } = item
  const lacks: Lack[] = []
  const lack = (rule: Rule, message: string): number => lacks.push({ rule, file, line, name, message })
  if (required && !text) lack('docstring', 'no docstring')
  const due = shaped.test(text)
    ? []
    : signaturesOf(item, checker).flatMap((signature) => shapesDue(signature, checker))
  if (due.length) lack('shape', `no shape in brackets for ${[...new Set(due)].join(', ')}`)
  if (!saysThrows.test(text) && bodiesOf(item).some((body) => throwsItself(body)))
    lack('throws', 'its body throws; the docstring does not say "Throws" and the class')
  const [first] = nounless.exec(text) ?? []
  if (first !== undefined)
    lack('noun', `the docstring begins with "${first}" instead of the noun it describes`)
  return lacks
}

/** What the public surface of `project` lacks, by file and line, and how many items it has. */
export const inspectSurface = (project: Project): { items: Item[]; lacks: Lack[] } => {
  const items = surface(project)
  const lacks = items.flatMap((item) => lacksOf(item, project.checker))
  return {
    items,
    lacks: lacks.sort((a, b) => (a.file < b.file ? -1 : a.file > b.file ? 1 : a.line - b.line)),
  }
}

/**
 * @file Templates at work. The library parses them; its own interpreter follows JavaScript's rules where Python's
 * differ (what prints, what is equal, scopes, text before a break), so that the tree is walked here.
 */
import { attributeOf, filtered, tests } from './filters.js'
import { itemOf } from './methods.js'
import type { Call, Expression, FilterName, For, Macro, Node, Parameter } from './nodes.js'
import { operated, signed, sliced } from './operators.js'
import {
  type Callable,
  Float,
  isEqual,
  isTrue,
  itemsOf,
  Namespace,
  TemplateFault,
  textOf,
  Tuple,
  typeName,
  type Value,
} from './values.js'

/** Names and their values; what is not here is looked up in the scope around. */
export class Scope {
  readonly names = new Map<string, Value>()

  constructor(readonly around?: Scope) {}

  look(name: string): Value {
    if (this.names.has(name)) return this.names.get(name)
    return this.around?.look(name)
  }
}

/** How a block has ended: by itself, or at a `break` or `continue`. */
type Ending = 'done' | 'break' | 'continue'

type Arguments = [args: Value[], named: Map<string, Value>]

const assign = (target: Expression, value: Value, scope: Scope): void => {
  if (target.type === 'Identifier') {
    scope.names.set(target.value, value)
    return
  }
  if (target.type === 'TupleLiteral') {
    const items = itemsOf(value)
    if (items.length !== target.value.length)
      throw new TemplateFault(`${items.length} values to unpack; expected ${target.value.length}`)
    target.value.forEach((part, i) => assign(part, items[i], scope))
    return
  }
  if (target.type !== 'MemberExpression' || target.property.type !== 'Identifier')
    throw new TemplateFault(`a ${target.type} cannot be assigned to`)
  const holder = evaluate(target.object, scope)
  if (!(holder instanceof Namespace))
    throw new TemplateFault('cannot assign attribute on non-namespace object')
  holder.fields.set(target.property.value, value)
}

const argumentsOf = (args: readonly Expression[], scope: Scope): Arguments => {
  const placed: Value[] = []
  const named = new Map<string, Value>()
  for (const argument of args) {
    if (argument.type === 'SpreadExpression')
      for (const item of itemsOf(evaluate(argument.argument, scope))) placed.push(item)
    else if (argument.type === 'KeywordArgumentExpression')
      named.set(argument.key.value, evaluate(argument.value, scope))
    else if (argument.type === 'KeywordSpreadExpression') {
      const mapping = evaluate(argument.argument, scope)
      if (!(mapping instanceof Map)) throw new TemplateFault('argument after ** must be a mapping')
      for (const [key, value] of mapping) named.set(textOf(key), value)
    } else placed.push(evaluate(argument, scope))
  }
  return [placed, named]
}

const called = (call: Call, scope: Scope, extra?: readonly [string, Value]): Value => {
  const callee = evaluate(call.callee, scope)
  if (typeof callee !== 'function') {
    const name = call.callee.type === 'Identifier' ? `'${call.callee.value}'` : 'the value'
    throw new TemplateFault(
      callee === undefined ? `${name} is undefined` : `${name} (${typeName(callee)}) is not callable`,
    )
  }
  const [args, named] = argumentsOf(call.args, scope)
  if (extra) named.set(...extra)
  return callee(args, named)
}

const filter = (value: Value, name: FilterName, scope: Scope): Value => {
  if (name.type === 'Identifier') return filtered(name.value, value, [], new Map())
  if (name.callee.type !== 'Identifier') throw new TemplateFault('a filter has no name')
  const [args, named] = argumentsOf(name.args, scope)
  return filtered(name.callee.value, value, args, named)
}

const member = (node: Expression & { type: 'MemberExpression' }, scope: Scope): Value => {
  const object = evaluate(node.object, scope)
  const { property } = node
  if (node.computed && property.type === 'SliceExpression') {
    const bounds = [property.start, property.stop, property.step]
    return sliced(
      object,
      bounds.map((bound) => (bound ? evaluate(bound, scope) : undefined)),
    )
  }
  // A dot followed by a number is an item.
  if (!node.computed && property.type === 'Identifier') return attributeOf(object, property.value)
  const key = evaluate(property, scope)
  if (object === undefined) throw new TemplateFault(`an undefined value has no ${textOf(key)}`)
  return itemOf(object, key) ?? (typeof key === 'string' ? attributeOf(object, key) : undefined)
}

const binary = (node: Expression & { type: 'BinaryExpression' }, scope: Scope): Value => {
  const operator = node.operator.value
  const left = evaluate(node.left, scope)
  if (operator === 'and') return isTrue(left) ? evaluate(node.right, scope) : left
  if (operator === 'or') return isTrue(left) ? left : evaluate(node.right, scope)
  return operated(operator, left, evaluate(node.right, scope))
}

/** The value of an expression. Throws TemplateFault by Python's rules. */
export const evaluate = (node: Expression, scope: Scope): Value => {
  switch (node.type) {
    case 'Identifier':
      return scope.look(node.value)
    case 'IntegerLiteral':
    case 'StringLiteral':
      return node.value
    case 'FloatLiteral':
      return new Float(node.value)
    case 'ArrayLiteral':
      return node.value.map((item) => evaluate(item, scope))
    case 'TupleLiteral':
      return Tuple.from(node.value.map((item) => evaluate(item, scope)))
    case 'ObjectLiteral':
      return new Map([...node.value].map(([key, value]) => [evaluate(key, scope), evaluate(value, scope)]))
    case 'MemberExpression':
      return member(node, scope)
    case 'CallExpression':
      return called(node, scope)
    case 'BinaryExpression':
      return binary(node, scope)
    case 'UnaryExpression': {
      const value = evaluate(node.argument, scope)
      return node.operator.value === 'not' ? !isTrue(value) : signed(node.operator.value, value)
    }
    case 'FilterExpression':
      return filter(evaluate(node.operand, scope), node.filter, scope)
    case 'TestExpression':
      return tests(node.test.value)(evaluate(node.operand, scope), []) !== node.negate
    case 'SelectExpression':
      return isTrue(evaluate(node.test, scope)) ? evaluate(node.lhs, scope) : undefined
    case 'Ternary':
      return evaluate(isTrue(evaluate(node.condition, scope)) ? node.trueExpr : node.falseExpr, scope)
    default:
      throw new TemplateFault(`a ${node.type} has no value here`)
  }
}

/** What `loop` says in iteration `i` of `items`. */
const loopAt = (items: readonly Value[], i: number, changed: Callable): Value =>
  new Namespace(
    new Map<string, Value>([
      ['index', i + 1],
      ['index0', i],
      ['revindex', items.length - i],
      ['revindex0', items.length - i - 1],
      ['first', i === 0],
      ['last', i === items.length - 1],
      ['length', items.length],
      ['depth', 1],
      ['depth0', 0],
      ['previtem', items[i - 1]],
      ['nextitem', items[i + 1]],
      ['cycle', (args) => args[i % args.length]],
      ['changed', changed],
    ]),
  )

const changedSince = (): Callable => {
  let last: readonly Value[] | undefined
  return (args) => {
    const isSame = last !== undefined && isEqual([...last], [...args])
    last = args
    return !isSame
  }
}

/** The items of a loop that its condition leaves. */
const loopItems = ({ iterable, loopvar }: For, scope: Scope): Value[] => {
  if (iterable.type !== 'SelectExpression') return itemsOf(evaluate(iterable, scope))
  return itemsOf(evaluate(iterable.lhs, scope)).filter((item) => {
    const inner = new Scope(scope)
    assign(loopvar, item, inner)
    return isTrue(evaluate(iterable.test, inner))
  })
}

const runFor = (node: For, scope: Scope, out: string[]): void => {
  const items = loopItems(node, scope)
  const changed = changedSince()
  let isDone = false
  for (const [i, item] of items.entries()) {
    const inner = new Scope(scope)
    inner.names.set('loop', loopAt(items, i, changed))
    assign(node.loopvar, item, inner)
    const ending = runBlock(node.body, inner, out)
    if (ending === 'break') break
    // As in Jinja, an iteration that was cut short does not count for `else`.
    if (ending === 'done') isDone = true
  }
  if (!isDone) runBlock(node.defaultBlock, new Scope(scope), out)
}

/** The text of a block whose `break` or `continue` could not leave it. */
const rendered = (body: readonly Node[], scope: Scope): string => {
  const out: string[] = []
  runBlock(body, scope, out)
  return out.join('')
}

const parameterOf = (p: Parameter): { name: string; otherwise?: Expression } =>
  p.type === 'Identifier' ? { name: p.value } : { name: p.key.value, otherwise: p.value }

/** A macro sees the scope that it stands in, wherever it is called. */
const macro = ({ name, args: parameters, body }: Omit<Macro, 'type'>, around: Scope): Callable => {
  const known = parameters.map(parameterOf)
  const uses = JSON.stringify(body, (_, v: unknown) => (v instanceof Map ? [...v] : v))
  return (args, named) => {
    const scope = new Scope(around)
    const rest = new Map(named)
    for (const [i, { name: parameter, otherwise }] of known.entries()) {
      const passed = i < args.length ? args[i] : rest.get(parameter)
      const isGiven = i < args.length || rest.delete(parameter)
      scope.names.set(parameter, isGiven || !otherwise ? passed : evaluate(otherwise, scope))
    }
    const caller = rest.get('caller')
    if (rest.delete('caller')) scope.names.set('caller', caller)
    if (uses.includes('"kwargs"')) scope.names.set('kwargs', new Map(rest))
    else if (rest.size > 0)
      throw new TemplateFault(`macro '${name.value}' takes no keyword argument '${[...rest.keys()][0]}'`)
    if (uses.includes('"varargs"')) scope.names.set('varargs', Tuple.from(args.slice(known.length)))
    else if (args.length > known.length)
      throw new TemplateFault(`macro '${name.value}' takes not more than ${known.length} argument(s)`)
    return rendered(body, scope)
  }
}

const runStatement = (node: Node, scope: Scope, out: string[]): Ending => {
  switch (node.type) {
    case 'Comment':
      return 'done'
    case 'Break':
      return 'break'
    case 'Continue':
      return 'continue'
    case 'If':
      return runBlock(isTrue(evaluate(node.test, scope)) ? node.body : node.alternate, scope, out)
    case 'For':
      runFor(node, scope, out)
      return 'done'
    case 'Set':
      assign(
        node.assignee,
        node.value ? evaluate(node.value, scope) : rendered(node.body, new Scope(scope)),
        scope,
      )
      return 'done'
    case 'Macro':
      scope.names.set(node.name.value, macro(node, scope))
      return 'done'
    case 'CallStatement': {
      const name = { type: 'Identifier', value: 'caller' } as const
      const caller = macro({ name, args: node.callerArgs ?? [], body: node.body }, scope)
      out.push(textOf(called(node.call, scope, ['caller', caller])))
      return 'done'
    }
    case 'FilterStatement':
      out.push(textOf(filter(rendered(node.body, new Scope(scope)), node.filter, scope)))
      return 'done'
    default:
      out.push(textOf(evaluate(node, scope)))
      return 'done'
  }
}

/** Runs the nodes of a block; what they print goes into `out`, so that nothing is lost when a loop ends early. */
export const runBlock = (body: readonly Node[], scope: Scope, out: string[]): Ending => {
  for (const node of body) {
    const ending = runStatement(node, scope, out)
    if (ending !== 'done') return ending
  }
  return 'done'
}

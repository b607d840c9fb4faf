/** @file The syntax tree of a template, as the library's parser gives it. */

/** A name. */
export interface Identifier {
  type: 'Identifier'
  value: string
}

/** A parameter of a macro, with a default or without. */
export type Parameter = Identifier | { type: 'KeywordArgumentExpression'; key: Identifier; value: Expression }

/** `f(...)`. */
export interface Call {
  type: 'CallExpression'
  callee: Expression
  args: Expression[]
}

/** A filter: its name, or a call of it. */
export type FilterName = Identifier | Call

/** What has a value. */
export type Expression =
  | Identifier
  | Call
  | { type: 'IntegerLiteral' | 'FloatLiteral'; value: number }
  | { type: 'StringLiteral'; value: string }
  | { type: 'ArrayLiteral' | 'TupleLiteral'; value: Expression[] }
  | { type: 'ObjectLiteral'; value: Map<Expression, Expression> }
  | { type: 'MemberExpression'; object: Expression; property: Expression; computed: boolean }
  | { type: 'SliceExpression'; start?: Expression; stop?: Expression; step?: Expression }
  | { type: 'BinaryExpression'; operator: { value: string }; left: Expression; right: Expression }
  | { type: 'UnaryExpression'; operator: { value: string }; argument: Expression }
  | { type: 'FilterExpression'; operand: Expression; filter: FilterName }
  | { type: 'TestExpression'; operand: Expression; negate: boolean; test: Identifier }
  | { type: 'SelectExpression'; lhs: Expression; test: Expression }
  | { type: 'Ternary'; condition: Expression; trueExpr: Expression; falseExpr: Expression }
  | { type: 'KeywordArgumentExpression'; key: Identifier; value: Expression }
  | { type: 'SpreadExpression' | 'KeywordSpreadExpression'; argument: Expression }

/** `{% for %}`. */
export interface For {
  type: 'For'
  loopvar: Expression
  iterable: Expression
  body: Node[]
  defaultBlock: Node[]
}

/** `{% macro %}`. */
export interface Macro {
  type: 'Macro'
  name: Identifier
  args: Parameter[]
  body: Node[]
}

/** What is done. */
export type Statement =
  | For
  | Macro
  | { type: 'If'; test: Expression; body: Node[]; alternate: Node[] }
  | { type: 'Set'; assignee: Expression; value: Expression | null; body: Node[] }
  | { type: 'CallStatement'; call: Call; callerArgs: Parameter[] | null; body: Node[] }
  | { type: 'FilterStatement'; filter: FilterName; body: Node[] }
  | { type: 'Break' | 'Continue' | 'Comment' }

/** A statement, or an expression whose value is printed. */
export type Node = Statement | Expression

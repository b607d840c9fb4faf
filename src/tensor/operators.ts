/** @file The names of the primitives that work element by element, by what they take and give. */

/** Primitives of one number. */
export type Unary =
  | 'neg'
  | 'abs'
  | 'sign'
  | 'floor'
  | 'ceil'
  | 'round'
  | 'exp'
  | 'log'
  | 'sqrt'
  | 'erf'
  | 'sin'
  | 'cos'
  | 'tanh'
  | 'sigmoid'
  | 'softplus'
/** Primitives of two numbers that give a number. */
export type Arithmetic = 'add' | 'sub' | 'mul' | 'div' | 'mod' | 'pow' | 'min' | 'max'
/** Primitives of two numbers that give a bool. */
export type Comparison = 'equal' | 'less' | 'lessEqual'
/** Primitives of two bools. */
export type Logic = 'and' | 'or' | 'xor'
/** Primitives of two integers, bit by bit. */
export type Bitwise = 'bitAnd' | 'bitOr' | 'bitXor' | 'shiftLeft' | 'shiftRight'

/** @file The methods of a tensor that work element by element. */
import type { Arithmetic, Bitwise, Comparison, Logic, Unary } from './operators.js'

/** A tensor [...], or a number that takes the other operand's dtype. */
type Operand<T> = T | number

/** Operators on each element, over the few that a tensor gives: how one primitive is applied. */
export abstract class Elementwise<T extends Elementwise<T>> {
  protected abstract unary(op: Unary | 'not'): T
  protected abstract binary(op: Arithmetic | Comparison | Logic | Bitwise, other: Operand<T>): T
  /** `other` as a tensor [...] of this dtype. */
  abstract lift(other: Operand<T>): T

  private get itself(): T {
    return this as unknown as T
  }

  /** Negative. */
  neg(): T {
    return this.unary('neg')
  }
  /** Magnitude. */
  abs(): T {
    return this.unary('abs')
  }
  /** Sign: -1, 0 or 1. */
  sign(): T {
    return this.unary('sign')
  }
  /** Greatest integer not above. */
  floor(): T {
    return this.unary('floor')
  }
  /** Least integer not below. */
  ceil(): T {
    return this.unary('ceil')
  }
  /** Nearest integer, halves to even. */
  round(): T {
    return this.unary('round')
  }
  /** Exponential. */
  exp(): T {
    return this.unary('exp')
  }
  /** Natural logarithm. */
  log(): T {
    return this.unary('log')
  }
  /** Square root. */
  sqrt(): T {
    return this.unary('sqrt')
  }
  /** Error function. */
  erf(): T {
    return this.unary('erf')
  }
  /** Sine of radians. */
  sin(): T {
    return this.unary('sin')
  }
  /** Cosine of radians. */
  cos(): T {
    return this.unary('cos')
  }
  /** Hyperbolic tangent. */
  tanh(): T {
    return this.unary('tanh')
  }
  /** Logistic function 1 / (1 + exp(-x)). */
  sigmoid(): T {
    return this.unary('sigmoid')
  }
  /** Softplus log(1 + exp(x)), without overflow. */
  softplus(): T {
    return this.unary('softplus')
  }
  /** Negation of bools. */
  not(): T {
    return this.unary('not')
  }
  /** Square. */
  square(): T {
    return this.mul(this.itself)
  }
  /** Reciprocal 1 / x. */
  reciprocal(): T {
    return this.lift(1).div(this.itself)
  }

  /** Sum. other: [...], broadcast. */
  add(other: Operand<T>): T {
    return this.binary('add', other)
  }
  /** Difference. other: [...], broadcast. */
  sub(other: Operand<T>): T {
    return this.binary('sub', other)
  }
  /** Product. other: [...], broadcast. */
  mul(other: Operand<T>): T {
    return this.binary('mul', other)
  }
  /** Quotient; integers truncate toward zero. other: [...], broadcast. */
  div(other: Operand<T>): T {
    return this.binary('div', other)
  }
  /** Remainder with the sign of the divisor, as Python's %. other: [...], broadcast. */
  mod(other: Operand<T>): T {
    return this.binary('mod', other)
  }
  /** Power with exponent `other`. other: [...], broadcast. */
  pow(other: Operand<T>): T {
    return other === 2 ? this.square() : this.binary('pow', other)
  }
  /** Lesser of both. other: [...], broadcast. */
  minimum(other: Operand<T>): T {
    return this.binary('min', other)
  }
  /** Greater of both. other: [...], broadcast. */
  maximum(other: Operand<T>): T {
    return this.binary('max', other)
  }
  /** Elements clamped to [low, high]. */
  clip(low: number, high: number): T {
    return this.maximum(low).minimum(high)
  }

  /** Bools: this = other. other: [...], broadcast. */
  equal(other: Operand<T>): T {
    return this.binary('equal', other)
  }
  /** Bools: this ≠ other. other: [...], broadcast. */
  notEqual(other: Operand<T>): T {
    return this.equal(other).not()
  }
  /** Bools: this < other. other: [...], broadcast. */
  less(other: Operand<T>): T {
    return this.binary('less', other)
  }
  /** Bools: this ≤ other. other: [...], broadcast. */
  lessEqual(other: Operand<T>): T {
    return this.binary('lessEqual', other)
  }
  /** Bools: this > other. other: [...], broadcast. */
  greater(other: Operand<T>): T {
    return this.lift(other).less(this.itself)
  }
  /** Bools: this ≥ other. other: [...], broadcast. */
  greaterEqual(other: Operand<T>): T {
    return this.lift(other).lessEqual(this.itself)
  }
  /** Conjunction of bools. other: [...], broadcast. */
  and(other: T): T {
    return this.binary('and', other)
  }
  /** Disjunction of bools. other: [...], broadcast. */
  or(other: T): T {
    return this.binary('or', other)
  }
  /** Exclusive disjunction of bools. other: [...], broadcast. */
  xor(other: T): T {
    return this.binary('xor', other)
  }
  /** Bits set in both integers. other: [...], broadcast. */
  bitAnd(other: Operand<T>): T {
    return this.binary('bitAnd', other)
  }
  /** Bits set in either integer. other: [...], broadcast. */
  bitOr(other: Operand<T>): T {
    return this.binary('bitOr', other)
  }
  /** Bits set in one integer alone. other: [...], broadcast. */
  bitXor(other: Operand<T>): T {
    return this.binary('bitXor', other)
  }
  /** Bits moved up by `other`, zeros coming in. other: [...], broadcast. */
  shiftLeft(other: Operand<T>): T {
    return this.binary('shiftLeft', other)
  }
  /** Bits moved down by `other`, zeros coming in (a logical shift). other: [...], broadcast. */
  shiftRight(other: Operand<T>): T {
    return this.binary('shiftRight', other)
  }
}

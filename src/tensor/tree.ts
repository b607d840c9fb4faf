/** @file Trees: plain objects and arrays with one kind of leaf, the shape of parameters, states and batches. */
import { WeftError } from '../errors.js'

/** A leaf, or arrays and plain objects of trees. */
export type Tree<T> = T | readonly Tree<T>[] | { readonly [key: string]: Tree<T> }

/** `S` with its leaves of type `From` replaced by `To`. */
export type Replace<S, From, To> = S extends From
  ? To
  : S extends readonly unknown[]
    ? { [K in keyof S]: Replace<S[K], From, To> }
    : S extends object
      ? { [K in keyof S]: Replace<S[K], From, To> }
      : S

/**
 * Arrays and plain objects branch; what has a shape and a dtype (a tensor, a value, the description of one) is a
 * leaf.
 */
const isBranch = (x: unknown): x is Record<string, unknown> | unknown[] =>
  Array.isArray(x) ||
  (typeof x === 'object' &&
    x !== null &&
    Object.getPrototypeOf(x) === Object.prototype &&
    !('shape' in x && 'dtype' in x))

/** Every leaf with its path (keys joined with '/'), in the order of the tree. `undefined` members are no leaves. */
export const leaves = <T>(tree: unknown, path = ''): { path: string; leaf: T }[] => {
  if (tree === undefined) return []
  if (!isBranch(tree)) return [{ path, leaf: tree as T }]
  return Object.entries(tree).flatMap(([k, v]) => leaves<T>(v, path ? `${path}/${k}` : k))
}

/** The tree with every leaf replaced by `f(leaf, path)`. */
export const mapTree = <T, U, S = unknown>(
  tree: S,
  f: (leaf: T, path: string) => U,
  path = '',
): Replace<S, T, U> => {
  const inner = (t: unknown, at: string): unknown => {
    if (t === undefined) return undefined
    if (Array.isArray(t)) return t.map((v, i) => inner(v, at ? `${at}/${i}` : String(i)))
    if (isBranch(t))
      return Object.fromEntries(Object.entries(t).map(([k, v]) => [k, inner(v, at ? `${at}/${k}` : k)]))
    return f(t as T, at)
  }
  return inner(tree, path) as Replace<S, T, U>
}

/** The tree with its leaves replaced, in order, by `values`. Throws WeftError (TreeError) when their numbers differ. */
export const refill = <T, U, S = unknown>(tree: S, values: readonly U[]): Replace<S, T, U> => {
  const count = leaves(tree).length
  if (count !== values.length)
    throw new WeftError('TreeError', `a tree of ${count} leaves cannot hold ${values.length} values`)
  let next = 0
  return mapTree<T, U, S>(tree, () => values[next++])
}

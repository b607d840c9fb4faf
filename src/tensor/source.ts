/** @file Where the numbers of a bound tensor lie: a range of a file that a session maps, or an array in memory. */
import type { DType } from './dtype.js'
import type { Shape } from './shape.js'
import type { Value } from './value.js'

/** A range of a file that holds a tensor's row-major little-endian elements. The file must not change while in use. */
export interface FileSource {
  readonly kind: 'file'
  readonly dtype: DType
  readonly shape: Shape
  /** Absolute path with symbolic links resolved. */
  readonly path: string
  /** Bytes from the start of the file. */
  readonly offset: number
  readonly length: number
  /** Sees to it that the file is there, before a session maps it. Default: it is there. */
  prepare?(): Promise<void>
  /** The numbers, for the interpreter and for devices that cannot map files. */
  read(): Promise<Value>
}

/** An array in memory, given to a session by reference. */
export interface MemorySource {
  readonly kind: 'memory'
  readonly dtype: DType
  readonly shape: Shape
  readonly value: Value
}

/** Place of a bound tensor's numbers. */
export type Source = FileSource | MemorySource

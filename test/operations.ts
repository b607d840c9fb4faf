/**
 * @file Every operation of the engine, a line or a few each: how a case of it is drawn, and what is computed. The gradient,
 * device and vmap suites run all of them; an operation added here is tested everywhere.
 */
import { elementwise } from './operations/elementwise.js'
import { imageOperations } from './operations/images.js'
import { layers } from './operations/layers.js'
import { movement } from './operations/movement.js'
import type { Operation } from './operations/operation.js'
import { products } from './operations/products.js'
import { programs } from './operations/programs.js'

export type { Case, Operation } from './operations/operation.js'

export const operations: readonly Operation[] = [
  ...elementwise,
  ...movement,
  ...products,
  ...layers,
  ...imageOperations,
  ...programs,
]

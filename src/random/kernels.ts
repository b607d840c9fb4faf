/** @file Which bulk kernels run here. */
import { type Kernels, scalar } from './scalar.js'

export const kernels = (): Kernels => scalar

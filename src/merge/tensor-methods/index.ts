/** @file Every method that recipes can name. A new one is a declaration in a file, and its name here. */
import { arceeFusion } from './arcee-fusion.js'
import { linear, nearswap, passthrough } from './linear.js'
import type { MergeMethod } from '../core/method.js'
import { modelStock } from './model-stock.js'
import { sce } from './sce.js'
import { karcher, multislerp, nuslerp, slerp } from './spherical.js'
import {
  breadcrumbs,
  breadcrumbsTies,
  dareLinear,
  dareTies,
  della,
  dellaLinear,
  taskArithmetic,
  ties,
} from './task-vectors.js'

/** Methods that recipes can name. */
export const methods: readonly MergeMethod[] = [
  linear,
  slerp,
  nuslerp,
  multislerp,
  karcher,
  taskArithmetic,
  ties,
  dareLinear,
  dareTies,
  breadcrumbs,
  breadcrumbsTies,
  della,
  dellaLinear,
  modelStock,
  sce,
  arceeFusion,
  nearswap,
  passthrough,
]

/** @file Papers whose method is not here yet: their cards stand in for it. A method's own card replaces its line. */
import type { Paper } from '../../papers/card.js'
import { adapt } from './adapt.js'
import { curate } from './curate.js'
import { domain } from './domain.js'
import { federate } from './federate.js'
import { merge } from './merge.js'
import { quantize } from './quantize.js'
import { search } from './search.js'
import { serve } from './serve.js'
import { share } from './share.js'

/** Cards of the papers that have no method yet. */
export const planned: readonly Paper[] = [
  ...adapt,
  ...share,
  ...merge,
  ...quantize,
  ...search,
  ...federate,
  ...serve,
  ...curate,
  ...domain,
]

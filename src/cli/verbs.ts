/** @file Every verb, in the order of the help page. A new verb is a file beside this one and a line here. */
import { adapt } from './adapt.js'
import { cache } from './cache.js'
import { convert } from './convert.js'
import { chat } from './chat.js'
import { docs } from './docs.js'
import { evaluation } from './eval.js'
import { extract } from './extract.js'
import { fold } from './fold.js'
import { generate } from './generate.js'
import { inspect } from './inspect.js'
import { lab } from './lab.js'
import { merge } from './merge.js'
import { papers } from './papers.js'
import { pull } from './pull.js'
import { push } from './push.js'
import { reproduce } from './reproduce.js'
import { runs } from './runs.js'
import { start } from './start.js'
import { train } from './train.js'
import type { Verb } from './verb.js'

export const verbs: readonly Verb[] = [
  start,
  docs,
  inspect,
  pull,
  push,
  convert,
  merge,
  extract,
  train,
  adapt,
  fold,
  evaluation,
  generate,
  chat,
  papers,
  reproduce,
  runs,
  cache,
  lab,
]

/** @file What of the family has a paper's card and experiment: the procedures, and those of the recipes' methods named here. */
import type { CataloguedMethod } from '../papers/families.js'
import { procedures } from './procedures.js'

export const papers: readonly CataloguedMethod[] = [...procedures]

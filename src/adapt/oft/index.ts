/** @file Controlling Text-to-Image Diffusion by Orthogonal Finetuning (arXiv 2306.07280): see oft.ts. */
import type { Entry } from '../../papers/entry.js'
import { card } from './card.js'
import { oft } from './oft.js'

export { oft, type OftOptions } from './oft.js'

export const entry: Entry<typeof oft> = { card, method: oft }

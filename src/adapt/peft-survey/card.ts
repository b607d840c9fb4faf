/** @file The card of the survey whose table of methods is what this family ships. */
import type { Paper } from '../../papers/card.js'

export const card: Paper = {
  id: 'peft-survey',
  title: 'Parameter-Efficient Fine-Tuning for Large Models: A Comprehensive Survey',
  date: '2024-03-21',
  authors: 5,
  arxiv: '2403.14608',
  family: 'adapt',
  summary:
    'A map of the ways to tune a frozen model by a small part: modules that are added, entries that are selected, updates that are reparameterised, and mixtures of these, with formulas, costs of training and serving, and the systems built around them. Weft turns it into one interface, an exact counter of parameters and bytes for a given model, and the set of baselines that other adapters are measured against.',
  claims: [{ quantity: 'classifies the methods; measures nothing new' }],
  terms: [
    'LoRA',
    'adapter',
    'prompt tuning',
    'prefix tuning',
    'BitFit',
    'IA3',
    'taxonomy',
    'review',
    'overview',
  ],
}

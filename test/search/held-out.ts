/**
 * @file Twenty more paraphrased questions, for other papers, written after the thesaurus and before the first search,
 * and never looked at while the search was made: what it finds of these is what it finds of a stranger's.
 */
import type { Paraphrase } from './paraphrases.js'

export const heldOut: readonly Paraphrase[] = [
  { paper: 'mos', query: 'serve thousands of customers with individually customised chatbots in little RAM' },
  { paper: 'compacter', query: 'plug-in modules of hypercomplex numbers that occupy hardly any disk space' },
  { paper: 'lift', query: 'teach mathematics to a chatbot by changing hardly any of its numbers' },
  { paper: 'vl-adapter', query: 'make a chatbot understand photographs by adding a minor component' },
  { paper: 'mor', query: 'let simple words skip computation while difficult ones get more thinking' },
  { paper: 'foldgpt', query: 'delete redundant transformer levels to shrink a chatbot for phones' },
  { paper: 'stable-rps', query: 'hashing trick to squeeze a neural classifier into a tiny memory' },
  {
    paper: 'cfg-distillation',
    query: 'make a music synthesizer produce more diverse songs at lower expense',
  },
  { paper: 'pleas', query: 'combine two separately trained classifiers by reordering their neurons' },
  { paper: 'mwa', query: 'smooth the final snapshots of one fine-tune using its learning curve' },
  { paper: 'fusion-x', query: 'transfer expertise of multiple different chatbots into a student' },
  {
    paper: 'feature-coding',
    query: 'encode intermediate activations before transmitting them from phone to cloud',
  },
  { paper: 'quantllm', query: 'train a low-precision chatbot a single time and ship it at many sizes' },
  { paper: 'autodistil', query: 'obtain small pupils of various sizes out of an encoder' },
  {
    paper: 'fedloge',
    query: 'hospitals with rare diseases each want their own classifier without pooling records',
  },
  { paper: 'sfprompt', query: 'train a giant transformer jointly with phones too weak to hold it' },
  { paper: 'alf-lb', query: 'keep experts equally busy without an extra penalty' },
  { paper: 'ets', query: 'think along several branches of a proof while saving GPU RAM' },
  { paper: 'simcore', query: 'find useful unlabelled pictures in an enormous irrelevant collection' },
  { paper: 'finephys', query: 'create realistic film of gymnasts whose bodies move naturally' },
]

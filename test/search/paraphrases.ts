/**
 * @file Twenty questions that a person could ask without knowing a paper's vocabulary, each with the paper it should
 * find. Written from the methods' specifications before the index existed, and not changed to suit it: a query shares
 * no content word with its paper's title, summary or claims, which a test checks.
 */

/** A question in plain words and the id of the paper that answers it. */
export interface Paraphrase {
  readonly query: string
  readonly paper: string
}

export const paraphrases: readonly Paraphrase[] = [
  {
    paper: 'tokenring',
    query: 'handle an enormously lengthy document by spreading it over several GPUs arranged in a loop',
  },
  { paper: 'model-soups', query: 'blend networks from a grid of trials rather than choosing a winner' },
  {
    paper: 'one-byte',
    query: 'volunteers jointly adapt a chatbot over slow internet without backpropagation',
  },
  { paper: 'hllm', query: 'suggest what a shopper will buy next from product descriptions' },
  {
    paper: 'ponita',
    query: 'chemistry simulation whose outputs stay consistent under geometric symmetries',
  },
  { paper: 'bitstack', query: 'shrink a chatbot so that it squeezes into whatever RAM happens to be free' },
  { paper: 'eet', query: 'quick lookup of lookalike species photos using compact fingerprints' },
  {
    paper: 'pd-serve',
    query: 'dedicate distinct machines to reading the question and to writing the answer',
  },
  {
    paper: 'elasticmoe',
    query: 'add more accelerators to a live endpoint when visitors rush in, without an interruption',
  },
  {
    paper: 'data-filtering',
    query: 'how picky should one be about scraped documents when there are many epochs to spend',
  },
  { paper: 'sft-pft-budget', query: 'should we pay people to write good answers or to rank rival ones' },
  { paper: 'deepweightflow', query: 'synthesize ready-made classifiers out of Gaussian randomness' },
  {
    paper: 'breadcrumbs',
    query: 'combine specialists by discarding tiny and huge differences from their common ancestor',
  },
  { paper: 'mgur', query: 'clothes shopping with a picture and a sentence on how it ought to differ' },
  {
    paper: 'lragent',
    query: 'a team of assistants reusing the remembered conversation instead of reprocessing it',
  },
  { paper: 'variant', query: 'draw pictures faster by skipping part of the stack at high resolutions' },
  { paper: 'fedau', query: 'collaborative learning on phones that drop in and out unpredictably' },
  { paper: 'masa', query: 'compose heads at every depth from a few common basis elements' },
  { paper: 'tokenweave', query: 'hide GPU synchronisation by interleaving pieces of the workload' },
  { paper: 'ultragen', query: 'compose an essay that ticks every item of a lengthy checklist' },
]

/** @file `weft pull`: a model or a dataset from the hub into the Hugging Face cache. */
import type { PullEvent } from '../checkpoint/index.js'
import type { OnProgress } from '../progress.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const pull: Verb = {
  group: 'Checkpoints',
  ...action({
    name: 'pull',
    summary: 'fetch a model or a dataset from the hub into the Hugging Face cache; resumes where it stopped',
    arguments: [{ name: 'id', summary: 'org/name, or org/name@revision' }],
    examples: [
      'weft pull HuggingFaceTB/SmolLM2-135M',
      'weft pull HuggingFaceTB/SmolLM2-135M --revision v1.0 --cache /data/hub',
      'weft pull --dataset stanfordnlp/imdb        # then: --data stanfordnlp/imdb',
      'HF_ENDPOINT=https://hub.example.org HF_TOKEN=... weft pull org/private',
    ],
    options: async () => {
      const [{ z }, { flag }] = await Promise.all([import('zod'), import('./options.js')])
      return z.object({
        dataset: flag(z.boolean().default(false), 'ID names a dataset: its tables and images are fetched'),
        revision: flag(z.string().optional(), 'branch, tag or commit (main)', { value: 'NAME' }),
        cache: flag(z.string().optional(), 'the cache folder', { env: 'HF_HUB_CACHE', value: 'DIR' }),
        endpoint: flag(z.string().optional(), 'the hub', { env: 'HF_ENDPOINT', value: 'URL' }),
        offline: flag(z.boolean().optional(), 'answer from the cache alone', { env: 'HF_HUB_OFFLINE' }),
      })
    },
    run: async ({ arguments: { id }, options }, { env, signal, progress, result }) => {
      const checkpoint = await import('../checkpoint/index.js')
      const onProgress = inBytes(progress)
      const { dataset, revision, cache, endpoint, offline } = options
      const kind = dataset ? 'dataset' : 'model'
      const settings = { kind, revision, cache, endpoint, offline, env, signal, onProgress } as const
      const folder = await checkpoint.pull(id, settings)
      result({ id, folder }, () => folder)
    },
  }),
}

/** The hub's events as the display draws them: a piece of work a file, counted in bytes. */
const inBytes = (progress: OnProgress): ((event: PullEvent) => void) => {
  let amount: { done: number; total: number; unit: string } | undefined
  return (event) => {
    if (event.status === 'initiate') amount = undefined
    if (event.status === 'progress') amount = { done: event.loaded, total: event.total, unit: 'bytes' }
    if ('file' in event && event.status !== 'initiate')
      progress({ status: event.status, name: event.file, ...amount })
  }
}

/** @file `weft push`: a model or adapter to the hub. */
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const push: Verb = {
  group: 'Checkpoints',
  ...action({
    name: 'push',
    summary: 'put a model or adapter on the hub: private unless asked otherwise, with a card of what it is',
    arguments: [
      { name: 'folder', summary: 'folder of the model or adapter' },
      { name: 'id', summary: 'org/name of the repository; it is made where there is none' },
    ],
    examples: [
      'HF_TOKEN=... weft push adapters/first org/first',
      'HF_TOKEN=... weft push models/tuned org/tuned --public --message "First version"',
      'weft push models/tuned org/tuned --dry-run      # which files, and the card',
    ],
    options: async () => {
      const [{ z }, { common, flag }] = await Promise.all([import('zod'), import('./options.js')])
      return z.object({
        public: flag(z.boolean().default(false), 'a repository that is made can be seen by everybody'),
        revision: flag(z.string().optional(), 'branch to commit to (main)', { value: 'NAME' }),
        message: flag(z.string().min(1).optional(), "first line of the commit's message", { value: 'TEXT' }),
        endpoint: flag(z.string().optional(), 'the hub', { env: 'HF_ENDPOINT', value: 'URL' }),
        dryRun: common.dryRun,
      })
    },
    run: async ({ arguments: { folder, id }, options }, { env, signal, progress, result }) => {
      const [checkpoint, { modelCard }] = await Promise.all([
        import('../checkpoint/index.js'),
        import('./model-card.js'),
      ])
      const { revision, message, endpoint, dryRun } = options
      const card = await modelCard(folder, id)
      const texts: Record<string, string> = card === undefined ? {} : { 'README.md': card }
      if (dryRun) {
        const files = await checkpoint.pushedFiles(folder)
        const names = [...new Set([...files, ...Object.keys(texts)])].sort()
        const plan = { id, files: names, card, public: options.public }
        return result(plan, () => `Would push to ${id}: ${plan.files.join(', ')}${card ? `\n\n${card}` : ''}`)
      }
      const pushed = await checkpoint.push(folder, id, {
        ...{ public: options.public, revision, message, endpoint, texts, env, signal },
        onProgress: ({ file, status, progress: share }) =>
          progress({
            status: 'progress',
            name: `${status} ${file}`,
            done: Math.round(100 * share),
            total: 100,
            unit: '%',
          }),
      })
      result(pushed, () => `Pushed ${pushed.files.length} files: ${pushed.url}`)
    },
  }),
}

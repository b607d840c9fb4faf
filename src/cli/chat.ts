/** @file `weft chat`: a conversation with a model in the terminal, or piped through it. */
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const chat: Verb = {
  group: 'Use',
  ...action({
    name: 'chat',
    summary: 'talk with a model: it remembers what was said; /help lists the commands',
    arguments: [
      { name: 'model', summary: 'folder or hub id of a model, or folder of an adapter', names: 'model' },
    ],
    examples: [
      'weft chat models/SmolLM2-135M-Instruct',
      "weft chat models/SmolLM2-135M-Instruct --adapter adapters/first --system 'Answer briefly.'",
      'cat questions.txt | weft chat models/SmolLM2-135M-Instruct      # an answer a line',
    ],
    options: async () => {
      const [{ z }, { common, flag }] = await Promise.all([import('zod'), import('./options.js')])
      const count = z.number().int().positive()
      const drawing = [{ temperature: { not: [0] } }]
      return z.object({
        adapter: flag(z.string().optional(), 'folder of an adapter to put on the model', { value: 'DIR' }),
        system: flag(z.string().optional(), 'system message to begin with', { value: 'TEXT' }),
        maxTokens: flag(count.default(512), 'most tokens of an answer', { short: 'n' }),
        temperature: flag(
          z.number().nonnegative().optional(),
          '0: always the likeliest token (0, or 1 with --top-k or --top-p)',
          { short: 't' },
        ),
        topK: flag(count.optional(), 'draw from the k likeliest tokens', { when: drawing }),
        topP: flag(z.number().gt(0).max(1).optional(), 'draw from the likeliest that have this share', {
          when: drawing,
        }),
        seed: common.seed,
        anyBase: flag(z.boolean().default(false), 'put the adapter also on another base than its own', {
          when: [{ adapter: 'given' }],
        }),
        strict: common.strict,
        device: common.device,
        threads: common.threads,
      })
    },
    run: async ({ arguments: { model: folder }, options }, context) => {
      const [{ openForUse }, { Conversation }, { talk }, { UsageError }, { positionLimit }] =
        await Promise.all([
          import('./open-model.js'),
          import('./conversation.js'),
          import('./talk.js'),
          import('../errors.js'),
          import('../train/index.js'),
        ])
      const { system, maxTokens, seed, topK, topP, temperature } = options
      const opened = await openForUse(folder, options, context)
      const { model, checkpoint } = opened
      await using _open = checkpoint
      const tokenizer = await opened.tokenizer()
      if (!tokenizer.hasChatTemplate)
        throw new UsageError('NoChat', `${folder}: its tokenizer has no chat template`, {
          hint: 'Take a model that was made for conversations, or continue texts with: weft generate.',
        })
      const drawn = topK !== undefined || topP !== undefined
      const sampling = { maxTokens, topK, topP, temperature: temperature ?? (drawn ? 1 : 0) }
      const limit = positionLimit(model)
      const conversation = new Conversation({ tokenizer, limit, answerTokens: maxTokens, system })
      await talk(model, conversation, { ...sampling, seed, tokenizer }, context)
    },
  }),
}

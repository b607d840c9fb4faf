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
      const [{ z }, { flag }, { adapterFlags, drawingFlags, machineFlags }] = await Promise.all([
        import('zod'),
        import('./options.js'),
        import('./use-options.js'),
      ])
      const count = z.number().int().positive()
      return z.object({
        ...adapterFlags,
        system: flag(z.string().optional(), 'system message to begin with', { value: 'TEXT' }),
        maxTokens: flag(count.default(512), 'most tokens of an answer', { short: 'n' }),
        ...drawingFlags,
        ...machineFlags,
      })
    },
    run: async ({ arguments: { model: folder }, options }, context) => {
      const [{ openForUse }, { Conversation }, { talk }, { UsageError }, { positionLimit }, { drawingOf }] =
        await Promise.all([
          import('./open-model.js'),
          import('./conversation.js'),
          import('./talk.js'),
          import('../errors.js'),
          import('../train/index.js'),
          import('./use-options.js'),
        ])
      const { system, maxTokens } = options
      const drawing = drawingOf(options)
      const opened = await openForUse(folder, options, context)
      const { model, checkpoint } = opened
      await using _open = checkpoint
      const tokenizer = await opened.tokenizer()
      if (!tokenizer.hasChatTemplate)
        throw new UsageError('NoChat', `${folder}: its tokenizer has no chat template`, {
          hint: 'Take a model that was made for conversations, or continue texts with: weft generate.',
        })
      const limit = positionLimit(model)
      const conversation = new Conversation({ tokenizer, limit, answerTokens: maxTokens, system })
      await talk(model, conversation, { ...drawing, maxTokens, tokenizer }, context)
    },
  }),
}

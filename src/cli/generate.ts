/** @file `weft generate`: text from a model, as it comes. */
import { readFileSync } from 'node:fs'
import { UsageError } from '../errors.js'
import type { Message, Tokenizer } from '../text/index.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const generate: Verb = {
  group: 'Use',
  ...action({
    name: 'generate',
    summary: 'continue a prompt, or answer it where the model has a chat template',
    arguments: [
      { name: 'model', summary: 'folder or hub id of a model, or folder of an adapter', names: 'model' },
    ],
    examples: [
      "weft generate models/SmolLM2-135M --prompt 'Once upon'",
      "weft generate models/SmolLM2-135M --adapter adapters/first --prompt 'Once upon' --temperature 0.8 --top-p 0.9",
      "cat question.txt | weft generate models/SmolLM2-135M-Instruct --prompt - --system 'Answer briefly.'",
    ],
    options: async () => {
      const [{ z }, { flag }, { adapterFlags, drawingFlags, machineFlags }] = await Promise.all([
        import('zod'),
        import('./options.js'),
        import('./use-options.js'),
      ])
      const count = z.number().int().positive()
      return z.object({
        prompt: flag(z.string(), 'text to begin with; - reads standard input', { short: 'p', value: 'TEXT' }),
        ...adapterFlags,
        maxTokens: flag(count.default(128), 'most new tokens', { short: 'n' }),
        ...drawingFlags,
        stop: flag(z.array(z.string().min(1)).default([]), 'text that ends the answer; may be repeated', {
          value: 'TEXT',
          verbatim: true,
        }),
        chat: flag(z.boolean().default(true), 'continue the text as it is, without the chat template'),
        system: flag(z.string().optional(), 'system message before a chat prompt', {
          value: 'TEXT',
          when: [{ chat: [true] }],
        }),
        ...machineFlags,
      })
    },
    run: async ({ arguments: { model: folder }, options }, context) => {
      const [{ openForUse }, { generate }, { drawingOf }] = await Promise.all([
        import('./open-model.js'),
        import('../train/index.js'),
        import('./use-options.js'),
      ])
      const { signal, stdout, json } = context
      const opened = await openForUse(folder, options, context)
      const { model, checkpoint } = opened
      await using _open = checkpoint
      const tokenizer = await opened.tokenizer()
      const prompt = conversation(readPrompt(options.prompt), tokenizer, options)
      const { maxTokens, stop } = options
      const start = performance.now()
      let text = ''
      for await (const piece of generate(model, prompt, {
        ...drawingOf(options),
        maxTokens,
        stop,
        tokenizer,
        signal,
      })) {
        text += piece
        if (!json) stdout.write(piece)
      }
      const seconds = (performance.now() - start) / 1000
      if (json) context.result({ model: folder, prompt, text, seconds }, () => text)
      else stdout.write('\n')
    },
  }),
}

const readPrompt = (prompt: string): string =>
  prompt === '-' ? readFileSync(0, 'utf8').replace(/\r?\n$/, '') : prompt

/** What the model is given: the text, or a conversation with it where there is a template. */
const conversation = (
  text: string,
  { hasChatTemplate }: Tokenizer,
  { chat, system }: { chat: boolean; system?: string },
): string | Message[] => {
  if (!chat || !hasChatTemplate) {
    if (system !== undefined)
      throw new UsageError('NoChat', '--system is for models with a chat template, without --no-chat')
    return text
  }
  const first = system === undefined ? [] : [{ role: 'system', content: system }]
  return [...first, { role: 'user', content: text }]
}

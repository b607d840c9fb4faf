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
      const [{ z }, { common, flag }] = await Promise.all([import('zod'), import('./options.js')])
      const count = z.number().int().positive()
      const drawing = [{ temperature: { not: [0] } }]
      return z.object({
        prompt: flag(z.string(), 'text to begin with; - reads standard input', { short: 'p', value: 'TEXT' }),
        adapter: flag(z.string().optional(), 'folder of an adapter to put on the model', { value: 'DIR' }),
        maxTokens: flag(count.default(128), 'most new tokens', { short: 'n' }),
        temperature: flag(
          z.number().nonnegative().optional(),
          '0: always the likeliest token (0, or 1 with --top-k or --top-p)',
          { short: 't' },
        ),
        topK: flag(count.optional(), 'draw from the k likeliest tokens', { when: drawing }),
        topP: flag(z.number().gt(0).max(1).optional(), 'draw from the likeliest that have this share', {
          when: drawing,
        }),
        stop: flag(z.array(z.string().min(1)).default([]), 'text that ends the answer; may be repeated', {
          value: 'TEXT',
          verbatim: true,
        }),
        chat: flag(z.boolean().default(true), 'continue the text as it is, without the chat template'),
        system: flag(z.string().optional(), 'system message before a chat prompt', {
          value: 'TEXT',
          when: [{ chat: [true] }],
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
      const [{ openForUse }, { generate }] = await Promise.all([
        import('./open-model.js'),
        import('../train/index.js'),
      ])
      const { signal, stdout, json } = context
      const opened = await openForUse(folder, options, context)
      const { model, checkpoint } = opened
      await using _open = checkpoint
      const tokenizer = await opened.tokenizer()
      const prompt = conversation(readPrompt(options.prompt), tokenizer, options)
      const { maxTokens, stop, seed, topK, topP } = options
      const drawn = topK !== undefined || topP !== undefined
      const temperature = options.temperature ?? (drawn ? 1 : 0)
      const start = performance.now()
      let text = ''
      for await (const piece of generate(model, prompt, {
        maxTokens,
        stop,
        seed,
        topK,
        topP,
        temperature,
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

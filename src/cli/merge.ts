/** @file `weft merge`: several checkpoints into one, by a recipe of mergekit's or by a method's name. */
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const merge: Verb = {
  group: 'Checkpoints',
  ...action({
    name: 'merge',
    summary: 'merge several checkpoints into one: a mergekit recipe, or a method and models',
    arguments: [
      {
        name: 'inputs',
        summary: 'a recipe (.yaml) and perhaps the output folder; with --method: models',
        many: true,
      },
    ],
    keepsRun: true,
    examples: [
      'weft merge recipe.yaml --out models/merged',
      'weft merge recipe.yaml --dry-run                # what happens to every tensor',
      'weft merge recipe.yaml --out models/merged --analyse --data test.jsonl      # and what it did: see weft lab',
      'weft merge --method linear models/a models/b --weight 0.7,0.3 --out models/merged',
      'weft merge --method ties --base models/base models/a models/b --weight 1,1 -p density=0.3 --out models/merged',
    ],
    options: async () => {
      const [{ z }, { mergeOptions }] = await Promise.all([import('zod'), import('./merge-options.js')])
      return z.object(mergeOptions)
    },
    about: async ({ method }) => (await import('./merge-methods.js')).aboutMethod(method),
    run: async ({ arguments: { inputs }, options }, context) => {
      if (options.trustRemoteCode) await refuseCode()
      const { checkParameters, procedureNamed } = await import('./merge-methods.js')
      if (options.method !== undefined) checkParameters(options.method, options.parameters)
      const procedure = procedureNamed(options.method)
      if (procedure)
        return (await import('./merge-procedure.js')).runProcedure(procedure, inputs, options, context)
      return (await import('./merge-recipe.js')).runRecipe(inputs, options, context)
    },
  }),
}

const refuseCode = async (): Promise<never> => {
  const { UsageError } = await import('../errors.js')
  throw new UsageError('RemoteCode', '--trust-remote-code: Weft runs no code that comes with a model', {
    hint: 'It merges tensors by their names, for which no code is needed: leave the flag out.',
  })
}

/** @file The README.md of a merged model. */
import { stringify } from 'yaml'
import { namedModels } from './sources.js'
import type { Recipe } from './recipe.js'

/** A recipe as YAML. */
export const formatRecipe = (recipe: Recipe): string => stringify(recipe)

/** The model card of what `recipe` gives, whose text is `source`. */
export const modelCard = (title: string, recipe: Recipe, source: string): string => {
  const models = namedModels(recipe)
  const front = stringify({ base_model: models, library_name: 'transformers', tags: ['merge', 'weft'] })
  return `---
${front}---
# ${title}

A merge by \`${recipe.merge_method}\` of:

${models.map((model) => `- ${model}${model === recipe.base_model ? ' (base)' : ''}`).join('\n')}

Made with Weft from this recipe, which is also in \`mergekit_config.yml\`:

\`\`\`yaml
${source.trim()}
\`\`\`
`
}

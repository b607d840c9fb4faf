/** @file A merge in a process of its own, to be killed: says `begin`, then merges what the environment describes. */
import { mergeRecipe, type MergeOptions, type Recipe } from '../src/merge/index.js'

const { recipe, out, options } = JSON.parse(process.env.MERGE!) as {
  recipe: Recipe
  out: string
  options: MergeOptions
}
console.log('begin')
await mergeRecipe(recipe, out, options)

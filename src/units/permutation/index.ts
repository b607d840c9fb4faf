/** @file Permutations of a model's units: what may move together, matching two models, and the model in its new order. */
export {
  type GroupAxis,
  insideUnit,
  type Inside,
  isRotary,
  type PermutationGroup,
  permutationGroups,
  segmentsOf,
  type WithinHeads,
} from './groups.js'
export { type Aligned, matchWeights, type MatchOptions } from './match.js'
export {
  addTo,
  bestInside,
  headSimilarity,
  spectralSimilarity,
  unfold,
  weightSimilarity,
} from './similarity.js'
export {
  checkSameTensors,
  modelOf,
  moveUnits,
  type Order,
  type Orders,
  readTensors,
  reordered,
  saveTensors,
  specsOf,
  storedDType,
  takeAlong,
  type Tensors,
} from './tensors.js'

/** @file Modules that an extracted adapter saves whole: those asked for, and those that differ and have no low rank. */

/** The module that the tensor `name` belongs to. */
const moduleOf = (name: string): string => name.slice(0, name.lastIndexOf('.'))

/** The modules and biases that are saved whole. `rest`: names of tensors that differ and have no low rank. */
export const savedModules = (
  rest: readonly string[],
  modulesToSave: readonly string[] | string = [],
): { modulesToSave: readonly string[]; bias: 'none' | 'all' } => {
  const wanted = [modulesToSave].flat()
  if (!wanted.includes('changed')) return { modulesToSave: wanted, bias: 'none' }
  const whole = rest.filter((name) => !name.endsWith('.bias')).map(moduleOf)
  const isWhole = new Set(whole)
  const biases = rest.some((name) => name.endsWith('.bias') && !isWhole.has(moduleOf(name)))
  const named = wanted.filter((name) => name !== 'changed')
  return { modulesToSave: [...new Set([...whole, ...named])], bias: biases ? 'all' : 'none' }
}

/** Whether a module, or one that it lies in, ends as one of these, as PEFT finds modules to save. */
export const isSaved = (name: string, modulesToSave: readonly string[]): boolean => {
  const parts = name.split('.')
  return parts.some((_, i) => {
    const module = parts.slice(0, i + 1).join('.')
    return modulesToSave.some((end) => module.endsWith(end))
  })
}

/** @file Strict loading: what a model expects against what a checkpoint holds, in one error. */
import { CheckpointError, nearest } from '../errors.js'
import { sameShape, type Shape } from '../tensor/shape.js'
import type { Checkpoint } from './checkpoint.js'

const shownAtMost = 10

const list = (title: string, lines: string[]): string[] =>
  lines.length
    ? [`${lines.length} ${title}:`, ...lines.slice(0, shownAtMost).map((line) => `  ${line}`)].concat(
        lines.length > shownAtMost ? `  and ${lines.length - shownAtMost} more` : [],
      )
    : []

/**
 * Throws one CheckpointError that lists every tensor of `expected` that `checkpoint` lacks, every one it has beyond
 * them, and every one of another shape, each with its file. The checkpoint's own warnings stand below as a hint.
 */
export const checkNames = (
  expected: Iterable<{ readonly name: string; readonly shape: Shape }>,
  checkpoint: Pick<Checkpoint, 'folder' | 'names' | 'has' | 'info'> & Partial<Pick<Checkpoint, 'warnings'>>,
): void => {
  const wanted = new Map([...expected].map(({ name, shape }) => [name, shape]))
  const unexpected = checkpoint.names().filter((name) => !wanted.has(name))
  const missing: string[] = []
  const wrong: string[] = []
  for (const [name, shape] of wanted) {
    const info = checkpoint.has(name) ? checkpoint.info(name) : undefined
    if (!info) missing.push(name)
    else if (!sameShape(info.shape, shape))
      wrong.push(`${name} in ${info.file}: [${info.shape.join(', ')}], expected [${shape.join(', ')}]`)
  }
  if (missing.length + unexpected.length + wrong.length === 0) return
  const close = unexpected.length
    ? missing
        .slice(0, shownAtMost)
        .map((name) => `${name} (nearest unexpected: ${nearest(name, unexpected, 1)[0]})`)
    : missing
  const lines = [
    ...list('missing', [...close, ...missing.slice(close.length)]),
    ...list(
      'unexpected',
      unexpected.map((name) => `${name} in ${checkpoint.info(name).file}`),
    ),
    ...list('of another shape', wrong),
  ]
  throw new CheckpointError(
    'TensorMismatch',
    `${checkpoint.folder}: its tensors are not what the model needs.\n${lines.join('\n')}`,
    checkpoint.warnings?.length ? { hint: checkpoint.warnings.join('\n') } : {},
  )
}

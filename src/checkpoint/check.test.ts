/** @file Names of tensors against what is expected of them. */
import { describe, expect, it } from 'vitest'
import { checkNames } from './check.js'

describe('checkNames', () => {
  const tensors = { a: [2], b: [3] }
  const checkpoint = {
    folder: 'dir',
    names: () => Object.keys(tensors),
    has: (name: string) => name in tensors,
    info: (name: string) => ({
      name,
      dtype: 'F32' as const,
      shape: tensors[name as 'a'],
      file: 'model.safetensors',
      offset: 0,
      length: 0,
    }),
  }
  it('passes exactly what is expected', () => {
    checkNames(
      [
        { name: 'a', shape: [2] },
        { name: 'b', shape: [3] },
      ],
      checkpoint,
    )
  })
  it('says beside what is missing what was amiss when the folder was opened', () => {
    const warned = { ...checkpoint, warnings: ['dir/index is out of step'] }
    expect(() => checkNames([{ name: 'c', shape: [2] }], warned)).toThrow(
      /missing[\s\S]*dir\/index is out of step/,
    )
  })
  it('lists missing, unexpected and wrongly shaped tensors, with files, in one error', () => {
    let message = ''
    try {
      checkNames(
        [
          { name: 'a', shape: [2, 1] },
          { name: 'bb', shape: [3] },
        ],
        checkpoint,
      )
    } catch (error) {
      expect(error).toMatchObject({ code: 'TensorMismatch', exitCode: 3 })
      message = (error as Error).message
    }
    expect(message).toMatch(/^dir: /)
    expect(message).toMatch(/1 missing:\s+bb \(nearest unexpected: b\)/)
    expect(message).toMatch(/1 unexpected:\s+b in model\.safetensors/)
    expect(message).toMatch(/a in model\.safetensors: \[2\], expected \[2, 1\]/)
  })
})

import { describe, expect, it } from 'vitest'
import { deviceTests, disagreements, unstableRuns } from '../../test/devices.js'
import { operations } from '../../test/operations.js'

describe('on the CPU every operation and its gradient agree with the interpreter', () => {
  for (const { operation, dtype, name, skipped } of deviceTests('cpu'))
    it.skipIf(skipped)(skipped ? `${name}: ${skipped}` : name, async () => {
      const found = await disagreements(operation, dtype, 'cpu')
      expect(found, found.join('\n')).toEqual([])
    })
})

describe('at a million elements every run on the CPU gives the same bits', () => {
  it.each(operations)('$name', async (operation) => {
    expect(await unstableRuns(operation, 'cpu', 50)).toEqual([])
  })
})

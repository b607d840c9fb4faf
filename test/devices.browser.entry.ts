/** @file The table of operations, run in a page. */
import type { Device } from '../src/tensor/index.js'
import { deviceTests, disagreements } from './devices.js'

const tolerances: Partial<Record<Device, number>> = { webgpu: 1e-4 }

export const cases = {
  /** What disagrees with the interpreter on `device`, by the test's name. */
  operations: async ({
    device,
    names,
  }: {
    device: Device
    names: string[]
  }): Promise<Record<string, string[]>> => {
    const found: Record<string, string[]> = {}
    for (const { name, operation, dtype } of deviceTests(device))
      if (names.includes(name))
        found[name] = await disagreements(operation, dtype, device, {
          tolerance: tolerances[device],
          cases: 3,
        })
    return found
  },
}

/**
 * @file The table of operations on whatever processor this runs on, without a test runner, which an emulated processor would
 * be slow at: see scripts/processor.ts. Arguments are beginnings of operations' names; without any, all run.
 */
import { openSession, saturatesSignedProducts } from '../src/runtime/index.js'
import { deviceTests, disagreements } from './devices.js'

const beginnings = process.argv.slice(2)
const wanted = deviceTests('cpu').filter(
  ({ name, skipped }) =>
    !skipped && (beginnings.length === 0 || beginnings.some((beginning) => name.startsWith(beginning))),
)
console.log(`uint8 x int8 saturates: ${await saturatesSignedProducts(openSession, 'cpu')}`)
let wrong = 0
for (const { name, operation, dtype } of wanted) {
  const disagreeing = await disagreements(operation, dtype, 'cpu')
  wrong += Number(disagreeing.length > 0)
  for (const message of disagreeing) console.log(`${name}: ${message}`)
}
console.log(`${wanted.length} operations, ${wrong} wrong`)
process.exitCode = wrong || !wanted.length ? 1 : 0

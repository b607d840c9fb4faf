/**
 * @file `npx tsx scripts/processor.ts [CPU [OPERATION...]]`: the operations whose names begin so (all products by default) on
 * another processor, by Debian's qemu-user. The default, Haswell, has AVX2 and no instructions for 8-bit products, as many
 * servers and most laptops; `qemu-x86_64 -cpu help` lists others. Exit status 1 when an operation disagrees with the
 * interpreter, when the processor turns out to have what it should lack, or where there is no emulator; not x86-64 machines,
 * whose Node it cannot run.
 */
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bundleForNode } from '../test/bundle.js'

const emulator = 'qemu-x86_64'
/** Processors on which sums of products of uint8 and int8 saturate: one that does not is not emulated as asked for. */
const saturating: ReadonlySet<string> = new Set(['Haswell', 'Broadwell'])

const [cpu = 'Haswell', ...operations] = process.argv.slice(2)

const fail = (message: string): never => {
  console.error(message)
  process.exit(1)
}

if (process.arch !== 'x64') {
  console.log(`Nothing was tried: the emulator runs this Node only on x86-64, and this is ${process.arch}.`)
  process.exit(0)
}
if (spawnSync(emulator, ['--version']).error)
  fail(
    `${emulator} is not installed, so nothing was tried on another processor.\n  sudo apt-get install qemu-user`,
  )
const entry = fileURLToPath(await bundleForNode(new URL('../test/processor.entry.ts', import.meta.url)))
const names = operations.length ? operations : ['matmul', 'einsum']
const { status, stdout, stderr } = spawnSync(emulator, ['-cpu', cpu, process.execPath, entry, ...names], {
  encoding: 'utf8',
  maxBuffer: 2 ** 26,
})
rmSync(entry)
// The emulator warns, once a thread, of features that it leaves out.
const complaints = stderr.split('\n').filter((line) => line && !line.includes("TCG doesn't support"))
console.log([`as ${cpu}:`, ...complaints, stdout.trim()].join('\n'))
if (saturating.has(cpu) && !stdout.includes('saturates: true'))
  fail(`${cpu} was to be a processor on which products of uint8 and int8 saturate, and is none.`)
process.exit(status === 0 ? 0 : 1)

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { logitsOf } from '../../test/adapter.js'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { weft } from '../../test/weft.js'
import { loadAdapter } from '../adapt/index.js'
import { open } from '../checkpoint/index.js'
import { openModel } from '../models/index.js'
import { valueOf } from '../tensor/index.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
const jsonl = (records: readonly object[]): string => records.map((r) => JSON.stringify(r)).join('\n')
beforeAll(async () => {
  scratch = await scratchFolder()
  await writeTinyLlama(at('base'))
  await writeFile(at('tasks.jsonl'), jsonl(sentences.map((text, i) => ({ text, task: i % 3 }))))
  await writeFile(at('new.jsonl'), jsonl(sentences.map((text) => ({ text }))))
})
afterAll(() => scratch.remove())

const training = (data: string, out: string): string[] => [
  '--data',
  at(data),
  '--out',
  at(out),
  '--steps',
  '2',
]

it('records name their tasks: an inventory is trained, adapted by its routing, and one task written as LoRA', async () => {
  const small = ['--skills', '2', '--splits', '2', '--tasks', '3']
  const first = await weft('adapt', 'mhr', at('base'), ...small, ...training('tasks.jsonl', 'inventory'))
  expect(first.code, first.err).toBe(0)
  const adapting = ['--inventory', at('inventory'), '--tune', 'routing']
  const second = await weft('adapt', 'mhr', at('base'), ...adapting, ...training('new.jsonl', 'adapted'))
  expect(second.code, second.err).toBe(0)

  const without = await weft('fold', at('base'), at('inventory'), '--as', 'lora', '--out', at('none'))
  expect(without.code).toBe(2)
  expect(without.err).toMatch(/nothing says which of 3 tasks/)
  const one = ['--as', 'lora', '--task', '1', '--out', at('one')]
  const exported = await weft('fold', at('base'), at('inventory'), ...one)
  expect(exported.code, exported.err).toBe(0)
  await using base = await open(at('base'))
  const inventory = await loadAdapter(base, at('inventory'))
  const rows = await logitsOf(inventory, { taskIds: valueOf([1, 1], [2], 'int32') })
  const lora = await logitsOf(await loadAdapter(base, at('one')))
  lora.forEach((x, i) => expect(x).toBeCloseTo(rows[i], 4))

  const merged = await weft('fold', at('base'), at('inventory'), '--task', '1', '--out', at('merged'))
  expect(merged.code, merged.err).toBe(0)
  await using plain = await open(at('merged'))
  ;(await logitsOf(await openModel(plain))).forEach((x, i) => expect(x).toBeCloseTo(rows[i], 4))
})

it('refuses records of a task that there is not, and records without one, before anything is written', async () => {
  const few = await weft('adapt', 'mhr', at('base'), '--tasks', '2', ...training('tasks.jsonl', 'few'))
  expect(few.code).toBe(2)
  expect(few.err).toMatch(/is of task 2: there are 2 tasks/)
  expect(existsSync(at('few')) ? readdirSync(at('few')) : []).toEqual([])
  const none = await weft('adapt', 'mhr', at('base'), '--tasks', '2', ...training('new.jsonl', 'without'))
  expect(none.code).toBe(2)
  expect(none.err).toMatch(/nothing says which of 2 tasks a row is of/)
})

it('writes shards as the LoRA that they make, and refuses a method that is none', async () => {
  const trained = await weft('adapt', 'mos', at('base'), ...training('new.jsonl', 'shards'))
  expect(trained.code, trained.err).toBe(0)
  const { code, err } = await weft('fold', at('base'), at('shards'), '--as', 'lora', '--out', at('plain'))
  expect(code, err).toBe(0)
  expect(JSON.parse(readFileSync(join(at('plain'), 'adapter_config.json'), 'utf8'))).toMatchObject({
    peft_type: 'LORA',
    lora_alpha: 16,
  })
  await using base = await open(at('base'))
  const shards = await logitsOf(await loadAdapter(base, at('shards')))
  const lora = await logitsOf(await loadAdapter(base, at('plain')))
  lora.forEach((x, i) => expect(x).toBeCloseTo(shards[i], 4))

  const other = await weft('adapt', 'ia3', at('base'), ...training('new.jsonl', 'ia3'))
  expect(other.code, other.err).toBe(0)
  const refused = await weft('fold', at('base'), at('ia3'), '--as', 'lora', '--out', at('no-lora'))
  expect(refused.code).toBe(2)
  expect(refused.err).toMatch(/ia3 has no LoRA that does the same/)
})

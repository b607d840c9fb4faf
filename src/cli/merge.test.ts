/** @file `weft merge`: recipes and flags, what is refused and where, explanations, mergekit's habits. */
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { scratchFolder, sentences, writeTinyLlama } from '../../test/tiny.js'
import { type Outcome, weftWith } from '../../test/weft.js'
import { open } from '../checkpoint/index.js'
import { type Explanation, methods, procedures } from '../merge/index.js'
import { readRuns } from '../runs/index.js'
import { maxOf } from '../tensor/numbers.js'
import { parametersOf } from './merge-methods.js'

const model = (name: string): string => goldenFolder('merge', name)
let scratch: Awaited<ReturnType<typeof scratchFolder>>
const at = (name: string): string => join(scratch.path, name)
const weft = (...argv: string[]): Promise<Outcome> => weftWith({ WEFT_HOME: at('home') }, argv)
beforeAll(async () => {
  scratch = await scratchFolder()
})
afterAll(() => scratch.remove())

const recipe = async (name: string, text: string): Promise<string> => {
  await writeFile(at(name), text)
  return at(name)
}

const linear = (extra = ''): string => `merge_method: linear
models:
  - model: ${model('a')}
    parameters: { weight: 0.25 }
  - model: ${model('b')}
    parameters: { weight: 0.75 }
${extra}`

const sameWeights = async (a: string, b: string): Promise<void> => {
  await using x = await open(a)
  await using y = await open(b)
  expect(x.names()).toEqual(y.names())
  for (const name of x.names()) expect(await x.readRaw(name), name).toEqual(await y.readRaw(name))
}

describe('weft merge', () => {
  it('a recipe and the same from flags give the same weights; the recipe is kept as it is', async () => {
    const text = `# mine\n${linear()}`
    const first = await weft('merge', await recipe('r.yaml', text), '--out', at('r'))
    expect(first).toMatchObject({ code: 0 })
    expect(first.out).toMatch(/^Merged 39 tensors by linear. Wrote .* \(140 kB\)\n$/)
    expect(await readFile(join(at('r'), 'mergekit_config.yml'), 'utf8')).toBe(text)
    const flags = ['--method', 'linear', '--weight', '0.25,0.75', '--out', at('f')]
    expect(await weft('merge', model('a'), model('b'), ...flags)).toMatchObject({ code: 0 })
    await sameWeights(at('r'), at('f'))
  })

  it("takes mergekit's argument order and flags", async () => {
    const flags = ['--out-shard-size', '50K', '--random-seed', '1', '--no-copy-tokenizer', '--allow-crimes']
    expect(await weft('merge', at('r.yaml'), at('m'), ...flags)).toMatchObject({ code: 0 })
    expect(existsSync(join(at('m'), 'model.safetensors.index.json'))).toBe(true)
    expect(existsSync(join(at('m'), 'generation_config.json'))).toBe(false)
    expect(existsSync(join(at('r'), 'generation_config.json'))).toBe(true)
    await sameWeights(at('r'), at('m'))
  })

  it('explains every tensor and writes nothing with --dry-run', async () => {
    const text = await weft('merge', at('r.yaml'), '--out', at('dry'), '--dry-run')
    expect(text.out).toMatch(/Would merge by linear: 39 tensors/)
    expect(text.out).toMatch(/lm_head.weight +F32 +64x32 +merge .* weight=0.25,0.75 normalize=true/)
    const { out } = await weft('merge', at('r.yaml'), '--dry-run', '--json')
    expect((JSON.parse(out) as Explanation[])[0].tensors).toHaveLength(39)
    expect(existsSync(at('dry'))).toBe(false)
  })

  it('several documents: positions are those of the file', async () => {
    const text = `---\nname: half\n${linear()}---\nmerge_method: passthrough\nmodels:\n  - model: half\n`
    const file = await recipe('steps.yaml', text)
    expect(await weft('merge', file, '--out', at('steps'))).toMatchObject({ code: 0 })
    await sameWeights(at('r'), at('steps'))
    const { code, err } = await weft(
      'merge',
      await recipe('bad.yaml', `${text}    wieght: 1\n`),
      '--out',
      at('x'),
    )
    expect(code).toBe(2)
    expect(err).toMatch(/bad.yaml:13:5: models\[0\].wieght: unknown key\n {2}Nearest: /)
  })

  it.each([
    [
      'an unknown parameter',
      linear('parameters: { densty: 1 }'),
      /bad.yaml:7:15: parameters.densty: unknown key\n {2}Nearest: density/,
    ],
    [
      'an unknown method',
      'merge_method: linaer\nmodels: []',
      /bad.yaml:1:15: merge_method: expected one of linear, /,
    ],
    ['no models', 'merge_method: linear', /bad.yaml.*expected exactly one of models, slices and modules/],
    ['an empty recipe', '# nothing', /the recipe is empty/],
  ])('refuses %s, with its place', async (_, text, message) => {
    const { code, err } = await weft('merge', await recipe('bad.yaml', text), '--out', at('x'))
    expect(code).toBe(2)
    expect(err).toMatch(message)
    expect(existsSync(at('x'))).toBe(false)
  })

  it('reads YAML as mergekit does: merge keys, anchors under keys of their own, yes and no', async () => {
    const text = `weights: &half { weight: 0.5 }
merge_method: linear
models:
  - { model: ${model('a')}, parameters: { <<: *half } }
  - { model: ${model('b')}, parameters: { <<: *half, weight: "1.5" } }
parameters: { normalize: no, embed_slerp: yes }
dtyp: float32
`
    const merged = await weft('merge', await recipe('python.yaml', text), '--out', at('python'))
    expect(merged).toMatchObject({ code: 0 })
    expect(merged.err).toMatch(/weights: no key of a recipe/)
    expect(merged.err).toMatch(/dtyp: no key of a recipe, it has no effect. Nearest: dtype/)
    expect(merged.err).toMatch(/linear has no parameter embed_slerp: it has no effect/)
    await weft(
      'merge',
      '--method',
      'linear',
      ...['a', 'b'].map(model),
      ...['--weight', '0.5,1.5', '-p', 'normalize=false', '--out', at('plain')],
    )
    await sameWeights(at('python'), at('plain'))
  })

  it('refuses remote code, a missing output, and a folder in use', async () => {
    expect(await weft('merge', at('r.yaml'), at('x'), '--trust-remote-code')).toMatchObject({ code: 2 })
    const { err } = await weft('merge', at('r.yaml'), at('x'), '--out-shard-size', 'big')
    expect(err).toMatch(/--out-shard-size: expected a size such as 5B/)
    expect((await weft('merge', at('r.yaml'))).err).toMatch(/no output folder/)
    expect((await weft('merge', at('r.yaml'), at('r'))).err).toMatch(/not empty/)
    expect(await weft('merge', at('r.yaml'), at('r'), '--force')).toMatchObject({ code: 0 })
  })

  it('refuses a parameter that the method has not, and weights that are not one for each model', async () => {
    const call = ['merge', model('a'), model('b'), '--out', at('x'), '--method']
    const wrong = await weft(...call, 'ties', '--base', model('base'), '-p', 'denisty=0.3')
    expect(wrong.err).toMatch(/^UnwantedParameter: -p denisty: --method ties .*\n.*Nearest: density/)
    expect(wrong.code).toBe(2)
    const value = await weft(...call, 'ties', '--base', model('base'), '-p', 'density=3')
    expect(value).toMatchObject({ code: 2, err: expect.stringMatching(/^BadValue: -p density=3/) as string })
    const few = await weft(...call, 'linear', '--weight', '0.5')
    expect(few).toMatchObject({ code: 2, err: expect.stringMatching(/1 weights for 2 models/) as string })
    expect(existsSync(at('x'))).toBe(false)
  })

  it('a procedure writes in the form that is asked for: dtype, shards, without its tokenizer', async () => {
    const call = ['merge', '--method', 'uniform-soup', model('a'), model('b')]
    const plain = await weft(...call, '--out', at('soup'))
    expect(plain.err).toBe('')
    const flags = ['--dtype', 'bfloat16', '--max-shard-size', '30KB', '--no-copy-tokenizer']
    expect(await weft(...call, ...flags, '--out', at('formed'))).toMatchObject({ code: 0 })
    expect(existsSync(join(at('formed'), 'model.safetensors.index.json'))).toBe(true)
    expect(existsSync(join(at('formed'), 'generation_config.json'))).toBe(false)
    await using soup = await open(at('soup'))
    await using formed = await open(at('formed'))
    expect(formed.names()).toEqual(soup.names())
    for (const name of formed.names()) {
      expect(formed.info(name).dtype).toBe('BF16')
      const [narrow, wide] = await Promise.all([formed.read(name, 'float32'), soup.read(name, 'float32')])
      const errors = Array.from(
        wide.data as Float32Array,
        (x, i) => Math.abs(x - Number(narrow.data[i])) / Math.max(1e-30, Math.abs(x)),
      )
      const worst = maxOf(errors)
      // Half a unit in the last of 8 places.
      expect(worst, name).toBeLessThanOrEqual(2 ** -8)
    }
  })

  it.each([...methods, ...procedures].map(({ name }) => name))(
    'the help on --method %s lists all its parameters, described, and only the flags it takes',
    async (name) => {
      const { code, out } = await weft('merge', '--method', name, '--help')
      expect(code).toBe(0)
      const lines = [...out.matchAll(/^ {2}-p (\w+) +(\S.*)$/gm)].map(([, key]) => key)
      expect(lines).toEqual(Object.keys(parametersOf(name)))
      expect(/--weight/.test(out.slice(0, out.indexOf('Examples:')))).toBe('weight' in parametersOf(name))
    },
  )

  it('help on a method that there is not names the nearest', async () => {
    const { code, err } = await weft('merge', '--method', 'tiess', '--help')
    expect(err).toMatch(/^BadValue: --method: .*Nearest: ties/)
    expect(code).toBe(2)
  })

  it('an adapter stands where a model stands', async () => {
    const [base, data, adapter, folded] = ['base', 'data.jsonl', 'adapter', 'folded'].map(at)
    await writeTinyLlama(base)
    await writeFile(data, sentences.map((text) => JSON.stringify({ text })).join('\n'))
    await weft('adapt', 'lora', base, '--data', data, '--out', adapter, '--steps', '2', '--batch', '2')
    await weft('fold', base, adapter, '--out', folded)
    const flags = ['--method', 'passthrough', '--out', at('adapted')]
    expect(await weft('merge', `${base}+${adapter}`, ...flags)).toMatchObject({ code: 0 })
    await sameWeights(at('adapted'), folded)
  })

  it('keeps a merge as a run, and none of one that is refused', async () => {
    const text = await recipe('kept.yaml', linear())
    expect(await weft('merge', text, '--out', at('kept'))).toMatchObject({ code: 0 })
    const [run] = (await readRuns(at('home'))).filter(({ config }) => config.out === at('kept'))
    expect(run).toMatchObject({ command: 'merge', subject: 'linear', status: 'finished' })
    const before = (await readRuns(at('home'))).length
    const broken = await recipe('gone.yaml', linear().replace(model('b'), at('nowhere')))
    expect(await weft('merge', broken, '--out', at('gone'))).toMatchObject({ code: 3 })
    expect((await readRuns(at('home'))).length).toBe(before)
  })
})

import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { CheckpointError } from '../errors.js'
import { common, flag } from './options.js'
import { run } from './program.js'
import type { World } from './context.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'

let seen: { arguments: unknown; options: Record<string, unknown> } | undefined

const options = z.object({
  rank: flag(z.number().int().positive().default(8), 'rank of the update', { short: 'r' }),
  learningRate: flag(z.number().positive().default(1e-3), 'step size'),
  targets: flag(z.union([z.array(z.string()), z.string()]).default(['q_proj']), 'modules to adapt'),
  betas: z.array(z.number()).optional(),
  stop: z.array(z.string()).optional(),
  rankPattern: flag(z.record(z.string(), z.number()).optional(), 'rank by module'),
  shuffle: flag(z.boolean().default(true), 'shuffle the data'),
  optimizer: z.object({ name: z.enum(['adamw', 'sgd']), betas: z.array(z.number()).optional() }).optional(),
  device: common.device,
  threads: common.threads,
  maxShardSize: common.maxShardSize,
  dryRun: common.dryRun,
})

const fit: Verb = {
  group: 'Train and adapt',
  ...action({
    name: 'fit',
    summary: 'fit a model',
    arguments: [{ name: 'base', summary: 'a checkpoint' }],
    examples: ['weft fit models/tiny --rank 4'],
    config: true,
    options: async () => options,
    run: async (call, context) => {
      seen = call
      context.progress({
        status: 'progress',
        name: 'fit',
        done: 1,
        total: 4,
        unit: 'steps',
        metrics: { loss: 2.5 },
      })
      context.info('fitted')
      context.result({ loss: 2.5 }, ({ loss }) => `loss ${loss}`)
    },
  }),
}

const failing = (name: string, error: () => unknown): Verb => ({
  group: 'Use',
  ...action({
    name,
    summary: `fail by ${name}`,
    arguments: [],
    examples: [`weft ${name}`],
    run: async () => {
      throw error()
    },
  }),
})

const family: Verb = {
  group: 'Train and adapt',
  name: 'adapt',
  noun: 'method',
  summary: 'adapt a model',
  examples: ['weft adapt lora models/tiny'],
  members: async () => [
    { ...(fit as ReturnType<typeof action>), name: 'lora' },
    { ...(fit as ReturnType<typeof action>), name: 'vera' },
  ],
}

const verbs = [
  fit,
  family,
  failing(
    'broken',
    () => new CheckpointError('Truncated', 'model.safetensors ends at byte 7', { hint: 'Pull it again.' }),
  ),
  failing('crash', () => new TypeError('boom')),
]

const weft = async (
  argv: string[],
  world: Partial<World> = {},
): Promise<{ code: number; out: string; err: string }> => {
  let [out, err] = ['', '']
  const code = await run(
    argv,
    {
      stdout: { write: (text) => (out += text) },
      stderr: { write: (text) => (err += text) },
      env: {},
      signal: new AbortController().signal,
      ...world,
    },
    verbs,
  )
  return { code, out, err }
}

const configFile = (text: string): string => {
  const file = join(mkdtempSync(join(tmpdir(), 'weft-cli-')), 'c.yaml')
  writeFileSync(file, text)
  return file
}

describe('help', () => {
  it.each([[[]], [['--help']], [['help']]])('%j prints the page of grouped verbs on stdout', async (argv) => {
    const { code, out, err } = await weft(argv)
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toMatch(/Train and adapt:\n {2}fit .*fit a model\n {2}adapt .*adapt a model/)
    expect(out).toMatch(/Use:\n {2}broken/)
    expect(out).toMatch(/Exit codes:/)
  })

  it('of a verb shows arguments, flags with defaults and variables, and examples', async () => {
    const { out } = await weft(['help', 'fit'])
    expect(out).toMatch(/Usage: weft fit \[options\] <base>/)
    expect(out).toMatch(/-r, --rank <N> +rank of the update \(default 8\)/)
    expect(out).toMatch(/--no-shuffle/)
    expect(out).not.toMatch(/--shuffle/)
    expect(out).toMatch(/--device <auto\|cpu\|webgpu\|cuda> .*WEFT_DEVICE/)
    expect(out).toMatch(/Examples:\n {2}weft fit models\/tiny --rank 4/)
  })

  it('of a family lists its members, and of a member its flags', async () => {
    expect((await weft(['adapt'])).out).toMatch(/lora.*\n.*vera/)
    expect((await weft(['adapt', 'lora', '--help'])).out).toMatch(/--rank <N>/)
  })

  it('--version prints the version of the package', async () => {
    expect((await weft(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })
})

describe('refusals', () => {
  it.each([
    [['fitt', 'm'], /^UnknownVerb: weft has no verb fitt\n {2}Nearest: fit, /],
    [['adapt', 'lorra', 'm'], /^UnknownNoun: weft adapt has no noun lorra\n {2}Nearest: lora, vera/],
    [['fit', 'm', '--rnak', '4'], /^UnknownFlag: weft fit has no flag --rnak\n {2}Nearest: --rank, /],
    [['--jsn'], /^UnknownFlag: weft has no flag --jsn\n {2}Nearest: --json/],
    [['fit'], /^BadUsage: missing required argument 'base'\n {2}See: weft fit --help/],
    [['fit', 'a', 'b'], /^BadUsage: too many arguments/],
    [['fit', 'm', '--rank', 'x'], /^BadValue: --rank: expected number, found "x"/],
    [['fit', 'm', '--rank', '0'], /^BadValue: --rank: expected number to be >0, found 0/],
    [
      ['fit', 'm', '--device', 'gpu'],
      /^BadValue: --device: expected one of auto, cpu, webgpu, cuda, found "gpu"/,
    ],
    [
      ['fit', 'm', '--max-shard-size', '5QB'],
      /^BadValue: --max-shard-size: expected a size such as 5GB or 512MiB/,
    ],
    [['fit', 'm', '-c', 'absent.yaml'], /^NoConfig: cannot read the config file absent.yaml/],
  ])('%j exits 2 and says what is known', async (argv, message) => {
    const { code, out, err } = await weft(argv)
    expect(err).toMatch(message)
    expect({ code, out }).toEqual({ code: 2, out: '' })
  })

  it('any words give an exit code, and words on stderr when it is not 0', async () => {
    const known = fc.constantFrom(
      'fit',
      'adapt',
      'lora',
      'broken',
      'help',
      '--rank',
      '--targets',
      '-v',
      '-q',
      '--json',
      '--',
      '-',
      '4',
      'm',
      '--no-shuffle',
      '-h',
      '--device=cpu',
    )
    const argv = fc.array(fc.oneof({ weight: 4, arbitrary: known }, fc.string()), { maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(argv, async (words) => {
        const { code, err } = await weft(words)
        expect([0, 2, 3]).toContain(code)
        if (code) expect(err).not.toBe('')
      }),
      { numRuns: 500 },
    )
  })

  it('a variable with a bad value is named', async () => {
    expect((await weft(['fit', 'm'], { env: { WEFT_DEVICE: 'gpu' } })).err).toMatch(
      /^BadValue: WEFT_DEVICE: expected one of/,
    )
  })

  it('a WeftError gives its block, hint and exit code', async () => {
    const { code, err } = await weft(['broken'])
    expect(code).toBe(3)
    expect(err).toBe('Truncated: model.safetensors ends at byte 7\n  Pull it again.\n')
  })

  it('an unforeseen error exits 1, with its stack only when asked', async () => {
    const calm = await weft(['crash'])
    expect(calm.code).toBe(1)
    expect(calm.err).toBe('TypeError: boom\n  Run again with -v to see where this came from.\n')
    expect((await weft(['crash', '-v'])).err).toMatch(/^TypeError: boom\n {4}at /)
    expect((await weft(['crash'], { env: { WEFT_LOG: 'debug' } })).err).toMatch(/\n {4}at /)
  })

  it('with --json an error is one JSON line', async () => {
    const { err } = await weft(['broken', '--json'])
    expect(JSON.parse(err)).toMatchObject({ status: 'error', code: 'Truncated', exitCode: 3 })
  })
})

describe('options', () => {
  it('are read from flags in every spelling', async () => {
    await weft([
      'fit',
      'm',
      '--rank=4',
      '--learning-rate',
      '1e-4',
      '--no-shuffle',
      '--max-shard-size',
      '512MiB',
      '--dry-run',
    ])
    expect(seen?.arguments).toEqual({ base: 'm' })
    expect(seen?.options).toMatchObject({
      rank: 4,
      learningRate: 1e-4,
      shuffle: false,
      maxShardSize: 2 ** 29,
      dryRun: true,
    })
  })

  it.each([
    [
      ['--targets', 'q_proj', '--targets', 'v_proj'],
      ['q_proj', 'v_proj'],
    ],
    [
      ['--targets', 'q_proj,v_proj'],
      ['q_proj', 'v_proj'],
    ],
    [['--targets', 'all-linear'], 'all-linear'],
    [['--targets', '.*\\.(q|v)_proj'], '.*\\.(q|v)_proj'],
    [[], ['q_proj']],
  ])('%j gives the list or the pattern', async (flags, targets) => {
    await weft(['fit', 'm', ...flags])
    expect(seen?.options.targets).toEqual(targets)
  })

  it('lists have commas or repeat their flag; text with a comma in it is one', async () => {
    await weft(['fit', 'm', '--betas', '0.9,1e-4', '--betas=-1', '--stop', 'Yes, no', '--stop', '\n\n'])
    expect(seen?.options).toMatchObject({ betas: [0.9, 1e-4, -1], stop: ['Yes, no', '\n\n'] })
  })

  it('maps are repeated key=value', async () => {
    await weft(['fit', 'm', '--rank-pattern', 'q_proj=4', '--rank-pattern', 'v_proj=2'])
    expect(seen?.options.rankPattern).toEqual({ q_proj: 4, v_proj: 2 })
    await weft(['fit', 'm', '--rank-pattern', 'q_proj=4,v_proj=2,h.{0,1}.x=3'])
    expect(seen?.options.rankPattern).toEqual({ q_proj: 4, v_proj: 2, 'h.{0,1}.x': 3 })
  })

  it('a flag wins over the environment, that over the config file, that over the default', async () => {
    const config = ['-c', configFile('rank: 3\nthreads: 2\nlearningRate: 5e-4\n')]
    await weft(['fit', 'm', ...config])
    expect(seen?.options).toMatchObject({ rank: 3, threads: 2, learningRate: 5e-4, shuffle: true })
    await weft(['fit', 'm', ...config], { env: { WEFT_THREADS: '3' } })
    expect(seen?.options.threads).toBe(3)
    await weft(['fit', 'm', ...config, '--threads', '1'], { env: { WEFT_THREADS: '3' } })
    expect(seen?.options.threads).toBe(1)
  })

  it('words after -- are arguments', async () => {
    await weft(['fit', '--', '--rank'])
    expect(seen?.arguments).toEqual({ base: '--rank' })
  })
})

describe('config files', () => {
  it.each([
    [
      'rank: 3\nlerningRate: 1e-4\n',
      /^UnknownKey: .*c\.yaml:2:1: lerningRate: unknown key\n {2}Nearest: learningRate/,
    ],
    [
      'rank: 3\noptimizer:\n  name: adam\n',
      /^BadValue: .*:3:9: optimizer\.name: expected one of adamw, sgd, found "adam"/,
    ],
    ['optimizer: { name: sgd, betas: [0.9, x] }', /:1:38: optimizer\.betas\[1\]: expected number, found "x"/],
    [
      'optimizer: { name: sgd, beta: [0.9] }',
      /UnknownKey: .*:1:25: optimizer\.beta: unknown key\n {2}Nearest: betas/,
    ],
    ['rank: 3\nrank: 4\n', /^BadConfig: .*:2:1: Map keys must be unique/],
    ['rank: [1\n', /^BadConfig: .*c\.yaml:\d+:\d+: /],
    ['rank: !!js/function "x"\n', /^BadConfig: .*:1:7: Unresolved tag/],
    ['- 1\n', /^BadValue: .*:1:1: expected record, found \[1\]/],
  ])('%j is refused with its line and column', async (text, message) => {
    const { code, err } = await weft(['fit', 'm', '-c', configFile(text)])
    expect(err).toMatch(message)
    expect(code).toBe(2)
  })

  it('may be JSON, and may be empty', async () => {
    await weft(['fit', 'm', '-c', configFile('{"rank": 5, "maxShardSize": "1GB"}')])
    expect(seen?.options).toMatchObject({ rank: 5, maxShardSize: 1e9 })
    expect((await weft(['fit', 'm', '-c', configFile('')])).code).toBe(0)
  })
})

describe('output', () => {
  it('puts results on stdout and the rest on stderr', async () => {
    const { out, err } = await weft(['fit', 'm'])
    expect(out).toBe('loss 2.5\n')
    expect(err).toBe('fit  25%  1/4 steps  loss 2.5\nfitted\n')
  })

  it('--json gives one event a line and the result as JSON', async () => {
    const { out, err } = await weft(['fit', 'm', '--json'])
    expect(JSON.parse(out)).toEqual({ loss: 2.5 })
    const events = err
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { status: string })
    expect(events.map(({ status }) => status)).toEqual(['progress', 'log'])
  })

  it('-q leaves the result alone', async () => {
    expect(await weft(['fit', 'm', '-q'])).toEqual({ code: 0, out: 'loss 2.5\n', err: '' })
  })
})

describe('signals', () => {
  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ])('%s exits %i, however the verb ends', async (reason, code) => {
    const signal = AbortSignal.abort(reason)
    expect((await weft(['fit', 'm'], { signal })).code).toBe(code)
    const abort = failing('abort', () => signal.reason)
    const streams = { write: () => {} }
    expect(await run(['abort'], { stdout: streams, stderr: streams, env: {}, signal }, [abort])).toBe(code)
  })

  it('a real failure while stopping is still reported', async () => {
    const { code, err } = await weft(['broken'], { signal: AbortSignal.abort('SIGINT') })
    expect(code).toBe(3)
    expect(err).toMatch(/^Truncated/)
  })
})

/** @file `weft extract`: what a fine-tuning changed, as a LoRA adapter or as a file of its breadcrumbs. */
import type { Checkpoint } from '../checkpoint/index.js'
import type { BreadcrumbOptions, Extraction, ExtractOptions } from '../merge/index.js'
import { formatBytes } from './progress.js'
import { grouped, table } from './table.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const extract: Verb = {
  group: 'Checkpoints',
  ...action({
    name: 'extract',
    summary: 'take the difference of two checkpoints as a LoRA adapter, or as sparse breadcrumbs',
    arguments: [
      {
        name: 'base',
        summary: 'folder or hub id of the base model, on which the adapter will stand',
        names: 'model',
      },
      { name: 'tuned', summary: 'folder or hub id of the same model after its tuning', names: 'model' },
    ],
    examples: [
      'weft extract models/base models/tuned --rank 16 --out adapters/tuned',
      'weft extract models/base models/tuned --energy 0.99 --rank 64 --out adapters/tuned   # as low as that needs',
      'weft extract models/base models/tuned --rank 16 --modules-to-save changed --out adapters/tuned',
      'weft extract models/base models/tuned --as breadcrumbs --keep 0.1 --out crumbs/tuned   # for merge --method breadcrumb-files',
    ],
    options: async () => {
      const [{ z }, { common, flag, onlyWhen }, { maskOptions }] = await Promise.all([
        import('zod'),
        import('./options.js'),
        import('../merge/index.js'),
      ])
      const low = [{ as: ['lora'] }]
      const sparse = [{ as: ['breadcrumbs'] }]
      const names = z.union([z.string(), z.array(z.string()).min(1)])
      return z.object({
        out: common.out,
        as: flag(z.enum(['lora', 'breadcrumbs']).default('lora'), 'what to write', { decides: true }),
        rank: flag(
          z.number().int().positive().optional(),
          'rank of each difference; with --energy the highest',
          {
            short: 'r',
            value: 'R',
            when: low,
          },
        ),
        energy: flag(
          z.number().gt(0).max(1).optional(),
          'the lowest rank that holds this share of the squared singular values',
          { value: 'SHARE', when: low },
        ),
        targets: flag(
          names.default('all-linear'),
          "modules to look at: names or suffixes, one regular expression, or 'all-linear'",
          { when: low },
        ),
        exclude: flag(names.optional(), 'modules to leave out, written as targets are'),
        modulesToSave: flag(
          names.optional(),
          "modules to save whole where they differ; 'changed': all that have no low rank",
          { value: 'NAME', when: low },
        ),
        keep: onlyWhen(maskOptions.keep, sparse),
        removeTop: onlyWhen(maskOptions.removeTop, sparse),
        granularity: onlyWhen(maskOptions.granularity, sparse),
        maskVectors: onlyWhen(maskOptions.maskVectors, sparse),
        dryRun: common.dryRun,
        force: common.force,
        strict: common.strict,
        device: common.device,
        threads: common.threads,
      })
    },
    run: async ({ arguments: { base, tuned }, options }, context) => {
      const [{ mkdtemp, rm, writeFile }, { tmpdir }, { join }, { saveInto }] = await Promise.all([
        import('node:fs/promises'),
        import('node:os'),
        import('node:path'),
        import('./output.js'),
      ])
      const [{ extract, planExtraction }, { openSource }] = await Promise.all([
        import('../merge/index.js'),
        import('../merge/index.js'),
      ])
      const { out, rank, energy, targets, exclude } = options
      const work = await mkdtemp(join(tmpdir(), 'weft-extract-'))
      try {
        const source = { work, strict: options.strict, onWarning: context.info }
        await using ours = await openSource(base, source)
        await using theirs = await openSource(tuned, source)
        if (options.as === 'breadcrumbs') {
          const { keep, removeTop, granularity, maskVectors, dryRun } = options
          const masks = { keep, removeTop, granularity, maskVectors }
          if (!dryRun) await writeCrumbs(ours, theirs, out, { ...masks, exclude: await namesModule(exclude) })
          const result = { base, tuned, folder: out, ...masks }
          return context.result(result, () => `${dryRun ? 'Would write' : 'Wrote'} ${join(out, crumbsFile)}`)
        }
        const { signal, progress: onProgress } = context
        const modulesToSave = savedModules(options.modulesToSave)
        const choice = { rank, energy, targets, exclude, modulesToSave, signal, onProgress }
        if (options.dryRun) {
          const plan = await planExtraction(ours, theirs, choice)
          return context.result({ base, tuned, rank, energy, out, ...plan }, () =>
            planText(plan.modules, plan.parameters, out),
          )
        }
        const extraction = await extract(ours, theirs, choice)
        const { tensors, unchanged } = extraction
        const report = { base, tuned, rank, energy, tensors, unchanged }
        await saveInto(out, async (folder) => {
          await extraction.model.save(folder)
          await writeFile(join(folder, 'extract-report.json'), `${JSON.stringify(report, null, 2)}\n`)
        })
        if (ours.folder.startsWith(work))
          context.info(`${base} is no folder of its own: fold it, and use the adapter on that.`)
        extraction.notes.forEach(context.info)
        context.result({ folder: out, ...report }, () => page(extraction, out))
      } finally {
        await rm(work, { recursive: true, force: true })
      }
    },
  }),
}

const crumbsFile = 'breadcrumbs.safetensors'

/** Whether a tensor is of a module that these names or this pattern name. */
const namesModule = async (names?: string | string[]): Promise<(tensor: string) => boolean> => {
  if (names === undefined) return () => false
  const { matcher } = await import('../models/index.js')
  const matches = matcher(names)
  return (tensor) => matches(tensor.slice(0, Math.max(0, tensor.lastIndexOf('.'))))
}

const writeCrumbs = async (
  base: Checkpoint,
  tuned: Checkpoint,
  out: string,
  masks: BreadcrumbOptions,
): Promise<void> => {
  const [{ mkdir }, { join }, { saveInto }, { writeBreadcrumbs }] = await Promise.all([
    import('node:fs/promises'),
    import('node:path'),
    import('./output.js'),
    import('../merge/index.js'),
  ])
  await saveInto(out, async (folder) => {
    await mkdir(folder)
    await writeBreadcrumbs(base, tuned, join(folder, crumbsFile), masks)
  })
}

const savedModules = (choice: string | string[] | undefined): ExtractOptions['modulesToSave'] =>
  choice === 'changed' || choice === undefined ? choice : [choice].flat()

const planText = (modules: number, parameters: number | undefined, out: string): string =>
  `Would extract ${grouped(modules)} modules${
    parameters === undefined ? '' : ` (at most ${formatBytes(4 * parameters)})`
  } to ${out}.`

const percent = (share: number): string => `${Number((100 * share).toPrecision(3))} %`

const page = ({ tensors, unchanged, model }: Extraction, out: string): string => {
  const head = ['tensor', 'shape', 'kept', 'rank', 'change', 'left of it']
  const rows = tensors.map(({ name, shape, kept, rank, change, error }) => [
    name,
    shape.join('x'),
    kept,
    rank === undefined ? '' : String(rank),
    percent(change),
    percent(error),
  ])
  const sites = model.plan.sites.length
  return [
    table(head, rows),
    '',
    `Extracted ${grouped(sites)} modules; ${grouped(unchanged)} tensors are the same in both. Wrote ${out}`,
  ].join('\n')
}

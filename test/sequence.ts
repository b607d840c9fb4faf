/**
 * @file The order in which files are tested. Those that share a process come last, since it is kept from one of them to the
 * next; of either kind the longest come first, lest one be left over for a single core at the end.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Files that take more than some ten seconds of a core, longest first; a new one may be left out, and costs a tail. */
const longest = [
  'src/tensor/devices',
  'src/cli/choices',
  'src/adapt/core/contract',
  'test/reproductions',
  'test/lab.browser',
  'src/lab/crash',
  'src/train/resume',
  'src/merge/core/contract',
  'test/golden.browser',
  'src/merge/core/recipe/run',
  'src/cli/compare',
  'src/lab/jobs/jobs',
  'src/merge/core/threads',
]

/** Place of the file in `longest`; behind it for any other. */
const rank = ({ moduleId }: TestSpecification): number => {
  const index = longest.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`))
  return index < 0 ? longest.length : index
}

/** The order above; of what it leaves open, vitest's own. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const isShared = ({ project }: TestSpecification): number => Number(!project.config.isolate)
    return (await super.sort(files)).sort((a, b) => isShared(a) - isShared(b) || rank(a) - rank(b))
  }
}

import { fileURLToPath } from 'node:url'
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'
import { LongestFirst } from './test/sequence.js'

/** Tests of programs change their process (variables, signals, servers) and have one each. */
const programs = ['src/cli/**/*.test.ts', 'src/lab/**/*.test.ts', 'test/**/*.test.ts']

const project = (test: TestProjectInlineConfiguration['test']): TestProjectInlineConfiguration => ({
  resolve: { alias: { '#sessions': fileURLToPath(new URL('./src/runtime/node.ts', import.meta.url)) } },
  test: {
    pool: 'forks',
    // What hangs, not what is slow: the slowest test took 89 s on two cores that five others used.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    setupFiles: ['test/open-files.ts'],
    // Two files are tested beside each other: threads that spin while they wait take the cores from one another.
    env: { WEFT_SPIN: '0' },
    ...test,
  },
})

export default defineConfig({
  test: {
    // Not in a project, where it would win over --maxWorkers.
    maxWorkers: 2,
    sequence: { sequencer: LongestFirst },
    projects: [
      project({ name: 'programs', include: programs }),
      // Half of a small file's time is the loading of modules: these files share them.
      project({ name: 'library', include: ['src/**/*.test.ts'], exclude: programs, isolate: false }),
    ],
  },
})

/** @file What a run's record says about where it ran: versions, machine, commit. */
import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { arch, cpus, platform, totalmem } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import type { Machine } from './run.js'

/** The machine that this process runs on. */
export const thisMachine = (): Machine => {
  const processors = cpus()
  return {
    platform: platform(),
    arch: arch(),
    processor: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memory: totalmem(),
  }
}

const versionIn = (file: URL | string): string | undefined => {
  try {
    return (JSON.parse(readFileSync(file, 'utf8')) as { version?: string }).version
  } catch {
    return undefined
  }
}

/** The nearest `node_modules/NAME/package.json` above this file: where Node itself would look. */
const installed = (name: string): string | undefined => {
  for (let folder = import.meta.dirname; ; folder = dirname(folder)) {
    const file = join(folder, 'node_modules', name, 'package.json')
    if (existsSync(file)) return versionIn(file)
    if (folder === dirname(folder)) return undefined
  }
}

/** Versions of Weft, Node and ONNX Runtime. */
export const versions = (): Record<string, string> => {
  const weft = versionIn(new URL('../../package.json', import.meta.url))
  const runtime = installed('onnxruntime-node')
  return {
    ...(weft ? { weft } : {}),
    node: process.versions.node,
    ...(runtime ? { 'onnxruntime-node': runtime } : {}),
  }
}

const git = (folder: string, ...args: string[]): Promise<string | undefined> =>
  new Promise((done) =>
    execFile('git', ['-C', folder, ...args], { timeout: 2000, windowsHide: true }, (error, stdout) =>
      done(error ? undefined : stdout.trim()),
    ),
  )

/** The commit checked out in `folder`, with `+` when tracked files differ; undefined outside a repository. */
export const commitOf = async (folder: string = '.'): Promise<string | undefined> => {
  // One command for both: starting a process takes longer than what git does in it.
  const status = ['status', '--porcelain=v2', '--branch', '--untracked-files=no']
  const told = (await git(resolve(folder), '--no-optional-locks', ...status)) ?? ''
  const [, commit] = /^# branch\.oid ([0-9a-f]+)$/m.exec(told) ?? []
  if (!commit) return undefined
  return /^[^#]/m.test(told) ? `${commit}+` : commit
}

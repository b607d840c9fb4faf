import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { commitOf } from './surroundings.js'

const folder = mkdtempSync(join(tmpdir(), 'weft-commit-'))
afterAll(() => rmSync(folder, { recursive: true }))

const author = ['-c', 'user.name=a', '-c', 'user.email=a@b.c', '-c', 'commit.gpgsign=false']
const git = (...args: string[]): string =>
  execFileSync('git', ['-C', folder, ...author, ...args], { encoding: 'utf8' }).trim()

it('says the commit that is checked out, and + where tracked files differ from it', async () => {
  expect(await commitOf(folder)).toBeUndefined()
  git('init', '--quiet')
  expect(await commitOf(folder)).toBeUndefined()
  writeFileSync(join(folder, 'a'), 'one')
  git('add', 'a')
  git('commit', '--quiet', '--message', 'one')
  const commit = git('rev-parse', 'HEAD')
  expect(await commitOf(folder)).toBe(commit)
  writeFileSync(join(folder, 'new'), 'not tracked')
  expect(await commitOf(folder)).toBe(commit)
  writeFileSync(join(folder, 'a'), 'two')
  expect(await commitOf(folder)).toBe(`${commit}+`)
})

/**
 * @file Makes a clone ready: packages, build and, with `--test`, a Chromium. Each step runs only when something is
 * missing or stale. Runs before there are any packages, so it imports Node alone.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findChromium } from './chromium.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const inRoot = (...path) => join(root, ...path)

const fail = (message) => {
  console.error(message)
  process.exit(1)
}

const run = (command, args, options = {}) =>
  spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], ...options }).status === 0

const checkNode = () => {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19))
    fail(`Weft needs Node 20.19 or newer; this is ${process.versions.node}. See https://nodejs.org`)
}

const packagesIn = (file) => JSON.parse(readFileSync(file, 'utf8')).packages

/** Whether node_modules holds the versions that package-lock.json names (npm keeps a list of what it installed). */
const packagesAreInstalled = () => {
  const list = inRoot('node_modules', '.package-lock.json')
  if (!existsSync(list)) return false
  const installed = packagesIn(list)
  return Object.entries(packagesIn(inRoot('package-lock.json'))).every(
    ([path, wanted]) => path === '' || wanted.optional || installed[path]?.version === wanted.version,
  )
}

const installPackages = () => {
  if (packagesAreInstalled()) return
  console.error('Installing packages (npm ci) ...')
  const npm = process.env.npm_execpath
  const args = ['ci', '--no-audit', '--no-fund', '--loglevel=error']
  const done = npm
    ? run(process.execPath, [npm, ...args])
    : run('npm', args, { shell: process.platform === 'win32' })
  if (!done) fail('npm ci failed (see above). With the package registry in reach, run it again.')
}

/** When a file or folder of `folder` last changed, in milliseconds; a folder changes when a file is removed. */
const lastChange = (folder) =>
  readdirSync(folder, { withFileTypes: true })
    .map(({ name }) => join(folder, name))
    .reduce((last, path) => Math.max(last, changeOf(path)), statSync(folder).mtimeMs)

const changeOf = (path) => {
  const facts = statSync(path)
  return facts.isDirectory() ? lastChange(path) : facts.mtimeMs
}

const build = () => {
  const mark = inRoot('dist', '.built')
  const sources = ['tsconfig.json', 'tsconfig.build.json', 'package.json'].map(
    (file) => statSync(inRoot(file)).mtimeMs,
  )
  const newest = sources.reduce(
    (a, b) => Math.max(a, b),
    Math.max(lastChange(inRoot('src')), lastChange(inRoot('lab'))),
  )
  if (existsSync(mark) && statSync(mark).mtimeMs >= newest) return
  console.error('Building ...')
  const started = new Date()
  const tool = (path, ...args) => run(process.execPath, [inRoot('node_modules', ...path), ...args])
  if (!tool(['typescript', 'bin', 'tsc'], '-p', 'tsconfig.build.json'))
    fail('The build failed: the type errors are above.')
  if (!tool(['vite', 'bin', 'vite.js'], 'build', '-c', 'lab/vite.config.ts'))
    fail("The build of the lab's page failed (see above).")
  writeFileSync(mark, `${started.toISOString()}\n`)
}

const howToGetChromium =
  'No Chromium was found; the browser tests need one. Any of these will do:\n' +
  '  Debian or Ubuntu:  sudo apt-get install chromium\n' +
  '  elsewhere:         npx playwright-core install chromium\n' +
  '  already there:     CHROME_BIN=/path/to/chrome npm test'

const prepareChromium = () => {
  if (findChromium()) return
  const mayInstall = process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')
  if (mayInstall) {
    console.error('Installing Chromium for the browser tests (apt-get) ...')
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
    const aptGet = (...args) =>
      run('apt-get', ['-qq', '-o=Dpkg::Use-Pty=0', ...args], { env, stdio: ['ignore', 'ignore', 'inherit'] })
    aptGet('update')
    aptGet('install', '-y', '--no-install-recommends', 'chromium')
  }
  if (!findChromium()) console.error(howToGetChromium)
}

checkNode()
installPackages()
build()
if (process.argv.includes('--test')) prepareChromium()

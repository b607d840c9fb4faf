/** @file Where a Chromium is on this machine; the browser tests run in it. */
import { existsSync, readdirSync } from 'node:fs'
import { homedir, platform } from 'node:os'
import { join } from 'node:path'

const installed = [
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/snap/bin/chromium',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  'C:\\Program Files\\Google\\Chrome\\Application\\chrome.exe',
]

const cacheFolders = {
  darwin: join(homedir(), 'Library', 'Caches', 'ms-playwright'),
  win32: join(homedir(), 'AppData', 'Local', 'ms-playwright'),
}

/** Chromiums that Playwright has downloaded, newest first. */
const playwrightBrowsers = () => {
  const { PLAYWRIGHT_BROWSERS_PATH: chosen } = process.env
  const cache = chosen || (cacheFolders[platform()] ?? join(homedir(), '.cache', 'ms-playwright'))
  if (!existsSync(cache)) return []
  const inside = [
    'chrome-linux/chrome',
    'chrome-linux64/chrome',
    'chrome-mac/Chromium.app/Contents/MacOS/Chromium',
    'chrome-win/chrome.exe',
  ]
  return readdirSync(cache)
    .filter((name) => /^chromium-\d+$/.test(name))
    .sort((a, b) => Number(b.slice(9)) - Number(a.slice(9)))
    .flatMap((name) => inside.map((path) => join(cache, name, path)))
}

/** The executable: CHROME_BIN, else a system's Chromium, else Playwright's; undefined where there is none. */
export const findChromium = () =>
  [process.env.CHROME_BIN, ...installed, ...playwrightBrowsers()].find((path) => path && existsSync(path))

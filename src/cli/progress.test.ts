import { describe, expect, it } from 'vitest'
import type { Progress } from '../progress.js'
import { colored, formatBytes, formatTime, progressDisplay, renderBar, short } from './progress.js'
import type { Output } from './verb.js'

const fake = (terminal: Partial<Output> = {}): { output: Output; text: () => string } => {
  let text = ''
  return { output: { write: (piece) => (text += piece), ...terminal }, text: () => text }
}

const step = (done: number): Progress => ({
  status: 'progress',
  name: 'train',
  done,
  total: 100,
  unit: 'steps',
  metrics: { loss: 1.23456, 'tokens/s': 12345 },
})

describe('progress', () => {
  it('without a terminal is a plain line every few seconds', () => {
    const { output, text } = fake()
    let now = 0
    const { report } = progressDisplay(output, { now: () => now })
    for (let i = 0; i <= 100; i++, now += 100) report(step(i))
    report({ ...step(100), status: 'done' })
    const lines = text().trim().split('\n')
    expect(lines).toHaveLength(4)
    expect(lines[1]).toBe('train  50%  50/100 steps  loss 1.235  12.3k tokens/s  10 steps/s  ETA 5s')
    expect(text()).not.toContain('\x1b')
  })

  it('on a terminal redraws one line, at most ten times a second, within its width', () => {
    const { output, text } = fake({ isTTY: true, columns: 100 })
    let now = 0
    const { report, clear } = progressDisplay(output, { now: () => now })
    for (let i = 0; i < 100; i++, now += 10) report(step(i))
    const draws = text().split('\r\x1b[K').slice(1)
    expect(draws).toHaveLength(10)
    for (const draw of draws) expect(draw.replaceAll(/\x1b\[\d+m/g, '').length).toBeLessThan(100)
    expect(draws[9]).toMatch(/^train {2}\[.*#+.*-+\]/)
    clear()
    expect(text().endsWith('\r\x1b[K')).toBe(true)
  })

  it('in CI is lines even on a terminal', () => {
    const { output, text } = fake({ isTTY: true })
    progressDisplay(output, { env: { CI: 'true' } }).report(step(1))
    expect(text()).toMatch(/^train {2}1%/)
  })

  it('gives every event as a JSON line, and nothing when quiet', () => {
    const json = fake()
    progressDisplay(json.output, { json: true }).report(step(1))
    expect(JSON.parse(json.text())).toEqual(step(1))
    const quiet = fake()
    progressDisplay(quiet.output, { quiet: true }).report(step(1))
    expect(quiet.text()).toBe('')
  })

  it('drops the bar before it drops a number when the terminal is narrow', () => {
    const narrow = renderBar(step(50), 10, 50, false)
    expect(narrow).toMatch(/^train {2}50% {2}50\/100 steps {2}loss 1.235/)
    expect(narrow.length).toBeLessThan(50)
    expect(renderBar(step(50), 10, 40, false)).toBe('train  50%  loss 1.235  ETA 5s')
  })

  it('counts the rate of a resumed piece from where it resumed', () => {
    const { output, text } = fake()
    let now = 0
    const { report } = progressDisplay(output, { now: () => now })
    report({ status: 'download', name: 'f', done: 5e9, total: 10e9, unit: 'bytes' })
    now = 10_000
    report({ status: 'download', name: 'f', done: 6e9, total: 10e9, unit: 'bytes' })
    expect(text().split('\n')[1]).toBe('f  60%  6.0 GB/10 GB  100 MB/s  ETA 40s')
  })

  it('NO_COLOR forbids color, FORCE_COLOR demands it', () => {
    expect(colored({ write: () => {}, isTTY: true }, { NO_COLOR: '1', FORCE_COLOR: '1' })).toBe(false)
    expect(colored({ write: () => {} }, { FORCE_COLOR: '1' })).toBe(true)
    expect(colored({ write: () => {}, isTTY: true }, {})).toBe(true)
    expect(colored({ write: () => {}, isTTY: true }, { FORCE_COLOR: '0' })).toBe(false)
  })

  it('writes numbers as people read them', () => {
    expect([3.14159, 0.00012345, 12345, 4.5e6].map(short)).toEqual(['3.142', '0.0001234', '12.3k', '4.5M'])
    expect([0, 17, 1500, 312e6, 1.5e9].map(formatBytes)).toEqual([
      '0 B',
      '17 B',
      '1.5 kB',
      '312 MB',
      '1.5 GB',
    ])
    expect([7, 200, 7500].map(formatTime)).toEqual(['7s', '3m 20s', '2h 05m'])
  })
})

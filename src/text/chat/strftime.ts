/** @file Dates as Python's strftime writes them, in English. */
import { TemplateFault } from './values.js'

const months = 'January February March April May June July August September October November December'.split(
  ' ',
)
const days = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ')
const padded = (n: number, width = 2, fill = '0'): string => String(n).padStart(width, fill)
const dayOfYear = (d: Date): number =>
  Math.round(
    (Date.UTC(d.getFullYear(), d.getMonth(), d.getDate()) - Date.UTC(d.getFullYear(), 0, 0)) / 86_400_000,
  )
const hour12 = (d: Date): number => d.getHours() % 12 || 12

const directives: Readonly<Record<string, (d: Date) => string>> = {
  '%': () => '%',
  Y: (d) => String(d.getFullYear()),
  y: (d) => padded(d.getFullYear() % 100),
  m: (d) => padded(d.getMonth() + 1),
  d: (d) => padded(d.getDate()),
  e: (d) => padded(d.getDate(), 2, ' '),
  B: (d) => months[d.getMonth()],
  b: (d) => months[d.getMonth()].slice(0, 3),
  h: (d) => months[d.getMonth()].slice(0, 3),
  A: (d) => days[d.getDay()],
  a: (d) => days[d.getDay()].slice(0, 3),
  w: (d) => String(d.getDay()),
  u: (d) => String(d.getDay() || 7),
  j: (d) => padded(dayOfYear(d), 3),
  H: (d) => padded(d.getHours()),
  I: (d) => padded(hour12(d)),
  M: (d) => padded(d.getMinutes()),
  S: (d) => padded(d.getSeconds()),
  f: (d) => padded(d.getMilliseconds() * 1000, 6),
  p: (d) => (d.getHours() < 12 ? 'AM' : 'PM'),
  F: (d) => strftime(d, '%Y-%m-%d'),
  T: (d) => strftime(d, '%H:%M:%S'),
  R: (d) => strftime(d, '%H:%M'),
  D: (d) => strftime(d, '%m/%d/%y'),
  c: (d) => strftime(d, '%a %b %e %H:%M:%S %Y'),
  x: (d) => strftime(d, '%m/%d/%y'),
  X: (d) => strftime(d, '%H:%M:%S'),
  n: () => '\n',
  t: () => '\t',
}

/** `date` in local time by `format`; `%-d` has no zeros in front. Throws TemplateFault for a directive that is not known. */
export const strftime = (date: Date, format: string): string =>
  format.replace(/%(-?)(.?)/gs, (whole, dash: string, directive: string) => {
    if (!Object.hasOwn(directives, directive)) throw new TemplateFault(`strftime: ${whole} is not known`)
    const text = directives[directive](date)
    return dash === '-' ? text.replace(/^[0 ]+(?=\d)/, '') : text
  })

/** Expected values: what CPython 3.11's `re` answers for the same expression and text. */
import { describe, expect, it } from 'vitest'
import { UsageError } from '../errors.js'
import { pythonPattern } from './python-pattern.js'

const name = 'model.layers.11.self_attn.q_proj'

describe("Python's expressions", () => {
  it.each([
    ['.*q_proj', true],
    ['q_proj', false],
    ['(?i).*Q_PROJ', true],
    ['.*Q_PROJ', false],
    ['.*(?i:Q)_proj', true],
    ['.*(?i:Q)_PROJ', false],
    ['(?i:MODEL).*', true],
    ['(?i)MODEL\\.[K-M]AYERS.*', true],
    ['(?P<part>model).*(?P<digit>1)(?P=digit)\\..*', true],
    ['.*(?P<digit>1)(?P=digit)1\\..*', false],
    ['.*(1)\\1\\..*', true],
    ['\\Amodel.*q_proj\\Z', true],
    ['model.*q_proj$', true],
    ['.*layers\\.\\d++\\.self_attn\\.q_proj', true],
    ['.*+q_proj', false],
    ['(?>.*)q_proj', false],
    ['(?>model)\\..*', true],
    ['.*\\.(?:[0-9]|1[0-9])\\.self_attn\\.[qv]_proj', true],
    ['.*\\.(?!11)\\d+\\..*', false],
    ['.*(?<=\\.)11\\..*', true],
    ['.*(?<!\\.)1\\.self.*', true],
    ['.*1{2}\\..*', true],
    ['.*1{,1}\\.self.*', true],
    ['.*1{3,}\\..*', false],
    ['.*?1{2}?\\.self_attn.*', true],
    ['(?x) model . * q_proj  # the queries', true],
    ['(?#queries).*q_proj', true],
    ['.*[]qv]_proj', true],
    ['.*[^]qv]_proj', false],
    ['.*[\\w.-]_proj', true],
    ['.*\\x71_proj', true],
    ['.*\\u0071_proj', true],
    ['.*\\161_proj', true],
    ['.*\\_proj', true],
    ['model|q_proj', false],
    ['model.*|q_proj', true],
    ['', false],
  ])('%s', (pattern, expected) => {
    expect(pythonPattern(pattern)(name)).toBe(expected)
  })

  it('the dot, $ and \\Z treat line ends as Python does', () => {
    expect(pythonPattern('a.b')('a\rb')).toBe(true)
    expect(pythonPattern('a.b')('a\nb')).toBe(false)
    expect(pythonPattern('(?s)a.b')('a\nb')).toBe(true)
    expect(pythonPattern('(?m)a$\n^b')('a\nb')).toBe(true)
    expect(pythonPattern('a$', 'start')('a\n')).toBe(true)
    expect(pythonPattern('a\\Z', 'start')('a\n')).toBe(false)
    expect(pythonPattern('a{}')('a{}')).toBe(true)
    expect(pythonPattern('a{x}')('a{x}')).toBe(true)
  })

  it('`start` asks for a match from the start on, as re.match does', () => {
    expect(pythonPattern('model', 'start')(name)).toBe(true)
    expect(pythonPattern('layers', 'start')(name)).toBe(false)
    expect(pythonPattern('(.*\\.)?(q_proj)$', 'start')(name)).toBe(true)
  })

  it.each([
    ['*q_proj', /nothing to repeat at position 0/],
    ['a**', /multiple repeat/],
    ['(a', /unterminated subpattern/],
    ['a)', /unbalanced parenthesis/],
    ['[a', /unterminated character set/],
    ['[z-a]', /bad character range/],
    ['a{3,1}', /min repeat greater than max/],
    ['\\q', /bad escape \\q/],
    ['(?P<1>a)', /bad character in group name/],
    ['(?P=x)', /unknown group 'x'/],
    ['(\\1)', /open group/],
    ['a(?i)b', /global flags not at the start/],
    ['(a)?(?(1)b|c)', /depends on another/],
    ['(a)?b\\1', /may have taken no part/],
    ['(?:(a)|b)\\1', /may have taken no part/],
    ['(?<name>a)', /unknown extension/],
    ['\\N{BULLET}', /bad escape \\N/],
    ['(?L)a', /not at the start|unknown extension/],
  ])('%s is refused, naming the expression and the reason', (pattern, reason) => {
    expect(() => pythonPattern(pattern)).toThrow(UsageError)
    expect(() => pythonPattern(pattern)).toThrow(reason)
    expect(() => pythonPattern(pattern)).toThrow(pattern)
  })
})

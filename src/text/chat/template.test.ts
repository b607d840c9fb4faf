import { readFile } from 'node:fs/promises'
import { describe, expect, test } from 'vitest'
import { renderChat } from './template.js'
import { strftime } from './strftime.js'

interface Stored {
  template: string
  text?: string
  error?: string
}

const file = await readFile(new URL('../../../test/templates/cases.jsonl', import.meta.url), 'utf8')
const [{ variables }, ...stored] = file
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line) as unknown) as [{ variables: Record<string, unknown> }, ...Stored[]]

describe('a template gives the text that Transformers makes of it', () => {
  test.each(stored.filter((s) => s.text !== undefined).map((s) => [s.template, s.text]))(
    '%s',
    (template, text) => {
      expect(renderChat(template, variables)).toBe(text)
    },
  )
})

describe('what fails there fails here', () => {
  test.each(stored.filter((s) => s.error !== undefined).map((s) => [s.template, s.error]))(
    '%s (%s)',
    (template) => {
      expect(() => renderChat(template, variables)).toThrow()
    },
  )
})

const messages = ['system', 'user', 'assistant'].map((role) => ({ role, content: role[0].toUpperCase() }))

test('what was printed before a break or continue is kept', () => {
  const body = "[{{ m.role }}]{{ m.content }}{% if m.role == 'user' %};{% continue %}{% endif %}."
  expect(renderChat(`{% for m in messages %}${body}{% endfor %}`, { messages })).toBe(
    '[system]S.[user]U;[assistant]A.',
  )
  expect(
    renderChat(`{% for m in messages %}${body.replace('continue', 'break')}{% endfor %}!`, { messages }),
  ).toBe('[system]S.[user]U;!')
})

test('what the language has and this does not is refused by name', () => {
  expect(() => renderChat('{{ 1 < 2 < 3 }}', {})).toThrow('a chain of comparisons (at "<")')
  expect(() => renderChat('{% if a == b in c %}{% endif %}', {})).toThrow('a chain of comparisons')
  expect(() => renderChat('{{ 1_000 }}', {})).toThrow('the number 1_000')
  expect(() => renderChat("{{ 'a' | pprint }}", {})).toThrow("no filter named 'pprint'")
  expect(() => renderChat("{{ 'a' is escaped }}", {})).toThrow("no test named 'escaped'")
  expect(() => renderChat("{{ '%5.2f' % 1 }}", {})).toThrow('the format %5')
  expect(() => renderChat("{{ strftime_now('%Q') }}", {})).toThrow('strftime: %Q')
})

test('comparisons that only look like a chain are none', () => {
  const template =
    "{% for m in messages if m.role in ['user'] and m.content == 'U' or not m.role == 'x' %}" +
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ loop.index }}{% endif %}{% endfor %}" +
    "{{ 'a' in 'abc' and 'b' not in 'c' }}{{ [1 == 1, 2 > 1] }}"
  expect(renderChat(template, { messages })).toBe('123True[True, True]')
})

test('dates are written in English, with the zeros that are asked for', () => {
  const date = new Date(2024, 6, 4, 9, 5, 3)
  expect(strftime(date, '%d %b %Y, %A %-d %B %y %H:%M:%S %I %p %j %%')).toBe(
    '04 Jul 2024, Thursday 4 July 24 09:05:03 09 AM 186 %',
  )
})

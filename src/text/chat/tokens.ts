/** @file From a template's text to tokens: what Jinja does with lines and numbers, and the library's lexer does not. */
import { tokenize } from '@huggingface/jinja'
import { isComparison } from './operators.js'
import { TemplateFault } from './values.js'

type Token = ReturnType<typeof tokenize>[number]

/** Where the tag that begins at `from` ends: behind its `close`, which no string or inner brace hides. */
const endOfTag = (source: string, from: number, close: string): number => {
  let quote = ''
  let depth = 0
  for (let i = from + 2; i < source.length; i++) {
    const c = source[i]
    if (quote !== '') {
      if (c === '\\') i++
      else if (c === quote) quote = ''
    } else if (close !== '#}' && (c === '"' || c === "'")) quote = c
    else if (depth === 0 && source.startsWith(close, i)) return i + 2
    else if (close === '}}' && c === '{') depth++
    else if (close === '}}' && c === '}') depth--
  }
  return source.length
}

/** `text` without the blanks of a line that only they begin. */
const withoutIndent = (text: string, startsLine: boolean): string => {
  const line = text.lastIndexOf('\n') + 1
  return (line > 0 || startsLine) && /^[ \t]*$/.test(text.slice(line)) ? text.slice(0, line) : text
}

/**
 * The template with lstrip_blocks and trim_blocks done, as Transformers sets them: a statement or comment takes the
 * blanks before it on its line and the line end after it, unless a `+` keeps them. Line ends become \n.
 */
export const trimmed = (template: string): string => {
  const source = template.replace(/\r\n?/g, '\n')
  let out = ''
  let startsLine = true
  for (let i = 0; i < source.length;) {
    const offset = source.slice(i).search(/\{[%#{]/)
    if (offset < 0) return out + source.slice(i)
    const open = i + offset
    const isTag = source[open + 1] !== '{'
    const keeps = source[open + 2] === '+'
    const text = source.slice(i, open)
    out += isTag && !keeps ? withoutIndent(text, startsLine) : text
    const end = endOfTag(source, open, { '%': '%}', '#': '#}' }[source[open + 1]] ?? '}}')
    const tag = source.slice(open, end)
    const keepsEnd = isTag && tag.at(-3) === '+'
    out += isTag ? tag.replace(/^(\{[%#])\+/, '$1').replace(/\+([%#]\})$/, '$1') : tag
    startsLine = isTag && !keepsEnd && source[end] === '\n'
    i = startsLine ? end + 1 : end
  }
  return out
}

const opening = ['OpenParen', 'OpenSquareBracket', 'OpenCurlyBracket']
const closing = ['CloseParen', 'CloseSquareBracket', 'CloseCurlyBracket']
const dividing = [
  ...['OpenStatement', 'OpenExpression', 'CloseStatement', 'CloseExpression'],
  ...['Comma', 'Colon', 'Equals'],
]
const words = ['and', 'or', 'not', 'if', 'else']

/** The library reads `a == b == c` as `(a == b) == c`; in Python it is `a == b and b == c`. */
const refuseChains = (tokens: readonly Token[]): void => {
  const compared = [false]
  let isLoop = false
  tokens.forEach(({ type, value }, i) => {
    const isWord = type === 'Identifier'
    if (type === 'OpenStatement') isLoop = tokens[i + 1]?.value === 'for'
    if (opening.includes(type)) compared.push(false)
    else if (closing.includes(type)) compared.pop()
    else if (dividing.includes(type) || (isWord && words.includes(value) && tokens[i + 1]?.value !== 'in'))
      compared[compared.length - 1] = false
    else if (isComparison(value) && (type === 'ComparisonBinaryOperator' || isWord)) {
      if (isLoop && value === 'in') isLoop = false
      else if (compared.at(-1))
        throw new TemplateFault(`a chain of comparisons (at "${value}"); write it with "and"`)
      else compared[compared.length - 1] = true
    }
  })
}

const afterNumbers = ['and', 'or', 'if', 'else', 'is', 'in', 'not']

/** Numbers with an exponent, which the library reads as a number and a name. */
const withExponents = (tokens: readonly Token[]): Token[] => {
  const out: Token[] = []
  for (let i = 0; i < tokens.length; i++) {
    const [number, name, sign, power] = tokens.slice(i, i + 4)
    out.push(number)
    if (number.type !== 'NumericLiteral' || name?.type !== 'Identifier') continue
    const isWhole = /^e\d+$/i.test(name.value)
    const isSigned =
      /^e$/i.test(name.value) && /^[+-]$/.test(sign?.value ?? '') && power?.type === 'NumericLiteral'
    if (isWhole || isSigned) {
      // With a point, so that the parser takes it for a float.
      const mantissa = number.value.includes('.') ? number.value : `${number.value}.`
      const exponent = isWhole ? name.value : `e${sign.value}${power.value}`
      out[out.length - 1] = { value: mantissa + exponent, type: 'NumericLiteral' }
      i += isWhole ? 1 : 3
    } else if (!afterNumbers.includes(name.value))
      throw new TemplateFault(`the number ${number.value}${name.value} is not known`)
  }
  return out
}

/** The tokens of a template. Throws a SyntaxError or TemplateFault for one that cannot be read. */
export const tokensOf = (template: string): Token[] => {
  const tokens = withExponents(tokenize(trimmed(template)))
  refuseChains(tokens)
  return tokens
}

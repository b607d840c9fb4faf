/**
 * @file Python's regular expressions (the module `re` of Python 3.11 and later) as JavaScript's. PEFT's configs and saved
 * adapters name modules by them. What has no counterpart is refused, never read as something else.
 */
import { UsageError } from '../errors.js'

/** Where an expression must match: the whole text (`re.fullmatch`), or from its start (`re.match`). */
export type Anchor = 'whole' | 'start'

/**
 * The test that a Python expression is. Throws UsageError `BadPattern` for what is no expression of Python's, or one that
 * JavaScript cannot follow: conditional groups, named characters, a reference to a group that may have taken no part.
 */
export const pythonPattern = (pattern: string, anchor: Anchor = 'whole'): ((text: string) => boolean) => {
  const { source, flags } = new Translation(pattern).result()
  const expression = new RegExp(anchor === 'whole' ? `^(?:${source})${endOfText}` : `^(?:${source})`, flags)
  return (text) => expression.test(text)
}

const endOfText = '(?![^])'
const startOfText = '(?<![^])'

/** Flags of a part of an expression; those of Unicode and ASCII make no difference to names. */
interface Scope {
  readonly ignoreCase: boolean
  readonly multiline: boolean
  readonly dotAll: boolean
  readonly verbose: boolean
}

const flagNames: Readonly<Record<string, keyof Scope | 'none'>> = {
  i: 'ignoreCase',
  m: 'multiline',
  s: 'dotAll',
  x: 'verbose',
  a: 'none',
  u: 'none',
}

/** Escapes that stand for one character. */
const characters: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11 }

/** One character, in JavaScript's `u` notation. */
const literal = (code: number): string => `\\u{${code.toString(16)}}`

const otherCase = (code: number): number | undefined => {
  const character = String.fromCodePoint(code)
  const other = character === character.toLowerCase() ? character.toUpperCase() : character.toLowerCase()
  return other === character || [...other].length !== 1 ? undefined : other.codePointAt(0)
}

class Translation {
  private at = 0
  /** Python's groups that are complete, by number and by name: their names here. */
  private readonly groups = new Map<string, string>()
  private readonly open = new Set<string>()
  private readonly uncertain = new Set<string>()
  private count = 0
  private atomic = 0
  private global: Scope = { ignoreCase: false, multiline: false, dotAll: false, verbose: false }

  constructor(private readonly pattern: string) {}

  result(): { readonly source: string; readonly flags: string } {
    this.leadingFlags()
    const source = this.alternatives(this.global)
    if (this.at < this.pattern.length) this.fail('unbalanced parenthesis')
    return { source, flags: 'u' }
  }

  private fail(reason: string): never {
    throw new UsageError(
      'BadPattern',
      `'${this.pattern}' is no regular expression of Python's that Weft can follow: ${reason} at position ${this.at}`,
    )
  }

  private taken(text: string): boolean {
    if (!this.pattern.startsWith(text, this.at)) return false
    this.at += text.length
    return true
  }

  /** What `expression` (sticky) matches here, passed over. */
  private match(expression: RegExp): RegExpExecArray | null {
    expression.lastIndex = this.at
    const matched = expression.exec(this.pattern)
    if (matched) this.at += matched[0].length
    return matched
  }

  private leadingFlags(): void {
    let matched: RegExpExecArray | null
    while ((matched = this.match(/\(\?([aimsux]+)\)/y))) this.global = this.scope(this.global, matched[1], '')
  }

  private scope(outer: Scope, on: string, off: string): Scope {
    const change = (flags: string, value: boolean): [string, boolean][] =>
      [...flags].map((flag) => [flagNames[flag], value])
    return { ...outer, ...Object.fromEntries([...change(on, true), ...change(off, false)]) }
  }

  private alternatives(scope: Scope): string {
    const branches: string[] = []
    const begun = this.count
    do branches.push(this.branch(scope))
    while (this.taken('|') && this.mayBeAbsent(begun))
    if (branches.length > 1) this.mayBeAbsent(begun)
    return branches.join('|')
  }

  /** Marks the groups opened since there were `begun` as ones that may take no part. */
  private mayBeAbsent(begun: number): true {
    for (let n = begun + 1; n <= this.count; n++) this.uncertain.add(`g${n}`)
    return true
  }

  private branch(scope: Scope): string {
    let source = ''
    while (this.at < this.pattern.length && !/[|)]/.test(this.pattern[this.at])) {
      if (scope.verbose && this.match(/\s+|#[^\n]*/y)) continue
      const begun = this.count
      source += this.repeated(this.atom(scope), begun, scope)
    }
    return source
  }

  /** An atom with the repetition behind it. */
  private repeated(atom: string, begun: number, scope: Scope): string {
    if (scope.verbose) this.match(/(?:\s+|#[^\n]*)*/y)
    const matched = this.match(/[*+?]|\{(?=\d|,)(\d*)(?:(,)(\d*))?\}/y)
    if (!matched) return atom
    if (atom === '') this.fail('nothing to repeat')
    const [whole, least, comma, most] = matched
    if (most && Number(most) < Number(least)) this.fail('min repeat greater than max repeat')
    const repetition = least === undefined ? whole : `{${least || '0'}${comma ?? ''}${most ?? ''}}`
    if (/^[*?]|^\{0*[,}]/.test(repetition)) this.mayBeAbsent(begun)
    const repeated = `(?:${atom})${repetition}`
    const result = this.taken('?') ? `${repeated}?` : this.taken('+') ? this.committed(repeated) : repeated
    if (/[*+?]/.test(this.pattern[this.at] ?? '')) this.fail('multiple repeat')
    return result
  }

  /** What matches as `source` does and gives nothing back: an atomic group. */
  private committed(source: string): string {
    const name = `p${++this.atomic}`
    return `(?:(?=(?<${name}>${source}))\\k<${name}>)`
  }

  private atom(scope: Scope): string {
    if (this.taken('(')) return this.group(scope)
    if (this.taken('[')) return this.set(scope)
    if (this.taken('\\')) return this.escape(scope)
    if (this.taken('.')) return scope.dotAll ? '[^]' : '[^\\n]'
    if (this.taken('^')) return scope.multiline ? '(?<![^\\n])' : startOfText
    if (this.taken('$')) return scope.multiline ? '(?![^\\n])' : `(?=\\n?${endOfText})`
    if (/[*+?]/.test(this.pattern[this.at])) this.fail('nothing to repeat')
    return this.character(this.next(), scope)
  }

  private next(): number {
    const code = this.pattern.codePointAt(this.at)
    if (code === undefined) this.fail('unexpected end of pattern')
    this.at += code > 0xffff ? 2 : 1
    return code
  }

  private character(code: number, { ignoreCase }: Scope): string {
    const other = ignoreCase ? otherCase(code) : undefined
    return other === undefined ? literal(code) : `[${literal(code)}${literal(other)}]`
  }

  private closed(source: string): string {
    if (!this.taken(')')) this.fail('missing ), unterminated subpattern')
    return source
  }

  private group(scope: Scope): string {
    if (!this.taken('?')) return this.capture(scope)
    const named = this.match(/P<([^>]*)>/y)
    if (named) return this.capture(scope, named[1])
    const reference = this.match(/P=([^)]*)\)/y)
    if (reference) return this.reference(reference[1], scope)
    if (this.match(/#[^)]*\)/y)) return ''
    if (this.taken(':')) return this.closed(`(?:${this.alternatives(scope)})`)
    const around = this.match(/<?[=!]/y)
    if (around) return this.closed(`(?:(?${around[0]}${this.alternatives(scope)}))`)
    if (this.taken('>')) return this.closed(this.committed(this.alternatives(scope)))
    const flags = this.match(/([aimsux]*)(?:-([imsx]+))?:/y)
    if (flags) return this.closed(`(?:${this.alternatives(this.scope(scope, flags[1], flags[2] ?? ''))})`)
    if (this.match(/[aiLmsux]+\)/y)) this.fail('global flags not at the start of the expression')
    if (this.taken('(')) this.fail('a group that depends on another, which JavaScript has not,')
    return this.fail('unknown extension')
  }

  private capture(scope: Scope, name?: string): string {
    const number = String(++this.count)
    if (name !== undefined && !/^[A-Za-z_]\w*$/.test(name)) this.fail(`bad character in group name '${name}'`)
    if (name !== undefined && this.groups.has(name)) this.fail(`redefinition of group name '${name}'`)
    const group = `g${number}`
    for (const key of name === undefined ? [number] : [number, name]) this.groups.set(key, group)
    this.open.add(group)
    const source = this.closed(`(?<${group}>${this.alternatives(scope)})`)
    this.open.delete(group)
    return source
  }

  private reference(key: string, { ignoreCase }: Scope): string {
    const group = this.groups.get(key)
    if (group === undefined) this.fail(`unknown group '${key}'`)
    if (this.open.has(group)) this.fail(`cannot refer to the open group '${key}'`)
    if (this.uncertain.has(group)) this.fail(`a reference to group '${key}', which may have taken no part,`)
    if (ignoreCase) this.fail(`a reference to group '${key}' without regard to case`)
    return `\\k<${group}>`
  }

  private escape(scope: Scope): string {
    if (this.taken('A')) return startOfText
    if (this.taken('Z')) return endOfText
    const class_ = this.match(/[bBdDsSwW]/y)
    if (class_) return `\\${class_[0]}`
    const octal = this.match(/0[0-7]{0,2}|[0-3][0-7]{2}/y)
    if (octal) return this.character(parseInt(octal[0], 8), scope)
    const reference = this.match(/[1-9]\d?/y)
    if (reference) return this.reference(reference[0], scope)
    return this.character(this.escaped(), scope)
  }

  /** The character that an escape stands for, in and outside of sets. */
  private escaped(): number {
    const hexadecimal = this.match(/x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})/y)
    if (hexadecimal) return parseInt(hexadecimal.slice(1).find(Boolean)!, 16)
    const code = this.next()
    const character = String.fromCodePoint(code)
    if (character in characters) return characters[character]
    if (/[A-Za-z0-9]/.test(character)) this.fail(`bad escape \\${character}`)
    return code
  }

  private set(scope: Scope): string {
    const begin = this.taken('^') ? '[^' : '['
    let source = begin
    for (let first = true; first || !this.taken(']'); first = false) {
      if (this.at >= this.pattern.length) this.fail('unterminated character set')
      source += this.member(scope)
    }
    return `${source}]`
  }

  /** One class, character or range of a set. */
  private member(scope: Scope): string {
    const class_ = this.match(/\\([dDsSwW])/y)
    if (class_) return class_[0]
    const low = this.setCharacter()
    if (!this.match(/-(?!\])/y)) return this.range(low, low, scope)
    if (this.match(/\\[dDsSwW]/y)) this.fail('bad character range')
    const high = this.setCharacter()
    if (high < low) this.fail('bad character range')
    return this.range(low, high, scope)
  }

  private setCharacter(): number {
    if (!this.taken('\\')) return this.next()
    const octal = this.match(/[0-7]{1,3}/y)
    return octal ? parseInt(octal[0], 8) : this.escaped()
  }

  private range(low: number, high: number, { ignoreCase }: Scope): string {
    const range = low === high ? literal(low) : `${literal(low)}-${literal(high)}`
    if (!ignoreCase) return range
    const others: string[] = []
    for (let code = low; code <= Math.min(high, low + 0x3ff); code++) {
      const other = otherCase(code)
      if (other !== undefined) others.push(literal(other))
    }
    return range + others.join('')
  }
}

/**
 * @file The part of Python's pickle format that PyTorch's state dicts use, read without running anything: opcodes that build
 * dictionaries, lists, tuples and numbers, and calls of the few functions that a reader knows. Anything else is refused.
 */
import { CheckpointError } from '../../errors.js'

/** A tuple: a list that no opcode adds to. */
export class PickleTuple {
  constructor(readonly items: readonly unknown[]) {}
}

/** A class or function that a pickle names. */
export class PickleGlobal {
  constructor(
    /** Module and name: 'collections.OrderedDict'. */
    readonly name: string,
    /** What stands for calling it; undefined where it is named only. */
    readonly call?: (args: readonly unknown[]) => unknown,
  ) {}
}

/** What a pickle may name and refer to. */
export interface PickleRules {
  /** By module and name. */
  readonly globals: ReadonlyMap<string, PickleGlobal>
  /** What a persistent id stands for. */
  persistent(id: unknown): unknown
}

/** Thrown where the bytes end before the pickle does: there may be more of it. */
export class PickleEnds extends Error {}

/** Opcodes by their codes (Python's pickletools), for messages and the table below. */
const opcodeNames: Readonly<Record<number, string>> = {
  0x28: 'MARK',
  0x29: 'EMPTY_TUPLE',
  0x2e: 'STOP',
  0x30: 'POP',
  0x31: 'POP_MARK',
  0x32: 'DUP',
  0x42: 'BINBYTES',
  0x43: 'SHORT_BINBYTES',
  0x46: 'FLOAT',
  0x47: 'BINFLOAT',
  0x49: 'INT',
  0x4a: 'BININT',
  0x4b: 'BININT1',
  0x4c: 'LONG',
  0x4d: 'BININT2',
  0x4e: 'NONE',
  0x50: 'PERSID',
  0x51: 'BINPERSID',
  0x52: 'REDUCE',
  0x53: 'STRING',
  0x54: 'BINSTRING',
  0x55: 'SHORT_BINSTRING',
  0x56: 'UNICODE',
  0x58: 'BINUNICODE',
  0x5d: 'EMPTY_LIST',
  0x61: 'APPEND',
  0x62: 'BUILD',
  0x63: 'GLOBAL',
  0x64: 'DICT',
  0x65: 'APPENDS',
  0x67: 'GET',
  0x68: 'BINGET',
  0x69: 'INST',
  0x6a: 'LONG_BINGET',
  0x6c: 'LIST',
  0x6f: 'OBJ',
  0x70: 'PUT',
  0x71: 'BINPUT',
  0x72: 'LONG_BINPUT',
  0x73: 'SETITEM',
  0x74: 'TUPLE',
  0x75: 'SETITEMS',
  0x7d: 'EMPTY_DICT',
  0x80: 'PROTO',
  0x81: 'NEWOBJ',
  0x82: 'EXT1',
  0x83: 'EXT2',
  0x84: 'EXT4',
  0x85: 'TUPLE1',
  0x86: 'TUPLE2',
  0x87: 'TUPLE3',
  0x88: 'NEWTRUE',
  0x89: 'NEWFALSE',
  0x8a: 'LONG1',
  0x8b: 'LONG4',
  0x8c: 'SHORT_BINUNICODE',
  0x8d: 'BINUNICODE8',
  0x8e: 'BINBYTES8',
  0x8f: 'EMPTY_SET',
  0x90: 'ADDITEMS',
  0x91: 'FROZENSET',
  0x92: 'NEWOBJ_EX',
  0x93: 'STACK_GLOBAL',
  0x94: 'MEMOIZE',
  0x95: 'FRAME',
  0x96: 'BYTEARRAY8',
  0x97: 'NEXT_BUFFER',
  0x98: 'READONLY_BUFFER',
}

/** The highest protocol whose opcodes are known. */
const highestProtocol = 5

class Unpickler {
  private readonly view: DataView
  private readonly stack: unknown[] = []
  /** Heights of the stack at the marks that are open. */
  private readonly marks: number[] = []
  private readonly memo = new Map<number, unknown>()
  /** Place of the opcode that is run, and of the next byte. */
  private opcode = 0
  private next: number

  constructor(
    private readonly bytes: Uint8Array,
    start: number,
    private readonly shown: string,
    private readonly rules: PickleRules,
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.next = start
  }

  run(): { value: unknown; end: number } {
    for (;;) {
      this.opcode = this.next
      const code = this.bytes[this.take(1)]
      const name = opcodeNames[code]
      if (name === 'STOP') return { value: this.pop(), end: this.next }
      const act = Object.hasOwn(this.actions, name ?? '') ? this.actions[name] : undefined
      if (act === undefined)
        this.fail(
          `opcode ${name ?? 'unknown'} (0x${code.toString(16).padStart(2, '0')})`,
          'no state dict needs it',
        )
      act()
    }
  }

  private fail(what: string, why: string): never {
    throw new CheckpointError(
      'ForeignPickle',
      `${this.shown}: ${what} at byte ${this.opcode} of the pickle: ${why}. Nothing was executed.`,
      { hint: 'Save the tensors alone: a state dict, or better a safetensors file.' },
    )
  }

  /** The place of the next `count` bytes, which are passed. */
  private take(count: number): number {
    const at = this.next
    if (count > this.bytes.length - at) throw new PickleEnds(`${this.shown}: the pickle is cut off`)
    this.next = at + count
    return at
  }

  private pop(): unknown {
    const height = this.marks[this.marks.length - 1] ?? 0
    if (this.stack.length <= height) this.fail('an empty stack', 'the pickle is damaged')
    return this.stack.pop()
  }

  private top(): unknown {
    const value = this.pop()
    this.stack.push(value)
    return value
  }

  /** What stands above the last mark, which is taken away with it. */
  private sinceMark(): unknown[] {
    const height = this.marks.pop()
    if (height === undefined) this.fail('no mark', 'the pickle is damaged')
    return this.stack.splice(height!)
  }

  private text(length: number): string {
    const at = this.take(length)
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.bytes.subarray(at, at + length))
    } catch {
      return this.fail('a text that is no UTF-8', 'the pickle is damaged')
    }
  }

  private line(): string {
    const end = this.bytes.indexOf(0x0a, this.next)
    if (end < 0) throw new PickleEnds(`${this.shown}: the pickle is cut off`)
    const text = this.text(end - this.next)
    this.next = end + 1
    return text
  }

  /** A whole number of `count` bytes, the least first: bigint where it is beyond the safe ones. */
  private long(count: number): number | bigint {
    const at = this.take(count)
    let value = 0n
    for (let i = count - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.bytes[at + i])
    if (count > 0 && this.bytes[at + count - 1] & 0x80) value -= 1n << BigInt(8 * count)
    const number = Number(value)
    return Number.isSafeInteger(number) ? number : value
  }

  private global(name: string): PickleGlobal {
    const permitted = this.rules.globals.get(name)
    return (
      permitted ??
      this.fail(
        `${opcodeNames[this.bytes[this.opcode]]} names ${name}`,
        'it is none of what state dicts name',
      )
    )
  }

  private remembered(key: number): unknown {
    if (!this.memo.has(key)) this.fail(`nothing remembered as ${key}`, 'the pickle is damaged')
    return this.memo.get(key)
  }

  private extend(items: readonly unknown[]): void {
    const list = this.top()
    if (!Array.isArray(list)) return this.fail('no list to append to', 'the pickle is damaged')
    for (const item of items) list.push(item)
  }

  private assign(items: readonly unknown[]): void {
    const map = this.top()
    if (!(map instanceof Map) || items.length % 2)
      return this.fail('no dictionary to fill', 'the pickle is damaged')
    for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1])
  }

  private reduce(): void {
    const args = this.pop()
    const called = this.pop()
    if (!(called instanceof PickleGlobal) || !called.call || !(args instanceof PickleTuple))
      return this.fail('REDUCE', `it calls ${called instanceof PickleGlobal ? called.name : 'no function'}`)
    this.stack.push(called.call(args.items))
  }

  /** Attributes of a dictionary (versions of modules) are passed over. */
  private build(): void {
    const state = this.pop()
    if (!(this.top() instanceof Map && state instanceof Map))
      this.fail('BUILD', 'it sets the state of an object')
  }

  private tuple(count: number): void {
    const items = Array.from({ length: count }, () => this.pop()).reverse()
    this.stack.push(new PickleTuple(items))
  }

  private readonly push = (value: unknown): void => void this.stack.push(value)

  private readonly actions: Readonly<Record<string, () => void>> = {
    PROTO: () => {
      const protocol = this.bytes[this.take(1)]
      if (protocol > highestProtocol)
        this.fail(`protocol ${protocol}`, `the highest known is ${highestProtocol}`)
    },
    FRAME: () => void this.take(8),
    MARK: () => void this.marks.push(this.stack.length),
    NONE: () => this.push(null),
    NEWTRUE: () => this.push(true),
    NEWFALSE: () => this.push(false),
    BININT: () => this.push(this.view.getInt32(this.take(4), true)),
    BININT1: () => this.push(this.bytes[this.take(1)]),
    BININT2: () => this.push(this.view.getUint16(this.take(2), true)),
    LONG1: () => this.push(this.long(this.bytes[this.take(1)])),
    BINFLOAT: () => this.push(this.view.getFloat64(this.take(8))),
    BINUNICODE: () => this.push(this.text(this.view.getUint32(this.take(4), true))),
    SHORT_BINUNICODE: () => this.push(this.text(this.bytes[this.take(1)])),
    EMPTY_DICT: () => this.push(new Map()),
    EMPTY_LIST: () => this.push([]),
    EMPTY_TUPLE: () => this.push(new PickleTuple([])),
    TUPLE1: () => this.tuple(1),
    TUPLE2: () => this.tuple(2),
    TUPLE3: () => this.tuple(3),
    TUPLE: () => this.push(new PickleTuple(this.sinceMark())),
    APPEND: () => this.extend([this.pop()]),
    APPENDS: () => this.extend(this.sinceMark()),
    SETITEM: () => {
      const value = this.pop()
      this.assign([this.pop(), value])
    },
    SETITEMS: () => this.assign(this.sinceMark()),
    BINPUT: () => void this.memo.set(this.bytes[this.take(1)], this.top()),
    LONG_BINPUT: () => void this.memo.set(this.view.getUint32(this.take(4), true), this.top()),
    MEMOIZE: () => void this.memo.set(this.memo.size, this.top()),
    BINGET: () => this.push(this.remembered(this.bytes[this.take(1)])),
    LONG_BINGET: () => this.push(this.remembered(this.view.getUint32(this.take(4), true))),
    GLOBAL: () => {
      const module = this.line()
      this.push(this.global(`${module}.${this.line()}`))
    },
    STACK_GLOBAL: () => {
      const name = this.pop()
      this.push(this.global(`${String(this.pop())}.${String(name)}`))
    },
    BINPERSID: () => this.push(this.rules.persistent(this.pop())),
    REDUCE: () => this.reduce(),
    BUILD: () => this.build(),
  }
}

/**
 * The value of the pickle that begins at byte `start` of `bytes` [n], and where it ends. Dictionaries are Maps, tuples
 * PickleTuples. Throws CheckpointError (ForeignPickle) naming opcode and place for whatever `rules` do not know, and
 * PickleEnds where the bytes end first. shown: the file in messages.
 */
export const unpickle = (
  bytes: Uint8Array,
  rules: PickleRules,
  { shown, start = 0 }: { readonly shown: string; readonly start?: number },
): { value: unknown; end: number } => new Unpickler(bytes, start, shown, rules).run()

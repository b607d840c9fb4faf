/** @file Files to which lines are appended. A line that a killed writer or a full disk left torn never costs the next one. */
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from 'node:fs'
import { promisify } from 'node:util'
import { FileRefused } from './contained.js'

/** The byte that ends a line. */
export const newline = 0x0a

const toDisk = promisify(fdatasync)

/** Appends lines to one file, which is made when it is missing. Opening throws FileRefused where it is no regular file. */
export class LineFile {
  private readonly file: number

  /** Throws FileRefused for what is no regular file. `mode`: permissions of a new file; default 0o666. */
  constructor(path: string, mode?: number) {
    const flags = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK
    this.file = openSync(path, flags, mode)
    if (fstatSync(this.file).isFile()) return
    closeSync(this.file)
    throw new FileRefused('FileNotRegular', `${path} is not a regular file`)
  }

  /** Bytes. */
  get size(): number {
    return fstatSync(this.file).size
  }

  /**
   * Appends `line`, a newline behind it, and before it where the file ends in the middle of a line. It is in the system's
   * hands when this returns: killing the process does not lose it. Returns the size of the file.
   */
  append(line: string): number {
    this.write(`${this.isTorn() ? '\n' : ''}${line}\n`)
    return this.size
  }

  /** Ends the last line where it has no end. */
  endLine(): void {
    if (this.isTorn()) this.write('\n')
  }

  /** Removes what stands behind the first `size` bytes. */
  truncate(size: number): void {
    ftruncateSync(this.file, size)
  }

  private write(text: string): void {
    const bytes = new TextEncoder().encode(text)
    for (let done = 0; done < bytes.length;) done += writeSync(this.file, bytes, done)
  }

  private isTorn(): boolean {
    const { size } = this
    const last = new Uint8Array(1)
    return size > 0 && readSync(this.file, last, 0, 1, size - 1) === 1 && last[0] !== newline
  }

  /** Brings what was appended to the disk. */
  sync(): Promise<void> {
    return toDisk(this.file)
  }

  /** Closes the file. */
  close(): void {
    closeSync(this.file)
  }
}

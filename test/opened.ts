/** @file Checkpoints that tests open and need not close: all are when the tests of the file are done. */
import { open } from '../src/checkpoint/index.js'
import { hold } from './held.js'

/** The checkpoint that `open` opens, for the tests of this file. Throws what `open` throws. */
export const opened: typeof open = async (...given) => hold(await open(...given))

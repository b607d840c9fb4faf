/** @file A process that copies the weights of a file in float32: float-copies.test.ts runs it. Arguments: the file, the cache. It prints the copy's inode. */
import { statSync } from 'node:fs'
import { floatCopies, open } from '../src/checkpoint/index.js'

const [source, folder] = process.argv.slice(2)
const checkpoint = await open(source)
const place = await floatCopies(checkpoint, { folder, least: 1 }).place(checkpoint.info('a'))
await place!.prepare()
console.log(statSync(place!.path).ino)
await checkpoint.close()

/** @file What the tests of a file hold until they are all done. */
const held: AsyncDisposable[] = []

/** Keeps `thing` until the tests of this file are done, and disposes of it then. */
export const hold = <T extends AsyncDisposable>(thing: T): T => {
  held.push(thing)
  return thing
}

/** Disposes of all that is held: after the last test of a file, by open-files.ts. */
export const release = async (): Promise<void> => {
  for (const thing of held.splice(0)) await thing[Symbol.asyncDispose]()
}

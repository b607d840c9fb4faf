/** @file Taking folders back that were made for work which was then refused. */
import { rm, rmdir } from 'node:fs/promises'
import { dirname, resolve, sep } from 'node:path'

/**
 * Removes `folder` with what is in it, and of the folders around it those that were made with it (`made` is what `mkdir`
 * gave: the outermost), as far as they are empty: other work may lie in them by now.
 */
export const removeMade = async (folder: string, made: string): Promise<void> => {
  await rm(folder, { recursive: true, force: true })
  let parent = dirname(resolve(folder))
  while (`${parent}${sep}`.startsWith(`${resolve(made)}${sep}`)) {
    const isGone = await rmdir(parent).then(
      () => true,
      () => false,
    )
    if (!isGone) return
    parent = dirname(parent)
  }
}

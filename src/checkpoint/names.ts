/** @file Names that files and folders have, known without a disk. */

/** Prefix that PEFT puts before a module's name: `base_model.model.<module>.lora_A.weight`. Prompt methods carry no prefix. */
export const adapterPrefix = 'base_model.model.'

/** The hub id of a snapshot's folder in a cache: `.../models--org--name/snapshots/COMMIT` -> `org/name`. */
export const hubIdOf = (folder: string): string | undefined =>
  /(?:^|[\\/])models--([^\\/]+)[\\/]snapshots[\\/][^\\/]+[\\/]*$/.exec(folder)?.[1].replace('--', '/')

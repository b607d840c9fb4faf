/** @file What lies beside the weights of a merged model: files that are copied, files that are written anew. */
import { join } from 'node:path'
import {
  type Checkpoint,
  decodeText,
  diskFiles,
  formatJson,
  isFile,
  isFolder,
  type JsonObject,
  parseJsonObject,
} from '../../../checkpoint/index.js'

/** The files beside the weights. */
export interface Companions {
  /** The folder whose tokenizer, generation and preprocessing settings are copied; absent where there is none on disk. */
  readonly folder?: string
  /** What of it is not copied. */
  readonly leave: readonly string[]
  /** Texts by file name: they take the place of what is copied. */
  readonly files: Readonly<Record<string, string>>
}

const readText = async (folder: string, name: string): Promise<string | undefined> => {
  if (!(await isFile(join(folder, name)))) return undefined
  const file = await diskFiles(folder).open(name)
  try {
    const bytes = new Uint8Array(file.size)
    await file.read(bytes, 0)
    return decodeText(bytes, join(folder, name))
  } finally {
    await file.close()
  }
}

/** The files beside an opened checkpoint, as they are. */
export const companionsOf = async ({ folder }: Checkpoint): Promise<Companions> => {
  return { ...((await isFolder(folder)) ? { folder } : {}), leave: [], files: {} }
}

/** The text of the file `name`; undefined where there is none. */
export const companionText = async (
  { folder, leave, files }: Companions,
  name: string,
): Promise<string | undefined> => {
  if (Object.hasOwn(files, name)) return files[name]
  return folder === undefined || leave.includes(name) ? undefined : readText(folder, name)
}

/** The file `name` as a JSON object; undefined where there is none. Throws CheckpointError where it is none. */
export const companionJson = async (from: Companions, name: string): Promise<JsonObject | undefined> => {
  const text = await companionText(from, name)
  return text === undefined ? undefined : parseJsonObject(text, join(from.folder ?? '', name))
}

/** `json` as the text of a file. */
export const jsonText = (json: JsonObject): string => `${formatJson(json)}\n`

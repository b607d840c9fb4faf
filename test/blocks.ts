/** @file The blocks of code in a page of Markdown, and the commands in them. */

/** A block: its language, the name of the file that it shows, if it names one, and its text. */
export interface Block {
  readonly language: string
  readonly file: string
  readonly text: string
}

/** Blocks of a page, in order. */
export const blocksOf = (page: string): Block[] =>
  [...page.matchAll(/^```(\w*) ?(\S*)\n([\s\S]*?)^```$/gm)].map(([, language, file, text]) => ({
    language,
    file,
    text,
  }))

/** Words behind `weft` of a line, without `npx` and a comment; none of other programs. */
const wordsOf = (line: string): string[][] => {
  const command = line.replace(/^npx /, '').replace(/\s+#\s.*$/, '')
  if (!command.startsWith('weft ')) return []
  const words = command.match(/(?:'[^']*'|[^\s'])+/g) ?? []
  return [words.map((word) => word.replaceAll("'", '')).slice(1)]
}

/** Weft's commands in the blocks of a page, in order, each as its words behind `weft`. */
export const commandsOf = (page: string): string[][] =>
  blocksOf(page).flatMap(({ text }) => text.split('\n').flatMap(wordsOf))

/** Weft's commands in one block. */
export const commandsIn = ({ text }: Block): string[][] => text.split('\n').flatMap(wordsOf)

/** @file Text as an index can hold it. */

/** Without NUL, and without halves of surrogate pairs: PostgreSQL has neither in text or JSON. */
export const storable = (text: string): string => Buffer.from(text.replaceAll('\0', '')).toString()

/** The pattern of the golden tests of `name`, as a whole name. */
export const patternFor: (name: string) => string

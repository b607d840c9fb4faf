/** @file placeholder */
export interface CacheOptions {}
export interface Decoder {}
export const decoder = (): void => {}

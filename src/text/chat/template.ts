/** @file Chat templates. */
import { Template } from '@huggingface/jinja'

export const renderChat = (source: string, variables: Record<string, unknown>): string =>
  new Template(source).render(variables)

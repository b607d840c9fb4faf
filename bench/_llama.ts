/** @file node-llama-cpp, where it is installed, on a GGUF: tokens by their ids, as many threads as Weft has. */
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'
import { threads } from './_peers.js'

const version = '3.21.1'

interface Sequence {
  clearHistory(): Promise<void>
  evaluate(tokens: number[], options: { temperature: number; yieldEogToken: boolean }): AsyncGenerator<number>
  evaluateWithoutGeneratingNewTokens(tokens: number[]): Promise<void>
}
interface LlamaModule {
  getLlama(options: object): Promise<{
    loadModel(
      options: object,
    ): Promise<{ createContext(options: object): Promise<{ getSequence(): Sequence }> }>
  }>
}

/** Where WEFT_LLAMA (a folder with node_modules) or the project has node-llama-cpp; undefined where neither has. */
const load = async (): Promise<LlamaModule | undefined> => {
  const from = process.env.WEFT_LLAMA ? `${process.env.WEFT_LLAMA}/` : import.meta.url
  try {
    const path = createRequire(from).resolve('node-llama-cpp')
    return (await import(pathToFileURL(path).href)) as LlamaModule
  } catch {
    console.log(
      `node-llama-cpp: not installed, so no row for it. npm i --no-save --ignore-scripts node-llama-cpp@${version} (or in another folder, named by WEFT_LLAMA).`,
    )
    return undefined
  }
}

/** llama.cpp on the file, its cache of `contextSize` tokens; undefined where it is not installed. */
export const llamaOn = async (modelPath: string, contextSize: number): Promise<Sequence | undefined> => {
  const module = await load()
  if (!module) return undefined
  const llama = await module.getLlama({ gpu: false, build: 'never', maxThreads: Number(threads) })
  const model = await llama.loadModel({ modelPath })
  const context = await model.createContext({ contextSize, batchSize: 512, threads: Number(threads) })
  return context.getSequence()
}

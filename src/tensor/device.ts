/** @file Where programs run. */

/** cpu and cuda in Node, wasm in browsers, webgpu in either where the provider loads. */
export type Device = 'cpu' | 'cuda' | 'wasm' | 'webgpu'

/** @file The benchmark's training step in TensorFlow.js on its WebAssembly backend. */
import { createRequire } from 'node:module'
import { causalMask, oneHot, problem, serve, targets } from './protocol.mjs'

const require = createRequire(import.meta.url)
const tf = require('@tensorflow/tfjs')
const wasm = require('@tensorflow/tfjs-backend-wasm')

wasm.setWasmPaths(
  `${require.resolve('@tensorflow/tfjs-backend-wasm/package.json').replace(/package\.json$/, '')}dist/`,
)
await tf.setBackend('wasm')
const { config, ids, optimizer, weights } = problem()
const { layers, width, heads, vocabulary, batch, time, epsilon } = config
const rows = batch * time
const size = width / heads

const p = Object.fromEntries(
  weights.map(({ name, shape, data }) => [name, tf.variable(tf.tensor(data, shape), true, name)]),
)
const m = Object.fromEntries(weights.map(({ name, shape }) => [name, tf.variable(tf.zeros(shape), false)]))
const v = Object.fromEntries(weights.map(({ name, shape }) => [name, tf.variable(tf.zeros(shape), false)]))
const oneHotIds = tf.tensor(oneHot(ids, vocabulary), [rows, vocabulary])
const oneHotTargets = tf.tensor(oneHot(targets(ids, time), vocabulary), [rows, vocabulary])
const counted = batch * (time - 1)
const mask = tf.tensor(causalMask(time), [1, 1, time, time])

const layerNorm = (x, name) => {
  const { mean, variance } = tf.moments(x, -1, true)
  const normal = tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, epsilon)))
  return tf.add(tf.mul(normal, p[`${name}.weight`]), p[`${name}.bias`])
}
const linear = (x, name) => tf.add(tf.matMul(x, p[`${name}.weight`]), p[`${name}.bias`])
const gelu = (x) => tf.mul(tf.mul(x, tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1)), 0.5)
const split = (x) => tf.transpose(tf.reshape(x, [batch, time, heads, size]), [0, 2, 1, 3])

const attention = (x, name) => {
  const [q, k, v] = tf.split(linear(x, `${name}.c_attn`), 3, -1).map(split)
  const scores = tf.add(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(size)), mask)
  const out = tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3])
  return linear(tf.reshape(out, [rows, width]), `${name}.c_proj`)
}

const loss = () => {
  const table = p['transformer.wte.weight']
  const tokens = tf.reshape(tf.matMul(oneHotIds, table), [batch, time, width])
  let x = tf.reshape(tf.add(tokens, p['transformer.wpe.weight']), [rows, width])
  for (let i = 0; i < layers; i++) {
    const at = `transformer.h.${i}`
    x = tf.add(x, attention(layerNorm(x, `${at}.ln_1`), `${at}.attn`))
    x = tf.add(x, linear(gelu(linear(layerNorm(x, `${at}.ln_2`), `${at}.mlp.c_fc`)), `${at}.mlp.c_proj`))
  }
  const logits = tf.matMul(layerNorm(x, 'transformer.ln_f'), table, false, true)
  return tf.mul(tf.sum(tf.mul(tf.logSoftmax(logits), oneHotTargets)), -1 / counted)
}

const { rate, beta1, beta2, decay, epsilon: small } = optimizer
let t = 0
const step = () => {
  t++
  const scale = rate / (1 - beta1 ** t)
  const correction = 1 / Math.sqrt(1 - beta2 ** t)
  const found = tf.tidy(() => {
    const { value, grads } = tf.variableGrads(loss)
    for (const [name, g] of Object.entries(grads)) {
      m[name].assign(tf.add(tf.mul(m[name], beta1), tf.mul(g, 1 - beta1)))
      v[name].assign(tf.add(tf.mul(v[name], beta2), tf.mul(tf.square(g), 1 - beta2)))
      const by = tf.div(m[name], tf.add(tf.mul(tf.sqrt(v[name]), correction), small))
      p[name].assign(tf.sub(tf.mul(p[name], 1 - rate * decay), tf.mul(by, scale)))
    }
    return value
  })
  const [number] = found.dataSync()
  found.dispose()
  return number
}

await serve(step, `TensorFlow.js ${tf.version.tfjs} wasm (SIMD, 1 thread)`)

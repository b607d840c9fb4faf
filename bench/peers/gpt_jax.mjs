/** @file The benchmark's training step in jax-js on its WebAssembly backend, compiled by jit. */
import { causalMask, oneHot, problem, serve, targets } from './protocol.mjs'

// It reads the browser's name, which Node 20 has not.
if (!('navigator' in globalThis))
  Object.defineProperty(globalThis, 'navigator', { value: { userAgent: 'Node', hardwareConcurrency: 1 } })
const {
  blockUntilReady,
  init,
  defaultDevice,
  jit,
  nn,
  numpy: np,
  scipySpecial,
  tree,
  valueAndGrad,
} = await import('@jax-js/jax')
await init('wasm')
defaultDevice('wasm')

const { config, ids, optimizer, weights } = problem()
const { layers, width, heads, vocabulary, batch, time, epsilon } = config
const rows = batch * time
const size = width / heads

const hotIds = np.array(oneHot(ids, vocabulary)).reshape([rows, vocabulary])
const hotTargets = np.array(oneHot(targets(ids, time), vocabulary)).reshape([rows, vocabulary])
const counted = batch * (time - 1)
const mask = np.array(causalMask(time)).reshape([1, 1, time, time])

const layerNorm = (x, p, name) => {
  const centred = x.ref.sub(np.mean(x, -1, { keepdims: true }))
  const variance = np.mean(np.square(centred.ref), -1, { keepdims: true })
  const normal = centred.div(np.sqrt(variance.add(epsilon)))
  return normal.mul(p[`${name}.weight`].ref).add(p[`${name}.bias`].ref)
}
const linear = (x, p, name) => np.matmul(x, p[`${name}.weight`].ref).add(p[`${name}.bias`].ref)
const gelu = (x) => x.ref.mul(scipySpecial.erf(x.mul(Math.SQRT1_2)).add(1)).mul(0.5)
const split = (x) => x.reshape([batch, time, heads, size]).transpose([0, 2, 1, 3])

const attention = (x, p, see, name) => {
  const [q, k, v] = np.split(linear(x, p, `${name}.c_attn`), 3, -1).map(split)
  const scores = np
    .matmul(q, k.transpose([0, 1, 3, 2]))
    .mul(1 / Math.sqrt(size))
    .add(see)
  const out = np.matmul(nn.softmax(scores, -1), v).transpose([0, 2, 1, 3])
  return linear(out.reshape([rows, width]), p, `${name}.c_proj`)
}

const loss = (p, hot, target, see) => {
  const tokens = np.matmul(hot, p['transformer.wte.weight'].ref).reshape([batch, time, width])
  let x = tokens.add(p['transformer.wpe.weight'].ref).reshape([rows, width])
  for (let i = 0; i < layers; i++) {
    const at = `transformer.h.${i}`
    x = x.ref.add(attention(layerNorm(x, p, `${at}.ln_1`), p, see.ref, `${at}.attn`))
    const inner = linear(layerNorm(x.ref, p, `${at}.ln_2`), p, `${at}.mlp.c_fc`)
    x = x.add(linear(gelu(inner), p, `${at}.mlp.c_proj`))
  }
  see.dispose()
  const logits = np.matmul(layerNorm(x, p, 'transformer.ln_f'), p['transformer.wte.weight'].ref.transpose())
  tree.dispose(p)
  return nn
    .logSoftmax(logits, -1)
    .mul(target)
    .sum()
    .mul(-1 / counted)
}

const { rate, beta1, beta2, decay, epsilon: small } = optimizer
const update = jit((p, m, v, hot, target, see, scale, correction) => {
  const [value, grads] = valueAndGrad(loss)(tree.ref(p), hot, target, see)
  const next = { p: {}, m: {}, v: {} }
  for (const name of Object.keys(p)) {
    const g = grads[name]
    const first = m[name].mul(beta1).add(g.ref.mul(1 - beta1))
    const second = v[name].mul(beta2).add(np.square(g).mul(1 - beta2))
    const by = first.ref.div(np.sqrt(second.ref).mul(correction.ref).add(small))
    next.p[name] = p[name].mul(1 - rate * decay).sub(by.mul(scale.ref))
    next.m[name] = first
    next.v[name] = second
  }
  scale.dispose()
  correction.dispose()
  return [value, next]
})

const made = (fill) => Object.fromEntries(weights.map((w) => [w.name, np.array(fill(w)).reshape(w.shape)]))
let state = {
  p: made(({ data }) => data),
  m: made(({ data }) => new Float32Array(data.length)),
  v: made(({ data }) => new Float32Array(data.length)),
}
let t = 0
const step = async () => {
  t++
  const scale = np.array(rate / (1 - beta1 ** t))
  const correction = np.array(1 / Math.sqrt(1 - beta2 ** t))
  const { p, m, v } = state
  const [value, next] = update(p, m, v, hotIds.ref, hotTargets.ref, mask.ref, scale, correction)
  state = await blockUntilReady(next)
  return (await value.data())[0]
}

await serve(step, 'jax-js 0.1.25 wasm (jit, SIMD, 1 thread)')

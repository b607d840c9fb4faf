import { afterAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { inMemory, tensorsOf } from '../../test/in-memory.js'
import { type Checkpoint, encode, type JsonObject, open, openBytes } from '../checkpoint/index.js'
import { type Value, valueOf, zerosValue } from '../tensor/index.js'
import { architectureFor, canonicalNames, type Model, openModel } from './index.js'
import { storedName } from './stored.js'

const opened: Checkpoint[] = []
afterAll(() => Promise.all(opened.map((checkpoint) => checkpoint.close())))
const golden = async (name: string): Promise<Checkpoint> => {
  const checkpoint = await open(goldenFolder(name))
  opened.push(checkpoint)
  return checkpoint
}

interface Edited {
  readonly original: Checkpoint
  readonly model: Model
  readonly warnings: string[]
}

/** A golden checkpoint whose tensors have other names, or are more or fewer. */
const edited = async (
  name: string,
  edit: (tensors: Record<string, Value>) => Record<string, Value> | void,
  config: JsonObject = {},
): Promise<Edited> => {
  const original = await golden(name)
  const tensors = await tensorsOf(original)
  const changed = edit(tensors) ?? tensors
  const warnings: string[] = []
  const checkpoint = await inMemory({ ...original.config, ...config }, changed)
  return { original, warnings, model: await openModel(checkpoint, { onWarning: (w) => warnings.push(w) }) }
}

const renamedBy =
  (rename: (name: string) => string) =>
  (tensors: Record<string, Value>): Record<string, Value> =>
    Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [rename(name), tensor]))

/** Every tensor of the table, tied ones by their owner, has the bytes of the original. */
const expectSame = async ({ original, model }: Edited): Promise<void> => {
  const table = model.architecture.table(model.config).filter(({ tied }) => tied === undefined)
  const before = canonicalNames(model.architecture, model.architecture.table(model.config), original)
  for (const { name } of table) {
    const found = await model.checkpoint.readRaw(storedName(model, name)!)
    expect(Buffer.from(found).equals(await original.readRaw(before.stored.get(name)!)), name).toBe(true)
  }
}

const families = [
  'llama',
  'mistral',
  'mixtral',
  'qwen2',
  'qwen3',
  'gemma2',
  'gpt2',
  'bert-mlm',
  'bert-classify',
].concat(['t5', 'vit', 'resnet'])

describe.each(families.filter((name) => name !== 't5'))('%s', (name) => {
  const prefix = async (): Promise<string> => {
    const { config } = await golden(name)
    return architectureFor(config).prefix!
  }

  it('opens when its body has no prefix, as AutoModel saves it', async () => {
    const start = `${await prefix()}.`
    const bare = await edited(
      name,
      renamedBy((n) => (n.startsWith(start) ? n.slice(start.length) : n)),
    )
    expect(bare.model.checkpoint.names().some((n) => n.startsWith(start))).toBe(false)
    await expectSame(bare)
  })

  it('opens when all its names have the prefix', async () => {
    const start = `${await prefix()}.`
    await expectSame(
      await edited(
        name,
        renamedBy((n) => (n.startsWith(start) ? n : start + n)),
      ),
    )
  })
})

describe.each(families)('%s', (name) => {
  it('says nothing of buffers that Transformers once stored, with the prefix or without', async () => {
    const more = {
      'model.layers.0.self_attn.rotary_emb.inv_freq': zerosValue([4]),
      'rotary_emb.inv_freq': zerosValue([4]),
      'embeddings.position_ids': zerosValue([1, 4]),
      'model.embeddings.token_type_ids': zerosValue([1, 4]),
    }
    const { warnings, model } = await edited(name, (tensors) => ({ ...tensors, ...more }))
    expect(warnings).toEqual([])
    const table = model.architecture.table(model.config)
    const names = canonicalNames(model.architecture, table, model.checkpoint)
    expect(names).toMatchObject({ idle: [], unexpected: [] })
    expect(names.harmless).toEqual(expect.arrayContaining(Object.keys(more)))
  })

  it('reports scalars and empty tensors that no table names, and opens', async () => {
    const more = {
      'layer.k_scale': valueOf([2], []),
      'layer.bias': zerosValue([0]),
      empty: zerosValue([3, 0]),
    }
    const { warnings } = await edited(name, (tensors) => ({ ...tensors, ...more }))
    expect(warnings).toHaveLength(1)
    expect(warnings[0]).toMatch(
      /passed over 3 scalar or empty tensors .*: empty, layer\.bias, layer\.k_scale$/,
    )
    await expect(edited(name, (tensors) => ({ ...tensors, more: zerosValue([1]) }))).rejects.toThrow(
      /unexpected/,
    )
  })

  it('refuses weights in 8-bit integers, with scales and without, as what they are', async () => {
    const original = await golden(name)
    const table = architectureFor(original.config).table(
      architectureFor(original.config).readConfig(original.config),
    )
    const { name: weight } = table.find(({ kind }) => kind === 'linear')!
    const byte = async (more: Record<string, Value>): Promise<Model> => {
      const tensors = { ...(await tensorsOf(original)), ...more }
      return openModel(await withBytes(original.config, tensors, weight))
    }
    await expect(byte({})).rejects.toThrow(
      new RegExp(`${weight} in model.safetensors is stored as I8, without the scales`),
    )
    const scale = `${weight.replace(/\.weight$/, '')}.weight_scale`
    await expect(byte({ [scale]: valueOf([0.5], []) })).rejects.toThrow(
      /quantised \(I8, scaled by .*weight_scale\)/,
    )
  })
})

/** A checkpoint in which the tensor `name` is stored in as many bytes as it has numbers. */
const withBytes = (config: JsonObject, tensors: Record<string, Value>, name: string): Promise<Checkpoint> => {
  let offset = 0
  const header: Record<string, unknown> = {}
  const data: Uint8Array[] = []
  for (const [key, tensor] of Object.entries(tensors)) {
    const stored = encode(tensor)
    const bytes = key === name ? new Uint8Array(tensor.data.length) : (stored.data as Uint8Array)
    const end = offset + bytes.length
    header[key] = {
      dtype: key === name ? 'I8' : stored.dtype,
      shape: stored.shape,
      data_offsets: [offset, end],
    }
    data.push(bytes)
    offset = end
  }
  const text = new TextEncoder().encode(JSON.stringify(header))
  const file = new Uint8Array(8 + text.length + offset)
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true)
  file.set(text, 8)
  let at = 8 + text.length
  for (const bytes of data) {
    file.set(bytes, at)
    at += bytes.length
  }
  return openBytes({
    'config.json': new TextEncoder().encode(JSON.stringify(config)),
    'model.safetensors': file,
  })
}

describe('of tied tensors', () => {
  const tied = ['qwen2', 'gemma2', 'gpt2', 'bert-mlm', 't5']

  it.each(tied)('%s: any one may be stored in place of the owner', async (name) => {
    const original = await golden(name)
    const architecture = architectureFor(original.config)
    const table = architecture.table(architecture.readConfig(original.config))
    const members = table.filter((spec) => spec.tied !== undefined)
    expect(members.length).toBeGreaterThan(0)
    for (const { name: member, tied: owner } of members)
      await expectSame(
        await edited(
          name,
          renamedBy((n) => (n === owner ? member : n)),
        ),
      )
  })

  it.each(tied)('%s: all may be stored, with the same numbers', async (name) => {
    const original = await golden(name)
    const architecture = architectureFor(original.config)
    const table = architecture.table(architecture.readConfig(original.config))
    const copies = (tensors: Record<string, Value>): void => {
      for (const spec of table) if (spec.tied !== undefined) tensors[spec.name] = tensors[spec.tied]
    }
    await expectSame(await edited(name, copies))
  })

  it('none stored is still missing, and so is a head that is not tied', async () => {
    await expect(edited('qwen2', (t) => void delete t['model.embed_tokens.weight'])).rejects.toThrow(
      /1 missing:\s+model\.embed_tokens\.weight/,
    )
    await expect(edited('llama', (t) => void delete t['lm_head.weight'])).rejects.toThrow(
      /missing:\s+lm_head/,
    )
  })

  it('the embedding of a model that is not tied is not its head', async () => {
    const untied = { tie_word_embeddings: false }
    const headOnly = edited(
      'qwen2',
      renamedBy((n) => (n === 'model.embed_tokens.weight' ? 'lm_head.weight' : n)),
      untied,
    )
    await expect(headOnly).rejects.toThrow(/missing:\s+model\.embed_tokens\.weight/)
  })
})

describe('T5', () => {
  const untied = { tie_word_embeddings: false, scale_decoder_outputs: null }

  it('1.1 without a head in its files has the embedding for one, not scaled', async () => {
    const { model } = await edited('t5', () => undefined, untied)
    expect(model.config).toMatchObject({ tied: true, scaled: false })
  })

  it('1.1 opens with tables of its sides in place of the shared one, and a head of its own', async () => {
    const both = await edited(
      't5',
      ({ 'shared.weight': shared, ...rest }) => ({
        ...rest,
        'encoder.embed_tokens.weight': shared,
        'decoder.embed_tokens.weight': shared,
        'lm_head.weight': zerosValue(shared.shape),
      }),
      untied,
    )
    expect(both.model.config).toMatchObject({ tied: false, scaled: false })
    expect(storedName(both.model, 'shared.weight')).toBe('encoder.embed_tokens.weight')
  })

  it('whose head turns out not to be tied is scaled as config.json says', async () => {
    const own = (t: Record<string, Value>): void =>
      void (t['lm_head.weight'] = zerosValue(t['shared.weight'].shape))
    const config = { tie_word_embeddings: true, scale_decoder_outputs: null }
    expect((await edited('t5', own, config)).model.config).toMatchObject({ tied: false, scaled: true })
  })

  it('refuses tables of its sides that differ', async () => {
    const other = edited('t5', (t) => {
      t['encoder.embed_tokens.weight'] = zerosValue(t['shared.weight'].shape)
    })
    await expect(other).rejects.toThrow(/encoder\.embed_tokens\.weight should be the same/)
  })
})

describe('GPT-2', () => {
  it('has masks and a head in old files, with the prefix or without', async () => {
    const more = {
      'transformer.h.0.attn.bias': zerosValue([1, 1, 8, 8]),
      'transformer.h.0.attn.masked_bias': zerosValue([]),
      'h.1.attn.bias': zerosValue([1, 1, 8, 8]),
    }
    const { warnings, model } = await edited('gpt2', (t) => ({ ...t, ...more }))
    expect(warnings).toEqual([])
    expect(storedName(model, 'transformer.h.0.attn.c_attn.bias')).toBe('transformer.h.0.attn.c_attn.bias')
  })
})

describe('older spellings', () => {
  it('are found by whoever asks for a tensor under its name of today', async () => {
    const old = await edited(
      'bert-mlm',
      renamedBy((n) => n.replace('LayerNorm.weight', 'LayerNorm.gamma')),
    )
    const name = 'bert.embeddings.LayerNorm'
    expect(storedName(old.model, `${name}.weight`)).toBe(`${name}.gamma`)
    await expectSame(old)
  })
})

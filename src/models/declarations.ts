/** @file What methods must know of an architecture beyond its tensors: its parts, their names, and how config.json says sizes. */
import type { JsonObject } from '../checkpoint/web.js'

/** A part that every block has: attention, or the feed-forward part. */
export type Part = 'attention' | 'feed-forward'

/** A part of every block, as the linear modules that it begins and ends with. Names are within the block; '*' is a number. */
export interface Sublayer {
  readonly part: Part
  /** The first linear module, whose input is the part's; those after the first name are of variants. */
  readonly first: readonly string[]
  /** The last linear module, whose output is the part's. */
  readonly last: string
}

/** Modules at which adapters stand when nothing is said, as PEFT has it: dotted ends of the names of linear modules. */
export interface AdapterTargets {
  /** Modules that most methods adapt. */
  readonly usual: readonly string[]
  /** Modules that make keys and values, fused with queries or not. */
  readonly keysAndValues: readonly string[]
  /** Modules that read the hidden units of a feed-forward part. */
  readonly hiddenInputs: readonly string[]
}

/** Names in config.json of the sizes of blocks of attention and a feed-forward part. */
export interface SizeKeys {
  /** All query heads, key heads, and the size of one head. */
  readonly heads: { readonly all: string; readonly keys?: string; readonly size: string }
  /** Hidden channels of the feed-forward part. */
  readonly hidden: string
  /** The residual stream. */
  readonly width: string
  /** Whether layers may differ: Weft reads a list a layer under `weft`. */
  readonly perLayer: boolean
}

/** How many units each axis group has, by its name. */
export type Widths = ReadonlyMap<string, number>

/** Meaning of a size of a layer that config.json leaves out. */
export type LayerSize = (json: JsonObject, layer: number) => number

/** Layers that run one after the other. */
export interface LayerStack {
  /** 'encoder', 'decoder'; '' where there is one stack alone. */
  readonly name: string
  /** Prefix before a layer's number in the names of its tensors: 'model.layers'. */
  readonly path: string
  /** The key of config.json that counts the layers. */
  readonly count: string
  /** Keys of sizes that may be one a layer, in lists under `weft`; what config.json means by leaving one out. */
  readonly sizes: Readonly<Record<string, LayerSize>>
  /**
   * Lists of config.json with an entry a layer, by key, also where `json` leaves it to a rule: 'layer_types'.
   * Default: nothing.
   */
  lists?(json: JsonObject): Readonly<Record<string, readonly (string | number)[]>>
  /** Keys whose meaning goes by a layer's number: not at these values, layers cannot be moved. */
  readonly byNumber?: Readonly<Record<string, unknown>>
}

/** @file Images cut into patches, which encoders of images read as tokens. */
import { WeftError } from '../errors.js'
import type { Tensor } from '../tensor/index.js'
import type { WeightSpec } from './architecture.js'
import { residual } from './specs.js'
import type { Weights } from './weights.js'

/** Images and their patches. */
export interface PatchGrid {
  readonly channels: number
  /** Height and width in pixels. */
  readonly image: readonly [number, number]
  readonly patch: readonly [number, number]
  /** Numbers of a patch's token. */
  readonly width: number
  /** Whether images of any size will do that have a patch. Default false: of `image` alone. */
  readonly anySize?: boolean
}

/** How many patches an image has. */
export const patches = ({ image, patch }: Pick<PatchGrid, 'image' | 'patch'>): number =>
  Math.floor(image[0] / patch[0]) * Math.floor(image[1] / patch[1])

/**
 * The patches of images, row by row, as tokens, by the convolution `name`. pixels: [batch, channels, height, width] ->
 * [batch, patches, width]. Throws WeftError for images of another size.
 */
export const patchTokens = (w: Weights, name: string, pixels: Tensor, grid: PatchGrid): Tensor => {
  const [batch, channels, ...size] = pixels.shape
  const fits = size.every((n, i) => (grid.anySize ? n >= grid.patch[i] : n === grid.image[i]))
  if (channels !== grid.channels || !fits)
    throw new WeftError(
      'WrongImageSize',
      `images [${pixels.shape}]: this model takes ${grid.channels} channels of ${grid.anySize ? `at least ${grid.patch[0]} x ${grid.patch[1]}` : `${grid.image[0]} x ${grid.image[1]}`} pixels`,
      { hint: 'Resize them; preprocessor_config.json says how.' },
    )
  return w.conv(name, pixels, { stride: grid.patch }).reshape([batch, grid.width, -1]).t()
}

/** The convolution `name` that makes tokens of patches. */
export const patchSpecs = (name: string, grid: PatchGrid, axis = residual, bias = true): WeightSpec[] => [
  {
    name: `${name}.weight`,
    shape: [grid.width, grid.channels, ...grid.patch],
    kind: 'conv',
    axes: [axis, undefined, undefined, undefined],
  },
  ...(bias ? [{ name: `${name}.bias`, shape: [grid.width], kind: 'bias', axes: [axis] } as const] : []),
]

/** @file Rendered shapes: small images of coloured objects with their labels and captions. */
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import { type Value, value, valueOf } from '../tensor/value.js'

/** Whether a point of the square [-1, 1] x [-1, 1] (v downwards) is inside a shape. */
type Inside = (u: number, v: number) => boolean

/** A regular polygon with a corner at the top, or a star when `waist` (inner to outer radius) is below 1. */
const polygon =
  (sides: number, waist = Math.cos(Math.PI / sides)): Inside =>
  (u, v) => {
    // The wedge between a corner and the next waist, mirrored and turned so that the corner is at angle 0.
    const step = Math.PI / sides
    const turn = Math.abs((((Math.atan2(u, -v) % (2 * step)) + 3 * step) % (2 * step)) - step)
    const r = Math.hypot(u, v)
    const [x, y] = [r * Math.cos(turn), r * Math.sin(turn)]
    const [wx, wy] = [waist * Math.cos(step), waist * Math.sin(step)]
    return (1 - x) * wy - (1 - wx) * y >= 0
  }

/** Rows of three pixels, from the top: 111 is a full row. */
const digitRows = [
  '111 101 101 101 111',
  '010 110 010 010 111',
  '111 001 111 100 111',
  '111 001 111 001 111',
  '101 101 111 001 001',
  '111 100 111 001 111',
  '111 100 111 101 111',
  '111 001 010 010 010',
  '111 101 111 101 111',
  '111 101 111 001 111',
].map((rows) => rows.split(' '))

const digit =
  (n: number): Inside =>
  (u, v) =>
    Math.abs(u) < 0.6 &&
    Math.abs(v) < 1 &&
    digitRows[n][Math.floor((v + 1) * 2.5)][Math.floor((u + 0.6) * 2.5)] === '1'

const insides: Record<string, Inside> = {
  disc: (u, v) => u * u + v * v <= 1,
  square: (u, v) => Math.abs(u) <= 0.85 && Math.abs(v) <= 0.85,
  triangle: polygon(3),
  cross: (u, v) => Math.min(Math.abs(u), Math.abs(v)) <= 0.33 && Math.max(Math.abs(u), Math.abs(v)) <= 1,
  star: polygon(5, 0.45),
  ring: (u, v) => Math.abs(Math.hypot(u, v) - 0.75) <= 0.25,
  ...Object.fromEntries([5, 6, 7, 8, 9, 10, 11, 12].map((n) => [`polygon${n}`, polygon(n)])),
  ...Object.fromEntries(digitRows.map((_, n) => [`digit${n}`, digit(n)])),
}

/** The shapes there are: disc, square, triangle, cross, star, ring, polygon5 to polygon12, digit0 to digit9. */
export const shapeNames: readonly string[] = Object.keys(insides)

const rgb: Record<string, readonly number[]> = {
  red: [0.9, 0.15, 0.15],
  green: [0.15, 0.75, 0.2],
  blue: [0.2, 0.3, 0.95],
  yellow: [0.95, 0.85, 0.15],
  purple: [0.65, 0.2, 0.8],
  white: [0.95, 0.95, 0.95],
}

/** The colours there are: red, green, blue, yellow, purple, white. */
export const colourNames: readonly string[] = Object.keys(rgb)

/** Number and content of images. */
export interface ShapesOptions {
  /** Number of images. */
  count: number
  /** Seed of every draw. */
  seed: number | string
  /** Height and width in pixels. Default 16. */
  size?: number
  /** 1 gives brightness alone, without colours. Default 3. */
  channels?: 1 | 3
  /** Shapes that occur, equally often; the label `shape` is the index here. Default disc, square, triangle, cross. */
  shapes?: readonly string[]
  /** Default all. */
  colours?: readonly string[]
  /** Places are the cells of a grid of this many rows and columns. Default 2. */
  grid?: number
  /** Objects in an image, in different cells. Default 1. */
  objects?: number
  /** Radii, as shares of half a cell, from small to big. Default [0.55, 0.9]. */
  radii?: readonly number[]
  /** How far from its cell's centre an object may lie, as a share of the cell. Default 0.1. */
  jitter?: number
  /** Turn each object by a random angle. Default false. */
  rotate?: boolean
  /** How likely an object is striped. Default 0. */
  striped?: number
  /** Random grey rectangles behind the objects. Default 0. */
  clutter?: number
  /** Standard deviation of noise on each pixel. Default 0.05. */
  noise?: number
}

/** An object of an image; numbers index the options' lists. */
export interface ShapeObject {
  shape: number
  colour: number
  /** The index of its radius: 0 is the smallest. */
  size: number
  striped: boolean
  row: number
  column: number
}

/** images: float32 [count, channels, size, size] in [0, 1]. shape, colour, sizes, place: int64 [count], of object 0. */
export interface ShapesData {
  images: Value
  shape: Value
  colour: Value
  sizes: Value
  /** row * grid + column */
  place: Value
  /** [count][objects] */
  objects: ShapeObject[][]
  /** `a small red disc at the top left and a big blue square at the bottom right`. [count] */
  captions: string[]
}

type Settings = Required<ShapesOptions>

const settingsOf = (options: ShapesOptions): Settings => {
  const settings: Settings = {
    size: 16,
    channels: 3,
    shapes: ['disc', 'square', 'triangle', 'cross'],
    colours: colourNames,
    grid: 2,
    objects: 1,
    radii: [0.55, 0.9],
    jitter: 0.1,
    rotate: false,
    striped: 0,
    clutter: 0,
    noise: 0.05,
    ...options,
  }
  for (const [kind, known] of [
    ['shapes', shapeNames],
    ['colours', colourNames],
  ] as const) {
    const unknown = settings[kind].find((name) => !known.includes(name))
    if (unknown !== undefined || settings[kind].length === 0)
      throw new UsageError(
        'BadShapes',
        `${kind}: "${unknown ?? ''}" is unknown; expected some of ${known.join(', ')}`,
      )
  }
  if (settings.objects < 1 || settings.objects > settings.grid ** 2)
    throw new UsageError(
      'BadShapes',
      `${settings.objects} objects do not fit a grid of ${settings.grid ** 2} cells`,
    )
  return settings
}

const drawObjects = (stream: Stream, s: Settings): ShapeObject[] =>
  Array.from(stream.permutation(s.grid ** 2).subarray(0, s.objects), (cell) => ({
    shape: stream.int(s.shapes.length),
    colour: stream.int(s.colours.length),
    size: stream.int(s.radii.length),
    striped: stream.uniform() < s.striped,
    row: Math.floor(cell / s.grid),
    column: cell % s.grid,
  }))

/** Each pixel is the mean of this many points in each direction. */
const pointsPerSide = 3

/** How much of each pixel an object covers. [size * size] */
const coverage = (stream: Stream, object: ShapeObject, s: Settings): Float32Array => {
  const cell = s.size / s.grid
  const offset = (): number => (2 * stream.uniform() - 1) * s.jitter
  const [cy, cx] = [(object.row + 0.5 + offset()) * cell, (object.column + 0.5 + offset()) * cell]
  const radius = (s.radii[object.size] * cell) / 2
  const angle = s.rotate ? 2 * Math.PI * stream.uniform() : 0
  const [cos, sin] = [Math.cos(angle) / radius, Math.sin(angle) / radius]
  const inside = insides[s.shapes[object.shape]]
  const mask = new Float32Array(s.size * s.size)
  for (let y = 0; y < s.size; y++)
    for (let x = 0; x < s.size; x++)
      for (let k = 0; k < pointsPerSide ** 2; k++) {
        const dy = y + ((k % pointsPerSide) + 0.5) / pointsPerSide - cy
        const dx = x + (Math.floor(k / pointsPerSide) + 0.5) / pointsPerSide - cx
        const [u, v] = [dx * cos + dy * sin, dy * cos - dx * sin]
        const gap = object.striped && Math.floor((v + 1) * 3) % 2 === 1
        if (!gap && inside(u, v)) mask[y * s.size + x] += 1 / pointsPerSide ** 2
      }
  return mask
}

const drawClutter = (stream: Stream, image: Float32Array, s: Settings): void => {
  for (let n = 0; n < s.clutter; n++) {
    const [y, x] = [stream.int(s.size), stream.int(s.size)]
    const [height, width] = [1 + stream.int(Math.ceil(s.size / 3)), 1 + stream.int(Math.ceil(s.size / 3))]
    const grey = 0.1 + 0.4 * stream.uniform()
    for (let c = 0; c < s.channels; c++)
      for (let j = y; j < Math.min(s.size, y + height); j++)
        image.fill(
          grey,
          (c * s.size + j) * s.size + x,
          (c * s.size + j) * s.size + Math.min(s.size, x + width),
        )
  }
}

const render = (stream: Stream, objects: readonly ShapeObject[], s: Settings): Float32Array => {
  const area = s.size * s.size
  const image = new Float32Array(s.channels * area)
  drawClutter(stream, image, s)
  for (const object of objects) {
    const mask = coverage(stream, object, s)
    const paint = s.channels === 1 ? [1] : rgb[s.colours[object.colour]]
    for (let c = 0; c < s.channels; c++)
      for (let i = 0; i < area; i++) image[c * area + i] += mask[i] * (paint[c] - image[c * area + i])
  }
  if (s.noise === 0) return image
  return image.map((x) => Math.min(1, Math.max(0, x + s.noise * stream.normal())))
}

const rowNames: Record<number, readonly string[]> = { 2: ['top', 'bottom'], 3: ['top', 'middle', 'bottom'] }
const columnNames: Record<number, readonly string[]> = {
  2: ['left', 'right'],
  3: ['left', 'centre', 'right'],
}
const sizeNames: Record<number, readonly string[]> = {
  2: ['small ', 'big '],
  3: ['small ', 'medium ', 'big '],
}

const describe = (o: ShapeObject, s: Settings): string => {
  const size = sizeNames[s.radii.length]?.[o.size] ?? ''
  const colour = s.channels === 1 ? '' : `${s.colours[o.colour]} `
  const named = rowNames[s.grid] && `at the ${rowNames[s.grid][o.row]} ${columnNames[s.grid][o.column]}`
  const place = s.grid === 1 ? '' : ` ${named ?? `in row ${o.row + 1} column ${o.column + 1}`}`
  return `a ${size}${o.striped ? 'striped ' : ''}${colour}${s.shapes[o.shape]}${place}`
}

/** Images with labels and captions; image i depends on the options and i alone. `options.radii`: [sizes]. */
export const renderedShapes = (options: ShapesOptions): ShapesData => {
  const s = settingsOf(options)
  const stream = new Stream(s.seed).fork('shapes')
  const pixels = s.channels * s.size * s.size
  const images = new Float32Array(s.count * pixels)
  const objects = Array.from({ length: s.count }, (_, i) => {
    const fork = stream.fork(i)
    const drawn = drawObjects(fork, s)
    images.set(render(fork, drawn, s), i * pixels)
    return drawn
  })
  const label = (of: (o: ShapeObject) => number): Value =>
    valueOf(
      objects.map(([o]) => of(o)),
      [s.count],
      'int64',
    )
  return {
    images: value(images, [s.count, s.channels, s.size, s.size], 'float32'),
    shape: label((o) => o.shape),
    colour: label((o) => o.colour),
    sizes: label((o) => o.size),
    place: label((o) => o.row * s.grid + o.column),
    objects,
    captions: objects.map((list) => list.map((o) => describe(o, s)).join(' and ')),
  }
}

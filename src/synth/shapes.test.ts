import { describe, expect, test } from 'vitest'
import { toNumbers } from '../tensor/value.js'
import { colourNames, renderedShapes, shapeNames, type ShapesOptions } from './shapes.js'
import { maxOf, minOf } from '../tensor/numbers.js'

/** One centred object of radius half the image, without noise: how much of the image it covers. */
const area = (shape: string): number => {
  const one: ShapesOptions = {
    count: 1,
    seed: 1,
    size: 64,
    grid: 1,
    channels: 1,
    shapes: [shape],
    radii: [1],
    jitter: 0,
    noise: 0,
  }
  const pixels = toNumbers(renderedShapes(one).images)
  return pixels.reduce((a, b) => a + b, 0) / pixels.length
}

describe('rendered shapes', () => {
  test('have the stated shapes, values in [0, 1] and labels that index the lists, and depend on seed and number alone', () => {
    const options = {
      count: 30,
      seed: 1,
      size: 24,
      clutter: 3,
      objects: 2,
      grid: 3,
      rotate: true,
      striped: 0.5,
    }
    const data = renderedShapes(options)
    expect(data.images.shape).toEqual([30, 3, 24, 24])
    const pixels = toNumbers(data.images)
    expect(minOf(pixels)).toBeGreaterThanOrEqual(0)
    expect(maxOf(pixels)).toBeLessThanOrEqual(1)
    data.objects.forEach((objects, i) => {
      expect(objects).toHaveLength(2)
      expect(Number(data.shape.data[i])).toBe(objects[0].shape)
      expect(Number(data.place.data[i])).toBe(objects[0].row * 3 + objects[0].column)
      expect(objects[0].row === objects[1].row && objects[0].column === objects[1].column).toBe(false)
    })
    expect(renderedShapes(options)).toEqual(data)
    const fewer = renderedShapes({ ...options, count: 10 })
    expect(toNumbers(fewer.images)).toEqual(pixels.slice(0, 10 * 3 * 24 * 24))
    expect(renderedShapes({ ...options, seed: 2 }).images).not.toEqual(data.images)
  })

  test('cover the area of their geometry', () => {
    const polygonArea = (n: number): number => (n / 2) * Math.sin((2 * Math.PI) / n)
    const expected: Record<string, number> = {
      disc: Math.PI,
      square: 1.7 ** 2,
      cross: 4 * 0.66 - 0.66 ** 2,
      triangle: polygonArea(3),
      polygon5: polygonArea(5),
      polygon12: polygonArea(12),
      ring: Math.PI * (1 - 0.25),
      star: 5 * 0.45 * Math.sin(Math.PI / 5),
    }
    for (const [shape, covered] of Object.entries(expected)) expect(4 * area(shape)).toBeCloseTo(covered, 1)
  })

  test('differ for every name', () => {
    const one: ShapesOptions = { count: 1, seed: 1, size: 12, grid: 1, channels: 1, radii: [0.9], noise: 0 }
    const seen = new Set(
      shapeNames.map((shape) => String(toNumbers(renderedShapes({ ...one, shapes: [shape] }).images))),
    )
    expect(seen.size).toBe(shapeNames.length)
  })

  test('are painted in their colour, in their cell', () => {
    const data = renderedShapes({ count: 40, seed: 1, size: 16, radii: [0.9], noise: 0, jitter: 0 })
    const pixels = toNumbers(data.images)
    data.objects.forEach(([o], i) => {
      const at = (channel: number, y: number, x: number): number =>
        pixels[((i * 3 + channel) * 16 + y) * 16 + x]
      const [y, x] = [o.row * 8 + 4, o.column * 8 + 4]
      const painted = [0, 1, 2].map((c) => at(c, y, x))
      expect(maxOf(painted)).toBeGreaterThan(0.7)
      if (['red', 'green', 'blue'].includes(colourNames[o.colour]))
        expect(painted.indexOf(maxOf(painted))).toBe(['red', 'green', 'blue'].indexOf(colourNames[o.colour]))
      expect(at(0, (1 - o.row) * 8 + 4, (1 - o.column) * 8 + 4)).toBe(0)
    })
  })

  test('come in every shape, colour, size and place, about equally often', () => {
    const data = renderedShapes({ count: 600, seed: 3, size: 4 })
    for (const [label, classes] of [
      ['shape', 4],
      ['colour', 6],
      ['sizes', 2],
      ['place', 4],
    ] as const) {
      const labels = toNumbers(data[label])
      for (let c = 0; c < classes; c++) {
        const share = labels.filter((l) => l === c).length / 600
        expect(Math.abs(share - 1 / classes)).toBeLessThan(0.08)
      }
    }
  })

  test('are described by their captions', () => {
    const { captions, objects } = renderedShapes({ count: 20, seed: 1, objects: 2, size: 4 })
    captions.forEach((caption, i) => {
      const parts = caption.split(' and ')
      expect(parts).toHaveLength(2)
      objects[i].forEach((o, k) => {
        expect(parts[k]).toContain(colourNames[o.colour])
        expect(parts[k]).toContain(['disc', 'square', 'triangle', 'cross'][o.shape])
        expect(parts[k]).toContain(`at the ${['top', 'bottom'][o.row]} ${['left', 'right'][o.column]}`)
        expect(parts[k]).toMatch(o.size === 0 ? /^a small / : /^a big /)
      })
    })
  })

  test('that are unknown or too many are refused', () => {
    expect(() => renderedShapes({ count: 1, seed: 1, shapes: ['blob'] })).toThrow('"blob" is unknown')
    expect(() => renderedShapes({ count: 1, seed: 1, objects: 5 })).toThrow('do not fit')
  })
})

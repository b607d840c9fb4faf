import { beforeAll, describe, expect, test } from 'vitest'
import {
  renderedScenes,
  sceneInWords,
  sceneQuestions,
  type Scenes,
  sceneTasks,
  sceneWords,
} from './scenes.js'
import { maxOf } from '../tensor/numbers.js'

let scenes: Scenes
beforeAll(() => void (scenes = renderedScenes({ count: 200, seed: 1, size: 8 })))

describe('rendered scenes', () => {
  test('have two objects of different shapes in different cells, in reading order, and depend on the seed alone', () => {
    expect(scenes.images.shape).toEqual([200, 3, 8, 8])
    for (const [a, b] of scenes.objects) {
      expect(a.shape).not.toBe(b.shape)
      expect(2 * a.row + a.column).toBeLessThan(2 * b.row + b.column)
    }
    const again = renderedScenes({ count: 20, seed: 1, size: 8 })
    expect(again.objects).toEqual(scenes.objects.slice(0, 20))
    expect([...again.images.data]).toEqual([...scenes.images.data].slice(0, 20 * 3 * 64))
    expect(renderedScenes({ count: 20, seed: 2, size: 8 }).objects).not.toEqual(again.objects)
  })

  test('are brightest where their objects are, in their colour', () => {
    const { images, objects, colours } = renderedScenes({ count: 20, seed: 3, size: 16, noise: 0 })
    objects.forEach((both, i) => {
      for (const { row, column, colour } of both) {
        const sums = [0, 1, 2].map((c) => {
          let sum = 0
          for (let y = 8 * row; y < 8 * row + 8; y++)
            for (let x = 8 * column; x < 8 * column + 8; x++)
              sum += Number(images.data[((i * 3 + c) * 16 + y) * 16 + x])
          return sum
        })
        expect(sums.indexOf(maxOf(sums))).toBe(colours.indexOf(colour))
      }
    })
  })
})

describe('questions about scenes', () => {
  test('are answered rightly', () => {
    for (const {
      scenes: [i],
      text,
      answer,
    } of sceneQuestions(scenes, 'colour', { count: 100, seed: 1 }))
      expect(scenes.objects[i].find((o) => o.shape === text[3])!.colour).toBe(answer[0])
    const steps: Record<string, (r: number, c: number) => boolean> = {
      left: (r, c) => r === 0 && c < 0,
      right: (r, c) => r === 0 && c > 0,
      above: (r) => r < 0,
      below: (r) => r > 0,
    }
    for (const {
      scenes: [i],
      text,
      answer,
    } of sceneQuestions(scenes, 'beside', { count: 100, seed: 1 })) {
      const [own, other] = [answer[0], text[3]].map((s) => scenes.objects[i].find((o) => o.shape === s)!)
      expect(steps[text[2]](own.row - other.row, own.column - other.column)).toBe(true)
    }
    for (const { scenes: both, text, answer } of sceneQuestions(scenes, 'pair', { count: 100, seed: 1 }))
      expect(answer[0]).toBe(String(both.every((i) => scenes.objects[i].some((o) => o.colour === text[2]))))
    for (const {
      scenes: [i],
      answer,
    } of sceneQuestions(scenes, 'caption', { count: 100, seed: 1 })) {
      const [a, b] = scenes.objects[i]
      expect([answer[0], answer[1], answer[3], answer[4]]).toEqual([a.colour, a.shape, b.colour, b.shape])
      expect(steps[answer[2]](a.row - b.row, a.column - b.column)).toBe(true)
    }
  })

  test('of pairs are true about half the time', () => {
    const pairs = sceneQuestions(scenes, 'pair', { count: 1000, seed: 2 })
    const share = pairs.filter(({ answer }) => answer[0] === 'true').length / 1000
    expect(Math.abs(share - 0.5)).toBeLessThan(0.06)
  })

  test('use the words that are listed, and depend on the seed alone', () => {
    const known = new Set(sceneWords(scenes))
    for (const task of sceneTasks) {
      const some = sceneQuestions(scenes, task, { count: 30, seed: 5 })
      for (const {
        text,
        answer,
        scenes: [i],
      } of some)
        for (const word of [...text, ...answer, ...sceneInWords(scenes.objects[i])])
          expect(known.has(word)).toBe(true)
      expect(sceneQuestions(scenes, task, { count: 30, seed: 5 })).toEqual(some)
      expect(sceneQuestions(scenes, task, { count: 30, seed: 6 })).not.toEqual(some)
    }
  })

  test('that cannot be asked are refused', () => {
    expect(() => sceneQuestions(scenes, 'count' as never, { count: 1, seed: 1 })).toThrow(
      '"count" is no task',
    )
    const one = renderedScenes({ count: 1, seed: 1, size: 4 })
    expect(() => sceneQuestions(one, 'pair', { count: 1, seed: 1 })).toThrow('different colours')
    expect(() => renderedScenes({ count: 1, seed: 1, shapes: ['disc'] })).toThrow('at least two shapes')
  })
})

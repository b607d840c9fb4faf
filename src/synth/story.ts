/**
 * @file Small stories in plain English, and tasks over them. A model of a few hundred thousand parameters learns to
 * write them in a minute; the tasks ask for the same facts in visibly different forms.
 */
import { Stream } from '../random/index.js'
import type { ChoiceRecord, CompletionRecord, TextRecord } from '../text/index.js'

/** Facts of a story. */
export interface Facts {
  /** Name of the one whom the story is about, and of the friend who joins. */
  who: string
  friend: string
  /** A colour and a thing: `red ball`. */
  colour: string
  thing: string
  /** Place with its preposition: `in the garden`. */
  place: string
  /** Name of the one who feels something at the end, and the feeling. */
  feels: string
  feeling: string
}

/** A story and its facts. */
export interface Story {
  text: string
  facts: Facts
}

const girls = ['Mia', 'Lily', 'Anna', 'Sara']
const boys = ['Tom', 'Ben', 'Max', 'Leo']
const names = [...girls, ...boys]
const colours = ['red', 'blue', 'green', 'yellow', 'white', 'black']
const things = ['ball', 'kite', 'boat', 'book', 'hat', 'drum', 'doll', 'cup']
const places = [
  'in the garden',
  'in the park',
  'at the lake',
  'on the beach',
  'in the kitchen',
  'at school',
  'in the forest',
  'on the hill',
]

/** The facts that are drawn first, and the pronoun of who the story is about. */
interface Cast extends Omit<Facts, 'feels' | 'feeling'> {
  he: string
}

interface Ending {
  sentences: string[]
  feels: 'who' | 'friend'
}

/** What happens after the thing is introduced. */
type Plot = (c: Cast, pick: (...options: string[]) => string) => Ending

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1)

const plots: readonly Plot[] = [
  (c, pick) => ({
    sentences: [
      `${capital(c.he)} plays with the ${c.thing} ${c.place}.`,
      `${c.friend} comes and ${pick('asks for it', 'wants to play too')}.`,
      `${c.who} gives the ${c.thing} to ${c.friend}.`,
      `Now ${c.friend} is happy.`,
    ],
    feels: 'friend',
  }),
  (c, pick) => ({
    sentences: [
      `One day ${c.he} loses the ${c.thing} ${c.place}.`,
      `${c.friend} ${pick('looks for it', 'helps to look for it')} and finds it.`,
      `${c.friend} gives the ${c.thing} back to ${c.who}.`,
      `Now ${c.who} is ${pick('happy', 'glad')}.`,
    ],
    feels: 'who',
  }),
  (c, pick) => ({
    sentences: [
      `${capital(c.he)} shows it to ${c.friend} ${c.place}.`,
      `${c.friend} ${pick('drops the', 'breaks the')} ${c.thing}.`,
      `${c.friend} says sorry, but the ${c.thing} is broken.`,
      `Now ${c.who} is ${pick('sad', 'angry')}.`,
    ],
    feels: 'who',
  }),
  (c, pick) => ({
    sentences: [
      `It is a gift for ${c.friend}.`,
      `${c.who} and ${c.friend} meet ${c.place}.`,
      `${c.friend} ${pick('opens the box', 'looks into the box')} and sees the ${c.colour} ${c.thing}.`,
      `Now ${c.friend} is ${pick('happy', 'glad')}.`,
    ],
    feels: 'friend',
  }),
  (c, pick) => ({
    sentences: [
      `A dog takes the ${c.thing} and runs away ${c.place}.`,
      `${c.who} and ${c.friend} run after the dog.`,
      `${c.friend} ${pick('gets', 'takes')} the ${c.thing} from the dog and gives it to ${c.who}.`,
      `Now ${c.friend} is ${pick('proud', 'tired')}.`,
    ],
    feels: 'friend',
  }),
]

const cast = (stream: Stream): Cast => {
  const female = stream.int(2) === 0
  const who = stream.choice(female ? girls : boys)
  return {
    who,
    friend: stream.choice(names.filter((name) => name !== who)),
    colour: stream.choice(colours),
    thing: stream.choice(things),
    place: stream.choice(places),
    he: female ? 'she' : 'he',
  }
}

/** One story of five or six sentences. */
export const story = (stream: Stream): Story => {
  const c = cast(stream)
  const opening = stream.choice([
    `${c.who} has a ${c.colour} ${c.thing}.`,
    `${c.who} buys a ${c.colour} ${c.thing}.`,
    `${c.who} finds a ${c.colour} ${c.thing}.`,
  ])
  const { sentences, feels } = stream.choice(plots)(c, (...options) => stream.choice(options))
  const text = [opening, ...sentences].join(' ')
  const feeling = text.match(/ is (\w+)\.$/)?.[1] ?? ''
  const { who, friend, colour, thing, place } = c
  return { text, facts: { who, friend, colour, thing, place, feels: c[feels], feeling } }
}

/** `count` stories; story i depends on the seed and i alone. */
export const stories = (count: number, seed: number | string): Story[] => {
  const stream = new Stream(seed).fork('stories')
  return Array.from({ length: count }, (_, i) => story(stream.fork(i)))
}

/** Stories as texts: the first task. */
export const storyTexts = (count: number, seed: number | string): TextRecord[] =>
  stories(count, seed).map(({ text }) => ({ text }))

/** A story's facts as a card: `who: Mia | friend: Tom | thing: red ball | where: in the garden | end: Tom is happy`. */
export const card = ({ who, friend, colour, thing, place, feels, feeling }: Facts): string =>
  `who: ${who} | friend: ${friend} | thing: ${colour} ${thing} | where: ${place} | end: ${feels} is ${feeling}`

/** A second task: the story, then its card. */
export const storyCards = (count: number, seed: number | string): CompletionRecord[] =>
  stories(count, seed).map(({ text, facts }) => ({ prompt: `${text}\n`, completion: card(facts) }))

/** A third task: a card, then the story it tells. */
export const cardStories = (count: number, seed: number | string): CompletionRecord[] =>
  stories(count, seed).map(({ text, facts }) => ({ prompt: `${card(facts)}\n`, completion: text }))

interface Question {
  ask: (f: Facts) => string
  answer: (f: Facts) => string
  /** Every answer that is possible. */
  answers: readonly string[]
}

const questions: readonly Question[] = [
  { ask: (f) => `What colour is the ${f.thing}?`, answer: (f) => f.colour, answers: colours },
  { ask: (f) => `What does ${f.who} have?`, answer: (f) => f.thing, answers: things },
  { ask: () => 'Where are they?', answer: (f) => f.place, answers: places },
  { ask: (f) => `Who is with ${f.who}?`, answer: (f) => f.friend, answers: names },
]

const asked = (stream: Stream): { prompt: string; answer: string; others: string[] } => {
  const { text, facts } = story(stream)
  const { ask, answer, answers } = stream.choice(questions)
  const right = answer(facts)
  return {
    prompt: `${text}\nQuestion: ${ask(facts)}\nAnswer:`,
    answer: right,
    others: answers.filter((a) => a !== right && a !== facts.who),
  }
}

/** Another task: a story, a question about it, and the answer. */
export const storyQuestions = (count: number, seed: number | string): CompletionRecord[] => {
  const stream = new Stream(seed).fork('questions')
  return Array.from({ length: count }, (_, i) => {
    const { prompt, answer } = asked(stream.fork(i))
    return { prompt, completion: ` ${answer}` }
  })
}

/** The same as multiple choice, for measuring accuracy: the right answer stands anywhere. Default 4 choices. */
export const storyChoices = (count: number, seed: number | string, choices = 4): ChoiceRecord[] => {
  const stream = new Stream(seed).fork('questions')
  return Array.from({ length: count }, (_, i) => {
    const fork = stream.fork(i)
    const { prompt, answer, others } = asked(fork)
    const shown = fork.shuffle([answer, ...fork.shuffle(others).slice(0, choices - 1)])
    return { prompt, choices: shown.map((c) => ` ${c}`), answer: shown.indexOf(answer) }
  })
}

/** @file The script of every page: it takes over what the server has rendered, beginning with the same data. */
import { type ComponentType, render } from 'preact'
import { Compare } from './compare.js'
import { Paper } from './paper.js'
import { Papers } from './papers.js'
import { Playground } from './playground.js'
import { Run } from './run.js'
import { Runs } from './runs.js'
import { Subscribe } from './subscribe.js'
import './style.css'

const pages: Readonly<Record<string, ComponentType<{ data: never }>>> = {
  papers: Papers,
  paper: Paper,
  runs: Runs,
  run: Run,
  compare: Compare,
  playground: Playground,
  subscribe: Subscribe,
}

const app = document.getElementById('app')
const data = document.getElementById('data')
const Page = pages[app?.dataset.page ?? '']
if (app && data && Page) {
  const given = JSON.parse(data.textContent ?? 'null') as never
  app.replaceChildren()
  render(<Page data={given} />, app)
}

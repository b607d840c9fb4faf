/** @file Subscriptions and feeds. */
import type { PaperCard, SubscribeResult } from '../api.js'
import { bodyOf, queryOf } from '../body.js'
import { HttpError } from '../errors.js'
import { atomFeed, dailyPaper, feedLength, jsonFeed, weekDates } from '../feeds.js'
import type { Subscriptions } from '../mail/subscriptions.js'
import type { DailyQuery } from '../requests.js'
import { dailyQuery, nothing, subscribeRequest } from '../requests.js'
import type { App, Services } from './context.js'

const within = ({ date, week, month }: DailyQuery): ((day: string) => boolean) => {
  const [first, last] = week === undefined ? ['', '9'] : weekDates(week)
  return (day) =>
    (date === undefined || day === date) &&
    (month === undefined || day.startsWith(month)) &&
    first <= day &&
    day <= last
}

export const subscribeRoutes = (app: App, services: Services, subscriptions: Subscriptions): void => {
  const { papers, digests, url, mailbox } = services
  const newest = (visitor: string): Promise<PaperCard[]> =>
    papers.cards(papers.all().slice(0, feedLength), visitor)
  app.post('/api/subscribe', async (c) => {
    const { email, topics } = await bodyOf(c, subscribeRequest)
    await subscriptions.ask(email, topics)
    return c.json<SubscribeResult>({ status: 'confirmation-sent' }, 202)
  })
  app.post('/api/digest', async (c) => {
    await bodyOf(c, nothing)
    if (!mailbox)
      throw new HttpError(503, 'NoMail', 'this lab sends no mail', { hint: 'Start it with SMTP_URL set.' })
    return c.json({ sent: await digests.send(new Date()) })
  })
  app.get('/feed.atom', async (c) =>
    c.body(atomFeed(await newest(c.get('visitor')), url()), 200, {
      'content-type': 'application/atom+xml; charset=utf-8',
    }),
  )
  app.get('/feed.json', async (c) =>
    c.body(JSON.stringify(jsonFeed(await newest(c.get('visitor')), url())), 200, {
      'content-type': 'application/feed+json; charset=utf-8',
    }),
  )
  app.get('/api/daily_papers', async (c) => {
    const query = queryOf(c, dailyQuery)
    const fits = within(query)
    const sort = query.sort === 'trending' ? 'trending' : 'new'
    const matching = (await papers.ordered({ q: query.q, sort })).filter(({ date }) => fits(date))
    const from = query.p * query.limit
    const cards = await papers.cards(matching.slice(from, from + query.limit), c.get('visitor'))
    return c.json(cards.map((card) => dailyPaper(card, papers.authors(card.id))))
  })
}

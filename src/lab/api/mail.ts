/** @file Subscriptions and feeds, as the lab's JSON has them. */

export interface SubscribeRequest {
  email: string
  /** Default: all. */
  topics?: Topic[]
}

export type Topic = 'papers' | 'runs' | 'claims'

/** The same whether or not the address is known, so that nobody learns who subscribes. */
export interface SubscribeResult {
  status: 'confirmation-sent'
}

export interface DigestResult {
  sent: number
}

/** One element of `/api/daily_papers`. */
export interface DailyPaper {
  paper: {
    id: string
    authors: { name: string; hidden: boolean }[]
    publishedAt: string
    submittedOnDailyAt: string
    title: string
    summary: string
    upvotes: number
    githubRepo?: string
  }
  publishedAt: string
  title: string
  summary: string
  numComments: number
  isAuthorParticipating: boolean
}

/** @file Pages that need a script, as they are without one; and the pages behind the links of a mail. */
import { html } from 'hono/html'
import type { Subscription } from '../mail/subscriptions.js'
import type { Html } from './layout.js'

/** What stands on a page that its script fills. */
export const scripted = (title: string, what: string): Html =>
  html`<h1>${title}</h1>
    <p class="loading">Loading ...</p>
    <noscript
      ><p>${what} needs JavaScript. <a href="/">Papers</a> can be read without.</p></noscript
    >`

/** A heading and a sentence. */
export const notice = (title: string, text: string): Html =>
  html`<h1>${title}</h1>
    <p>${text}</p>
    <p><a href="/">To the papers</a></p>`

const button = (action: string, text: string): Html =>
  html`<form method="post" action="${action}"><button>${text}</button></form>`

/** The page behind the link that confirms. A button, because mail programs open links on their own. */
export const confirmation = ({ email, token, confirmed }: Subscription): Html =>
  confirmed
    ? notice('Subscribed', `The daily digest goes to ${email}.`)
    : html`<h1>Confirm your subscription</h1>
        <p>The daily digest will go to ${email}.</p>
        ${button(`/confirm/${token}`, 'Confirm')}`

/** The page behind the link that ends a subscription. */
export const leaving = ({ email, token }: Subscription): Html =>
  html`<h1>Unsubscribe</h1>
    <p>No more mails to ${email}?</p>
    ${button(`/unsubscribe/${token}`, 'Unsubscribe')}`

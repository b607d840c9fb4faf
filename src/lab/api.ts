/**
 * @file The lab's HTTP interface: the JSON of every endpoint, as types that the server and the page share. The page
 * imports types from here and nothing else.
 *
 * ## Pages (HTML, readable without JavaScript)
 *
 * `GET /` papers, `/papers/:id`, `/runs`, `/runs/:id`, `/compare?runs=a,b`, `/playground`, `/subscribe`.
 * Each has `<main id="app" data-page="papers|paper|runs|run|compare|playground|subscribe">`, whose content the server has rendered
 * for papers and which holds a notice for the rest, `<meta name="weft-token">` with the token that state-changing requests need, and
 * `<script type="application/json" id="data">` with the JSON the page begins with: PaperList, PaperPage, RunList, RunPage, Comparison,
 * CheckpointList or LabInfo, in the order above. The build of the page lies in `dist/lab/page` with Vite's manifest (`.vite/manifest.json`,
 * `build.manifest: true`, base `/`, its assets under `assets/`); its one entry (`isEntry`) and that entry's CSS are linked from every page.
 *
 * ## JSON
 *
 * | request | answer |
 * | --- | --- |
 * | `GET /api/lab` | LabInfo |
 * | `GET /api/papers` with PapersQuery | PaperList |
 * | `GET /api/papers/:id` | PaperPage |
 * | `POST /api/papers/:id/vote` VoteRequest | VoteResult |
 * | `GET /api/runs` with RunsQuery | RunList |
 * | `GET /api/runs/:id` | RunPage |
 * | `GET /api/runs/:id/metrics?names=loss,lr&points=500` | Metrics |
 * | `GET /api/runs/:id/events?from=BYTE` | events RunEvents |
 * | `GET /api/runs/:id/log?from=BYTE&limit=BYTES` | LogPart; a negative `from` counts from the end |
 * | `GET /api/runs/:id/files/PATH` | the file, as a download |
 * | `POST /api/runs/:id/cancel` | RunRow |
 * | `GET /api/compare?runs=a,b&points=500` | Comparison |
 * | `GET /api/jobs` | JobList |
 * | `POST /api/jobs` JobRequest | 202 Job |
 * | `GET /api/jobs/:id` | Job |
 * | `GET /api/jobs/:id/events` | events JobEvents |
 * | `POST /api/jobs/:id/cancel` | Job |
 * | `GET /api/events` | events LabEvents |
 * | `GET /api/checkpoints` | CheckpointList |
 * | `GET /api/tensors?checkpoint=ID` | TensorList |
 * | `GET /api/tensor?checkpoint=ID&name=NAME` | TensorStatistics |
 * | `POST /api/generate` GenerateRequest | events GenerateEvents, in the body of the answer |
 * | `POST /api/subscribe` SubscribeRequest | 202 SubscribeResult |
 * | `POST /api/digest` | DigestResult: sends what is due now rather than at the daily hour |
 * | `GET /api/daily_papers?date=&week=&month=&sort=&limit=&p=&q=` | DailyPaper[], the form of Hugging Face's endpoint |
 * | `GET /feed.atom`, `GET /feed.json` | feeds of new papers |
 *
 * ## Rules
 *
 * - An error is ErrorBody with status 400 (malformed), 401 (no token), 403 (foreign origin or host), 404, 409, 413 (too large),
 *   415 (not JSON), 429 (too often), 503 (not configured, too many streams).
 * - POST requests carry `Content-Type: application/json` and `X-Weft-Token` (the page's meta element). Their Origin must be the lab's.
 *   A lab bound wider than the loopback needs its token for reading too: `Authorization: Bearer TOKEN`, or the cookie that `/?token=TOKEN` sets.
 * - Times are ISO 8601 in UTC; dates `YYYY-MM-DD`; durations seconds; sizes bytes.
 * - Events are Server-Sent Events: `event:` is the key in the types below, `data:` its JSON. Where an `id:` is sent, an EventSource that
 *   reconnects continues after it.
 */

export type * from './api/jobs.js'
export type * from './api/lab.js'
export type * from './api/left-out.js'
export type * from './api/mail.js'
export type * from './api/papers.js'
export type * from './api/playground.js'
export type * from './api/plot.js'
export type * from './api/runs.js'

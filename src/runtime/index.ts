/** @file The runtime's public surface. */
export { EngineError, type OpenSession, type Session, type SessionOptions } from './session.js'
export { defaultDevice, hostDevice, openSession, saturatesSignedProducts } from '#sessions'
export {
  connect,
  serve,
  type SessionFunctions,
  sessionFunctions,
  type WorkerCallOptions,
  type WorkerContext,
  type WorkerFunctions,
  type WorkerHost,
  workerSessions,
} from './worker.js'
export { type Rehearsal, rehearsal, type RehearsedRun } from './rehearsal.js'

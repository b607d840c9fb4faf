/** @file The runtime's public surface. */
export { EngineError, type Session, type SessionOptions } from './session.js'
export { defaultDevice, openSession } from '#sessions'

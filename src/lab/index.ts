/** @file The lab: a server over the run folders and the catalogue. Its page lies in `lab/`. */
export type * from './api.js'
export { type Lab, type LabOptions, openLab } from './lab.js'
export { type Listening, listen, type Patience } from './server.js'
export { isLoopback } from './security.js'

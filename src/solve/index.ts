/** @file Solvers: search without gradients. */
export * from './cma-es.js'

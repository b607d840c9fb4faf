/** @file A process that trains until it is killed: resume.test.ts runs it. Arguments: base folder, run folder. */
import { trainForResume } from './resume-run.js'

await trainForResume(process.argv[2], process.argv[3], ({ step }) => void process.stdout.write(`${step}\n`))

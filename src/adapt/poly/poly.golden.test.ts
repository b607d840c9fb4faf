import { describeAdapter } from '../../../test/adapter.js'

describeAdapter('poly', { inputs: { taskIds: 'task_ids' } })

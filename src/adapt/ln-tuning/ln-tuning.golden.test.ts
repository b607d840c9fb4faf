import { describeAdapter } from '../../../test/adapter.js'

describeAdapter('ln-tuning')

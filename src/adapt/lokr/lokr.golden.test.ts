import { describeAdapter } from '../../../test/adapter.js'

describeAdapter('lokr')

import { describeAdapter } from '../../../test/adapter.js'

describeAdapter('ia3')

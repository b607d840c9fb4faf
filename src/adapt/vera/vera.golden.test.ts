import { describeAdapter } from '../../../test/adapter.js'

describeAdapter('vera')

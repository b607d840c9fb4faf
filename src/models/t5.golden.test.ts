import { testGolden } from '../../test/model-golden.js'

testGolden('t5', { tolerance: 5e-5 })

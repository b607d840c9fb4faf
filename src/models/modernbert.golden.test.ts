import { testGolden } from '../../test/model-golden.js'

testGolden('modernbert-mlm')

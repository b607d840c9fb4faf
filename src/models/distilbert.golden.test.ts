import { testGolden } from '../../test/model-golden.js'

testGolden('distilbert-mlm')

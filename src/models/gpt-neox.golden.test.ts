import { testGolden } from '../../test/model-golden.js'

testGolden('gpt-neox')

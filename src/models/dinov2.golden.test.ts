import { testGolden } from '../../test/model-golden.js'

testGolden('dinov2')

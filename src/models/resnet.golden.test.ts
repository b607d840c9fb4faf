import { testGolden } from '../../test/model-golden.js'

testGolden('resnet', { losses: 2e-4 })

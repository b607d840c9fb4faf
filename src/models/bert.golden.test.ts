import { testGolden } from '../../test/model-golden.js'

for (const name of ['bert-mlm', 'bert-classify']) testGolden(name)

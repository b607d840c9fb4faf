import { testGolden } from '../../test/model-golden.js'

for (const name of ['bert-mlm', 'bert-classify', 'roberta-mlm', 'roberta-classify']) testGolden(name)

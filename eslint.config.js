import tseslint from 'typescript-eslint'

export default tseslint.config(
  { ignores: ['dist', 'node_modules', 'runs', 'test/golden', 'bench/out'] },
  ...tseslint.configs.recommended,
  {
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      'no-restricted-exports': ['error', { restrictDefaultExports: { direct: true } }],
      'no-restricted-syntax': [
        'error',
        {
          selector: "MemberExpression[object.name='Math'][property.name='random']",
          message: 'Use weft-ml/random: every draw has a seed.',
        },
        {
          selector:
            "CallExpression[callee.object.name='Math'][callee.property.name=/^(max|min|hypot)$/] > SpreadElement",
          message:
            'A call takes about a hundred thousand arguments: use maxOf, minOf or normOf of src/tensor/numbers.ts.',
        },
        {
          selector:
            'CallExpression[callee.property.name=/^(push|unshift|splice|concat|of|fromCharCode|fromCodePoint)$/] > SpreadElement',
          message:
            'A call takes about a hundred thousand arguments: use append of src/tensor/numbers.ts, or `from`.',
        },
        {
          selector:
            "CallExpression[callee.type='MemberExpression'][callee.property.name='apply'][arguments.length=2]",
          message: 'A call takes about a hundred thousand arguments, by apply too.',
        },
      ],
      'max-lines': ['error', { max: 400 }],
      'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }],
    },
  },
  // A component is mostly the page it draws.
  { files: ['lab/**/*.tsx'], rules: { 'max-lines-per-function': ['error', { max: 130 }] } },
  { files: ['**/*.test.ts', 'test/**', 'bench/**'], rules: { 'max-lines-per-function': 'off' } },
  { files: ['**/*.config.ts', '**/*.config.js'], rules: { 'no-restricted-exports': 'off' } },
)

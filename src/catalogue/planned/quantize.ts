/** @file Planned papers of the family quantize. */
import type { Paper } from '../../papers/card.js'

export const quantize: readonly Paper[] = [
  {
    id: 'bitstack',
    title:
      'BitStack: Fine-Grained Size Control for Compressed Large Language Models in Variable Memory Environments',
    date: '2024-10-31',
    authors: 6,
    arxiv: '2410.23918',
    code: 'https://github.com/xinghaow99/BitStack',
    family: 'quantize',
    summary:
      'A weight is written as a sum of residual blocks, each of which holds the signs of what is left and a low-rank approximation of its magnitudes, after channels were scaled by their activations. The blocks of all layers are sorted by how much they help. A device loads as many as its memory budget allows and may load or drop others later, from one compressed file made without training.',
    claims: [
      {
        quantity: 'zero-shot accuracy at the 2-bit level',
        value: 22.3,
        unit: 'points',
        baseline: 'best of GPTQ and AWQ',
        condition: 'Llama 2 7B',
      },
      {
        quantity: 'zero-shot accuracy kept at the 2-bit level',
        value: 89,
        unit: 'percent',
        baseline: 'float16',
        condition: 'Llama 3.1 70B',
      },
      { quantity: 'size of one block', value: 1, unit: 'bit per weight', condition: 'about' },
    ],
    terms: [
      'quantization',
      'compression',
      'SVD',
      'any-size',
      'memory budget',
      'sign matrix',
      'residual',
      'on-device',
    ],
  },
  {
    id: 'comet-w4a4',
    title: 'COMET: Towards Partical W4A4KV4 LLMs Serving',
    date: '2024-10-15',
    authors: 9,
    arxiv: '2410.12168',
    family: 'quantize',
    summary:
      'Weights, key-value cache and most activations are held in four bits. The few channels with outlying activations are moved by a permutation into the last blocks, which are computed in eight bits, so that accuracy survives; products of both widths are scheduled side by side.',
    claims: [
      {
        quantity: 'kernel speed',
        value: 2.88,
        unit: 'times',
        baseline: 'cuBLAS',
        condition: 'A100-80G, LLaMA',
      },
      {
        quantity: 'throughput end to end',
        value: 2.02,
        unit: 'times',
        baseline: 'TensorRT-LLM',
        condition: 'A100-80G, LLaMA',
      },
    ],
    terms: ['quantization', 'W4A4', 'int4', 'KV cache', 'outliers', 'mixed precision', 'GEMM'],
  },
  {
    id: 'dgq',
    title: 'Dual Grained Quantization: Efficient Fine-Grained Quantization for LLM',
    date: '2023-10-07',
    authors: 6,
    arxiv: '2310.04836',
    code: 'https://github.com/ilur98/DGQ',
    family: 'quantize',
    summary:
      'Weights are stored in four bits with a small integer scale and zero for each group, and unpacked to eight bits by integer arithmetic alone, with one float scale a channel. A layer is then a single eight-bit product instead of a chain of group products with float rescaling. A search over both granularities and smoothing of activations by percentiles replace training.',
    claims: [
      {
        quantity: 'faster',
        value: 3.24,
        unit: 'times',
        baseline: 'A16W4',
        condition: 'A100-class GPU, CUTLASS',
      },
      { quantity: 'less memory', value: 1.12, unit: 'times', baseline: 'A16W4' },
    ],
    terms: ['quantization', 'W4A8', 'int8', 'group-wise', 'post-training', 'SmoothQuant', 'GPTQ', 'AWQ'],
  },
  {
    id: 'feature-coding',
    title: 'Feature Coding in the Era of Large Models: Dataset, Test Conditions, and Benchmark',
    date: '2024-12-05',
    authors: 6,
    arxiv: '2412.04307',
    code: 'https://github.com/chansongoal/FCM-LM',
    family: 'quantize',
    summary:
      'Where the front of a large model runs on a device and its rear on a server, the tensor in between is the traffic. The paper collects such features from three kinds of model over five tasks, fixes how coders are to be tested (bits spent on each number of a feature, against accuracy of the task), and measures two coders, one conventional and one learned, behind a step of truncation and quantization.',
    claims: [
      { quantity: 'features of three kinds of large model and five tasks, with common test conditions' },
      { quantity: 'two baseline coders measured', baseline: 'uncompressed features' },
    ],
    terms: [
      'split computing',
      'collaborative inference',
      'codec',
      'entropy coding',
      'rate-distortion',
      'bitstream',
      'activation compression',
      'edge',
    ],
  },
  {
    id: 'quantllm',
    title: 'One QuantLLM for ALL: Fine-tuning Quantized LLMs Once for Efficient Deployments',
    date: '2024-05-30',
    authors: 7,
    arxiv: '2405.20202',
    family: 'quantize',
    summary:
      'A supernet of bit widths: each layer exists in 2, 3 and 4 bits with a low-rank adapter for each, so that widths do not disturb each other, and one run trains them all. Layers are sampled so that small and large average widths get equal attention. For a memory budget a short search then picks the width of each layer, with no training any more.',
    claims: [
      {
        quantity: 'matches or exceeds models tuned one by one',
        baseline: 'GPTQ + LoRA, QA-LoRA',
        condition: 'LLaMA2, 2 to 4 bits, MMLU and commonsense',
      },
      { quantity: 'deployment cost does not grow with the number of targets' },
    ],
    terms: [
      'once-for-all',
      'mixed precision',
      'quantization-aware training',
      'supernet',
      'LoRA',
      'bit-width search',
    ],
  },
]

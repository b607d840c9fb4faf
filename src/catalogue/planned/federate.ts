/** @file Planned papers of the family federate. */
import type { Paper } from '../../papers/card.js'

export const federate: readonly Paper[] = [
  {
    id: 'one-byte',
    title:
      'Just One Byte (per gradient): A Note on Low-Bandwidth Decentralized Language Model Finetuning Using Shared Randomness',
    date: '2023-06-16',
    authors: 5,
    arxiv: '2306.10015',
    code: 'https://github.com/ezelikman/justonebyte',
    family: 'federate',
    summary:
      'Each machine perturbs all weights along a random direction that everybody can regenerate from a shared seed, measures two losses with forward passes alone, and sends the slope along that direction in a single byte. All peers replay the same list of scalars and so hold the same weights. Memory is that of inference, and peers may join late or leave.',
    claims: [
      {
        quantity: 'bytes sent for a gradient',
        value: 1,
        unit: 'byte',
        baseline: '4 bytes a parameter',
        condition: 'per sample',
      },
      { quantity: 'memory of inference only', baseline: 'training with gradients' },
    ],
    terms: [
      'zeroth-order',
      'MeZO',
      'SPSA',
      'decentralised training',
      'peer-to-peer',
      'bandwidth',
      'shared seed',
      'forward-only',
    ],
  },
  {
    id: 'fedkseed',
    title:
      'Federated Full-Parameter Tuning of Billion-Sized Language Models with Communication Cost under 18 Kilobytes',
    date: '2023-12-11',
    authors: 6,
    arxiv: '2312.06353',
    code: 'https://github.com/zhenqincn/FedKSeed',
    family: 'federate',
    summary:
      'A fixed set of K seeds, each standing for a random direction, is agreed on once. Clients tune all weights by forward passes along these directions and report scalars; the server only keeps one accumulated number a seed, from which anybody rebuilds the current model. Traffic depends on K and not on the model, and seeds whose scalars matter more can be drawn more often.',
    claims: [
      {
        quantity: 'traffic of a round',
        value: 18,
        unit: 'kB',
        baseline: 'gigabytes for FedAvg',
        condition: 'below; billion-parameter models',
      },
      {
        quantity: 'less communication and better generalisation to new tasks',
        baseline: 'federated PEFT',
        condition: 'six scenarios',
      },
    ],
    terms: ['federated learning', 'zeroth-order', 'MeZO', 'random seeds', 'communication efficiency', 'LLM'],
  },
  {
    id: 'ferret',
    title: 'Ferret: Federated Full-Parameter Tuning at Scale for Large Language Models',
    date: '2024-09-10',
    authors: 5,
    arxiv: '2409.06277',
    code: 'https://github.com/allen4747/Ferret',
    family: 'federate',
    summary:
      'Clients train as usual, with gradients, and then project the change of their weights, block by block, onto random directions that follow from a seed. Only the coordinates travel; the server rebuilds every update from them and averages. It needs far fewer rounds than methods that only use forward passes, at a comparable size of message.',
    claims: [
      {
        quantity: 'the first method with both gradients and shared randomness',
        condition: 'federated full-parameter tuning',
      },
      {
        quantity: 'more scalable in compute, bytes and rounds, competitive accuracy',
        baseline: 'FedZO, FedKSeed, FedAvg',
      },
    ],
    terms: [
      'federated learning',
      'random projection',
      'sketching',
      'gradient compression',
      'shared seed',
      'LLM',
    ],
  },
  {
    id: 'sfprompt',
    title:
      'SFPrompt: Communication-Efficient Split Federated Fine-Tuning for Large Pre-Trained Models over Resource-Limited Devices',
    date: '2024-07-24',
    authors: 3,
    arxiv: '2407.17533',
    family: 'federate',
    summary:
      'The model is split in three: embedding and classifier stay with a weak client, the big frozen body sits on the server. Clients tune soft prompts and the tail, most of the time by a short-cut that leaves the body out, and only the samples that matter most (by a pruning score) take the trip over the network. Data and labels stay at home.',
    claims: [
      {
        quantity: 'local compute',
        value: 0.46,
        unit: 'percent',
        baseline: 'federated full fine-tuning',
        condition: 'competitive accuracy',
      },
      { quantity: 'less communication', value: 53, unit: 'percent', baseline: 'federated full fine-tuning' },
    ],
    terms: [
      'split learning',
      'SplitFed',
      'prompt tuning',
      'edge devices',
      'privacy',
      'dataset pruning',
      'EL2N',
    ],
  },
  {
    id: 'fedpeft',
    title: 'Exploring Parameter-Efficient Fine-Tuning to Enable Foundation Models in Federated Learning',
    date: '2022-10-04',
    authors: 5,
    arxiv: '2210.01708',
    code: 'https://github.com/imguangyu/FedPEFT',
    family: 'federate',
    summary:
      'Clients keep a backbone that all of them already have, tune only a small part beside it (biases, an adapter, a prompt, low-rank updates, or the head), and average that alone. Messages shrink by two orders of magnitude, and accuracy holds up, or gains, where clients are scarce, their data uneven and small, or noise is added for privacy.',
    claims: [
      {
        quantity: 'competitive or better accuracy with orders of magnitude fewer bytes',
        baseline: 'full federated tuning',
        condition: 'client stability, skew and privacy settings',
      },
    ],
    terms: [
      'federated learning',
      'LoRA',
      'BitFit',
      'adapter',
      'prompt tuning',
      'differential privacy',
      'ViT',
      'non-IID',
    ],
  },
  {
    id: 'lifl',
    title: 'LIFL: A Lightweight, Event-driven Serverless Platform for Federated Learning',
    date: '2024-05-05',
    authors: 3,
    arxiv: '2405.10968',
    code: 'https://github.com/ShixiongQi/flame',
    family: 'federate',
    summary:
      'The aggregation side of a large federation as a serverless service. Updates are put once into shared memory and only references move; a tree of aggregators starts when updates arrive, is placed close to them, grows and shrinks with the load, and is reused while warm. Aggregation begins with the first update instead of waiting for the last.',
    claims: [
      {
        quantity: 'better resource efficiency and aggregation speed',
        baseline: 'serverful Flame and broker-based serverless',
        condition: 'ResNet-18/152, hundreds of clients',
      },
    ],
    terms: [
      'serverless',
      'hierarchical aggregation',
      'shared memory',
      'zero-copy',
      'eBPF',
      'autoscaling',
      'federated learning system',
    ],
  },
  {
    id: 'fedloge',
    title: 'FedLoGe: Joint Local and Generic Federated Learning under Long-tailed Data',
    date: '2024-01-17',
    authors: 9,
    arxiv: '2401.08977',
    code: 'https://github.com/ZackZikaiXiao/FedLoGe',
    family: 'federate',
    summary:
      'For federations whose data, taken together, has many rare classes, and in which no two clients see the same mixture. A shared backbone is trained against a fixed classifier whose class vectors are sparse and equally far apart, so that rare classes are not squeezed. A global head and one head a client are realigned in norm afterwards: one run yields a generic model and a personal one for each client.',
    claims: [
      {
        quantity: 'better globally and locally',
        baseline: 'personalised and long-tail federated baselines',
        condition: 'CIFAR-10/100-LT, ImageNet-LT, iNaturalist',
      },
    ],
    terms: [
      'long-tail',
      'class imbalance',
      'personalised federated learning',
      'ETF classifier',
      'neural collapse',
      'heterogeneity',
    ],
  },
  {
    id: 'fedpipe',
    title: 'Automated Federated Pipeline for Parameter-Efficient Fine-Tuning of Large Language Models',
    date: '2024-04-09',
    authors: 6,
    arxiv: '2404.06448',
    family: 'federate',
    summary:
      'Edge servers of unequal speed and memory tune one language model without plans made by hand. The weights worth adapting are found by an importance score, each server gets its own rank, batch size and bit width for the frozen base such that all finish a round together, and adapters of different rank are averaged.',
    claims: [
      {
        quantity: 'faster training and higher accuracy with fewer trained parameters',
        baseline: 'vanilla fine-tuning, LoRA, FedAdapter',
      },
    ],
    terms: [
      'federated LoRA',
      'stragglers',
      'heterogeneous devices',
      'quantization',
      'edge computing',
      'resource allocation',
    ],
  },
  {
    id: 'fs-llm',
    title:
      'FederatedScope-LLM: A Comprehensive Package for Fine-tuning Large Language Models in Federated Learning',
    date: '2023-09-01',
    authors: 10,
    arxiv: '2309.00363',
    code: 'https://github.com/alibaba/FederatedScope',
    family: 'federate',
    summary:
      'The whole job in one configuration: split a corpus over clients by label, by source or evenly; tune by low-rank, prefix, p- or prompt methods with the usual aggregation rules; optionally without handing clients the full model, by a compressed emulator; optionally personalised; then compare local, federated and pooled training under the same budget.',
    claims: [
      {
        quantity: 'federated tuning beats local and comes close to pooled training',
        condition: 'LLaMA-7B; instructions, code, mathematics',
      },
      { quantity: 'LoRA best of the tuning methods', baseline: 'prefix, p-tuning, prompt' },
    ],
    terms: [
      'federated learning',
      'benchmark',
      'offsite tuning',
      'FedOT',
      'LoRA',
      'prefix tuning',
      'pFedMe',
      'framework',
    ],
  },
  {
    id: 'fedau',
    title: 'A Lightweight Method for Tackling Unknown Participation Statistics in Federated Averaging',
    date: '2023-06-06',
    authors: 2,
    arxiv: '2306.03401',
    code: 'https://github.com/IBM/fedau',
    family: 'federate',
    summary:
      'Clients that take part often pull the plain average towards their own data. Each client counts the rounds between its appearances and estimates, online, the weight that makes its expected influence equal to that of the others, with a cut-off on the interval to bound the variance. No rates need to be known and no copies of the model are kept, only a few numbers a client.',
    claims: [
      {
        quantity: 'reaches the optimum of the objective that was meant',
        baseline: 'FedAvg, which may diverge from it',
        condition: 'unequal participation',
      },
      {
        quantity: 'memory a client',
        value: 3,
        unit: 'scalars',
        baseline: 'a copy of the model',
        condition: 'two counters and a weight',
      },
    ],
    terms: [
      'federated learning',
      'partial participation',
      'client availability',
      'intermittent devices',
      'FedAvg',
      'bias',
      'MIFA',
      'dropout of clients',
    ],
  },
  {
    id: 'fedconv',
    title: 'FedConv: A Learning-on-Model Paradigm for Heterogeneous Federated Clients',
    date: '2025-02-27',
    authors: 7,
    arxiv: '2502.20639',
    code: 'https://github.com/lemingshen/FedConv',
    family: 'federate',
    summary:
      'The server turns its large model into a smaller one for each client by convolutions over the weight tensors, learned on a little public data, and later grows the returned models back by transposed convolutions before it merges them with learned weights. Clients train an ordinary network of their size and know nothing of all this.',
    claims: [
      {
        quantity: 'accuracy',
        value: 35,
        unit: 'percent',
        baseline: 'heterogeneous federated baselines',
        condition: 'average over six datasets, more than',
      },
      {
        quantity: 'less computation',
        value: 33,
        unit: 'percent',
        baseline: 'heterogeneous federated baselines',
      },
      {
        quantity: 'less communication',
        value: 25,
        unit: 'percent',
        baseline: 'heterogeneous federated baselines',
      },
    ],
    terms: [
      'model heterogeneity',
      'HeteroFL',
      'FedRolex',
      'sub-model',
      'compression',
      'mobile devices',
      'federated learning',
    ],
  },
]

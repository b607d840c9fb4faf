/** @file Planned papers of the family domain. */
import type { Paper } from '../../papers/card.js'

export const domain: readonly Paper[] = [
  {
    id: 'ponita',
    title: 'Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in Position-Orientation Space',
    date: '2023-10-04',
    authors: 5,
    arxiv: '2310.02970',
    code: 'https://github.com/ebekkers/ponita',
    family: 'domain',
    summary:
      'Features live on points and on a grid of directions at each point. Message passing between them depends only on attributes of a pair that do not change under rotation and translation, and these are complete, so direction is kept without spherical-harmonic products. Predictions turn with the molecule or point cloud; vectors can go in and come out.',
    claims: [
      {
        quantity: 'position error',
        value: 0.0043,
        unit: 'MSE',
        baseline: 'EGNN 0.0070, SEGNN 0.0043',
        condition: 'N-body',
      },
      {
        quantity: 'force error',
        value: 5.8,
        unit: 'MAE',
        baseline: 'NequIP 8.2',
        condition: 'rMD17 aspirin',
      },
    ],
    terms: [
      'equivariance',
      'SE(3)',
      'point cloud',
      'molecule',
      'graph neural network',
      'N-body',
      'QM9',
      'invariance',
      'rotation',
    ],
  },
  {
    id: 'hllm',
    title:
      'HLLM: Enhancing Sequential Recommendations via Hierarchical Large Language Models for Item and User Modeling',
    date: '2024-09-19',
    authors: 4,
    arxiv: '2409.12740',
    code: 'https://github.com/bytedance/HLLM',
    family: 'domain',
    summary:
      'Two language models in a row make a sequential recommender. The first reads the text of an item and turns it into one vector, which is cached; the second reads the vectors of what a user interacted with and predicts the vector of the item to come. New items work at once, pretrained knowledge carries over, and a request costs as much as a short sequence.',
    claims: [
      {
        quantity: 'recall at 10',
        value: 6.13,
        unit: 'percent',
        baseline: 'SASRec 5.08, HSTU 4.83',
        condition: 'Pixel8M, 1B',
      },
      {
        quantity: 'recall at 10',
        value: 9.39,
        unit: 'percent',
        baseline: 'HSTU-large 6.50',
        condition: 'Books, 7B, 28,672 negatives',
      },
    ],
    terms: [
      'recommender system',
      'e-commerce',
      'cold start',
      'user history',
      'click prediction',
      'SASRec',
      'HSTU',
      'item embedding',
    ],
  },
  {
    id: 'finephys',
    title:
      'FinePhys: Fine-grained Human Action Generation by Explicitly Incorporating Physical Laws for Effective Skeletal Guidance',
    date: '2025-05-19',
    authors: 6,
    arxiv: '2505.13437',
    code: 'https://github.com/SmartDianLab/FinePhys',
    family: 'domain',
    summary:
      'Poses found frame by frame jitter and break the laws of motion. They are lifted from two dimensions to three by an in-context model, re-estimated by a network that obeys Lagrangian mechanics in both directions of time, and both estimates are fused. Heatmaps of the corrected skeleton then guide a video generator through jumps, turns and somersaults.',
    claims: [
      {
        quantity: 'best of the compared video generators, more natural motion',
        condition: 'FineGym jump, turn and salto sets',
      },
    ],
    terms: [
      'video generation',
      'human motion',
      'pose estimation',
      'physics-informed',
      'gymnastics',
      'Lagrangian',
      'skeleton',
      'diffusion',
    ],
  },
  {
    id: 'mgur',
    title: 'Composed Image Retrieval with Text Feedback via Multi-grained Uncertainty Regularization',
    date: '2022-11-14',
    authors: 5,
    arxiv: '2211.07394',
    code: 'https://github.com/Monoxide-Chen/uncertainty_retrieval',
    family: 'domain',
    summary:
      'A query is a reference image plus text that says what to change. Training names a single target although other gallery images would serve, and the usual contrastive loss pushes these away. Features of the target are perturbed, and the loss is softened by the size of the perturbation, strongly at first and less later, which keeps plausible candidates near. It is a loss and an augmentation and costs nothing at inference.',
    claims: [
      {
        quantity: 'recall at 50',
        value: 4.03,
        unit: 'points',
        baseline: 'strong baseline',
        condition: 'FashionIQ',
      },
      {
        quantity: 'recall at 50',
        value: 3.38,
        unit: 'points',
        baseline: 'strong baseline',
        condition: 'Fashion200k',
      },
      {
        quantity: 'recall at 50',
        value: 2.4,
        unit: 'points',
        baseline: 'strong baseline',
        condition: 'Shoes',
      },
    ],
    terms: [
      'image retrieval',
      'multimodal search',
      'fashion',
      'text feedback',
      'uncertainty',
      'contrastive',
      'CLIP',
      'e-commerce',
    ],
  },
  {
    id: 'eet',
    title: 'Rethinking Vision Transformer for Large-Scale Fine-Grained Image Retrieval',
    date: '2025-04-23',
    authors: 4,
    arxiv: '2504.16691',
    code: 'https://github.com/WhiteJiang/EET',
    family: 'domain',
    summary:
      'Images are retrieved among subcategories that resemble each other by short binary codes from a vision transformer. Tokens of the background are pruned inside the network by their content, which roughly halves the cost of a query, and a teacher that sees all tokens is trained alongside so that the codes keep the details that tell classes apart.',
    claims: [
      {
        quantity: 'lower latency',
        value: 42.7,
        unit: 'percent',
        baseline: 'ViT-Small hashing baselines',
        condition: 'NABirds',
      },
      {
        quantity: 'mean average precision',
        value: 5.15,
        unit: 'points',
        baseline: 'ViT-Small hashing baselines',
        condition: 'NABirds, 16 bits',
      },
    ],
    terms: [
      'hashing',
      'image retrieval',
      'token pruning',
      'fine-grained',
      'knowledge distillation',
      'Hamming distance',
      'ViT',
      'bird',
    ],
  },
  {
    id: 'ultragen',
    title:
      'UltraGen: Extremely Fine-grained Controllable Generation via Attribute Reconstruction and Global Preference Optimization',
    date: '2025-02-17',
    authors: 3,
    arxiv: '2502.12375',
    code: 'https://github.com/LongfeiYun17/UltraGen',
    family: 'domain',
    summary:
      'A generator that keeps dozens of attributes at once: keywords, lengths, case, tone. In the first stage any corpus supplies pairs of a text and its own attributes, from which the text is learned back. In the second, new combinations of attributes that go together but do not repeat each other are invented, samples are scored by checkers, and preference optimisation favours the best over the worst. No labels by hand are needed.',
    claims: [
      {
        quantity: 'higher share of satisfied constraints and better text',
        baseline: 'instruction-tuned models',
        condition: 'about 45 attributes',
      },
    ],
    terms: [
      'controllable generation',
      'constrained generation',
      'instruction following',
      'DPO',
      'attributes',
      'IFEval',
      'self-supervision',
    ],
  },
]

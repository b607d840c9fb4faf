/**
 * @file What people call the field's concepts. A line is one concept: words that a question may use for what a paper
 * calls something else. A line describes the field; one that would serve a single paper or question has no place here.
 */

/** Concepts, one a line. A word may stand in several. */
const lines = `
llm language chatbot assistant gpt conversational transformer
text document prose essay article passage sentence paragraph caption story writing
image picture photo photograph visual vision drawing pixel camera
video clip film movie footage animation
audio music sound song speech voice
network model net neural classifier
train training learn learning fit teach
finetune finetuning tune tuning adapt adaptation customise customize specialise specialize
personal personalised personalise personalize personalisation tailor individual private user
adapter lora peft plugin module
merge merging combine blend fuse fusion mix mixture join unify soup aggregate aggregation average averaging mean
ensemble committee vote collection
checkpoint snapshot save version
compress compression shrink squeeze smaller compact lightweight slim reduce pack fold
tiny small little few handful minor smallest
large huge big enormous massive giant largest billion
long lengthy extended unlimited infinite
memory ram vram footprint storage byte megabyte gigabyte kilobyte disk size
budget limit allowance afford available free spend
quantize quantization quantized bit precision integer rounding
prune pruning remove removal discard drop delete trim zero omit
sparse sparsity mask subset
fast quick speed speedy accelerate rapid latency quicker faster slow delay wait time
throughput capacity rate busy idle
cost cheap expensive price pay money economical purchase
gpu accelerator device hardware chip machine processor worker node computer server
distribute distributed parallel parallelism split spread partition shard divide cut multi
communication network traffic bandwidth internet link transfer message transmit send exchange wire
collective synchronisation synchronization allreduce reduce
overlap hide interleave simultaneously concurrent weave alongside meanwhile
half piece chunk part slice fragment tile
federated collaborative jointly together decentralised decentralized volunteer client participant peer crowd
phone smartphone mobile edge laptop browser tablet client device handset
privacy private secret confidential sensitive
unreliable intermittent unpredictable irregular availability participation absent unknown dropout join leave
gradient backpropagation derivative backward backprop
zeroth perturb perturbation forward direction derivative backpropagation
random randomness seed noise gaussian stochastic
sample sampling draw pick choose select selection subset coreset
search find lookup retrieval retrieve query look
recommend recommender recommendation suggest suggestion advise
shop shopper shopping buy purchase customer product item store commerce user clothes fashion catalogue shoes
next upcoming predict following sequence sequential
molecule chemistry chemical atom compound particle molecular
physics physical law dynamics mechanics simulation simulate
symmetry symmetric equivariant equivariance invariance invariant rotation rotate geometric geometry turn orientation
architecture design topology structure blueprint
supernet subnetwork subnet candidate
layer depth block stack level deep
skip skipping shortcut bypass early exit shorten
attention head query key value
cache remember reuse store keep recompute reprocess
agent assistant planner actor bot team role
conversation chat dialogue history trajectory context session
prompt question request instruction prefill reading input
answer response reply completion decode output writing
generate generation generative generator synthesize synthesis synthetic produce create compose sampler diffusion
diverse diversity variety varied different
constraint attribute requirement rule checklist condition criterion control controllable satisfy obey
preference comparison rank rating judge feedback better worse rival prefer
label labelling annotate annotation annotator demonstration people human pay supervised expert
data dataset corpus document web crawl scraped pool page
filter filtering quality clean curate curation picky selective poor
repeat repetition repeated epoch again
expert specialist specialised skill moe
route router routing dispatch gate assign assignment
balance even fair equal load
share sharing shared common tie tied reuse
basis dictionary atom element component factor vocabulary library
matrix weight parameter tensor
rank decomposition factorisation svd factor
residual difference change delta update vector
base ancestor pretrained foundation backbone original origin start
outlier extreme huge largest
student teacher distill distillation imitate mimic
hash hashing code binary fingerprint signature
species bird animal plant subcategory lookalike fine grained resemble similar detail
reference example picture feedback differ modify alter
uncertain uncertainty doubt ambiguous
grow elastic autoscale scaling expand add resize
downtime interruption stall outage dropped uninterrupted restart
live running online serve serving endpoint deploy deployment production
burst rush surge peak traffic visitor request demand
separate dedicated disaggregated distinct apart dedicate
ring loop circle circular recursive recursion cycle round
scale resolution coarse fine
hyperparameter grid sweep trial configuration
best winner top single
reasoning mathematics math logic thinking step proof
tree branch beam
imbalance rare tail skew minority
error loss accuracy performance
predict prediction forecast estimate extrapolate
market buyer vendor source seller
distance transport similarity close nearest neighbour
unlabelled unlabeled unsupervised self
pose skeleton body human gymnast athlete person motion movement
permutation permute align alignment match matching reorder
evolution evolutionary genetic mutation
several multiple many dozens multi numerous
low small cheap thin narrow
translation translate multilingual
hidden unit neuron channel
survey overview review taxonomy map
interpolate interpolation blend dial
stop stopping halt criterion
freeze frozen fixed untouched
`

/** Every concept as its words. */
export const concepts: readonly (readonly string[])[] = lines
  .trim()
  .split('\n')
  .map((line) => line.split(' '))

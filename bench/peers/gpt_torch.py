"""The benchmark's training step in PyTorch, eager: python gpt_torch.py FOLDER, then a number of steps a line."""

import json
import math
import os
import sys
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c["heads"]
        self.c_attn = nn.Linear(c["width"], 3 * c["width"])
        self.c_proj = nn.Linear(c["width"], c["width"])

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.heads, C // self.heads).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c_fc = nn.Linear(c["width"], 4 * c["width"])
        self.c_proj = nn.Linear(4 * c["width"], c["width"])

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ln_1 = nn.LayerNorm(c["width"], eps=c["epsilon"])
        self.attn = Attention(c)
        self.ln_2 = nn.LayerNorm(c["width"], eps=c["epsilon"])
        self.mlp = MLP(c)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.wte = nn.Embedding(c["vocabulary"], c["width"])
        self.wpe = nn.Embedding(c["time"], c["width"])
        self.h = nn.ModuleList([Block(c) for _ in range(c["layers"])])
        self.ln_f = nn.LayerNorm(c["width"], eps=c["epsilon"])
        self.lm_head = nn.Linear(c["width"], c["vocabulary"], bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, ids):
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.wte(ids) + self.wpe(positions)
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))[:, :-1]
        return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))


def load(model, parameters, file):
    """Copies the weights in; linear weights are stored [in, out], as GPT-2's."""
    own = dict(model.named_parameters())
    with torch.no_grad(), open(file, "rb") as f:
        for entry in parameters:
            shape = entry["shape"]
            data = bytearray(f.read(4 * math.prod(shape)))
            value = torch.frombuffer(data, dtype=torch.float32).view(shape)
            name = entry["name"].removeprefix("transformer.")
            is_linear = ".c_" in name and name.endswith(".weight")
            own.pop(name).copy_(value.t() if is_linear else value)
    assert not own, f"no weights for {list(own)}"


def main():
    torch.set_num_threads(int(os.environ.get("WEFT_BENCH_THREADS") or os.cpu_count()))
    with open(os.path.join(sys.argv[1], "problem.json")) as f:
        problem = json.load(f)
    c, o = problem["config"], problem["optimizer"]
    model = GPT(c)
    load(model, problem["parameters"], os.path.join(sys.argv[1], "weights.bin"))
    ids = torch.tensor(problem["ids"]).view(c["batch"], c["time"])
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=o["rate"],
        betas=(o["beta1"], o["beta2"]),
        eps=o["epsilon"],
        weight_decay=o["decay"],
    )

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(ids)
        loss.backward()
        optimizer.step()
        return loss.item()

    label = f"PyTorch {torch.__version__} eager ({torch.get_num_threads()} threads)"
    print(json.dumps({"label": label}), flush=True)
    for line in sys.stdin:
        times, losses = [], []
        for _ in range(int(line)):
            start = time.perf_counter()
            losses.append(step())
            times.append(1000 * (time.perf_counter() - start))
        print(json.dumps({"times": times, "loss": losses[0]}), flush=True)


main()

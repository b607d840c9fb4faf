"""LoRA's training step in PEFT on the model in a folder: python lora_peft.py FOLDER, then a number of steps a line."""

import json
import os
import sys
import time

import peft
import torch
from transformers import AutoModelForCausalLM


def main():
    torch.set_num_threads(int(os.environ.get("WEFT_BENCH_THREADS") or os.cpu_count()))
    folder = sys.argv[1]
    with open(os.path.join(folder, "problem.json")) as f:
        problem = json.load(f)
    base = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    config = peft.LoraConfig(
        r=problem["rank"],
        lora_alpha=problem["alpha"],
        target_modules="all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    model = peft.get_peft_model(base, config)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=problem["learningRate"])
    ids = torch.tensor(problem["ids"]).view(problem["batch"], problem["time"])

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    label = f"PEFT {peft.__version__}, PyTorch {torch.__version__} ({torch.get_num_threads()} threads)"
    count = sum(p.numel() for p in trained)
    print(json.dumps({"label": label, "trained": count}), flush=True)
    for line in sys.stdin:
        times, losses = [], []
        for _ in range(int(line)):
            start = time.perf_counter()
            losses.append(step())
            times.append(1000 * (time.perf_counter() - start))
        print(json.dumps({"times": times, "loss": losses[0]}), flush=True)


main()

"""A training step in PyTorch on the model in a folder: python lora_peft.py FOLDER [MODE BATCH TIME], then a number of steps a line.

MODE is lora (PEFT's; the default) or full (all weights).
"""

import json
import os
import resource
import sys
import time

import peft
import torch
from transformers import AutoModelForCausalLM


def peak_memory():
    """Greatest resident memory of this process so far, in bytes; on Linux without that of the process it was forked from."""
    try:
        with open("/proc/self/status") as f:
            return next(1024 * int(line.split()[1]) for line in f if line.startswith("VmHWM:"))
    except OSError:
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main():
    torch.set_num_threads(int(os.environ.get("WEFT_BENCH_THREADS") or os.cpu_count()))
    folder = sys.argv[1]
    with open(os.path.join(folder, "problem.json")) as f:
        problem = json.load(f)
    mode = sys.argv[2] if len(sys.argv) > 2 else "lora"
    batch, length = map(int, sys.argv[3:5]) if len(sys.argv) > 3 else (problem["batch"], problem["time"])
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32)
    if mode == "lora":
        config = peft.LoraConfig(
            r=problem["rank"],
            lora_alpha=problem["alpha"],
            target_modules="all-linear",
            lora_dropout=0.0,
            task_type="CAUSAL_LM",
        )
        model = peft.get_peft_model(model, config)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=problem["learningRate"])
    ids = torch.tensor(problem["ids"][: batch * length]).view(batch, length)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        optimizer.step()
        return loss.item()

    library = f"PEFT {peft.__version__}, " if mode == "lora" else ""
    label = f"{library}PyTorch {torch.__version__} ({torch.get_num_threads()} threads)"
    count = sum(p.numel() for p in trained)
    print(json.dumps({"label": label, "trained": count}), flush=True)
    for line in sys.stdin:
        times, losses = [], []
        for _ in range(int(line)):
            start = time.perf_counter()
            losses.append(step())
            times.append(1000 * (time.perf_counter() - start))
        peak = peak_memory()
        print(json.dumps({"times": times, "loss": losses[0], "peak": peak}), flush=True)


main()

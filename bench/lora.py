"""PEFT's LoRA for bench/lora.mjs: a line with the number of a step in, a line with its loss (before the step) and milliseconds out.

  python bench/lora.py FOLDER        FOLDER holds task.json and factors.bin, as bench/lora.mjs writes them

float32, eager, AdamW without decay, no dropout; logits of all positions, as a Trainer has them. Needs torch, transformers, peft.
"""

import json
import sys
import time
from pathlib import Path

import numpy
import peft
import torch
import transformers
from transformers import AutoModelForCausalLM

torch.set_flush_denormal(True)  # as softprompt's command line has it


def main():
    place = Path(sys.argv[1])
    task = json.loads((place / "task.json").read_text())
    torch.set_num_threads(task["threads"])
    transformers.logging.set_verbosity_error()
    base = AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32)
    # model.layers.0.self_attn.q_proj.A -> q_proj
    targets = sorted({factor["name"].split(".")[-2] for factor in task["factors"]})
    config = peft.LoraConfig(r=task["rank"], lora_alpha=task["alpha"], target_modules=targets, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config).train()
    values = numpy.fromfile(place / "factors.bin", dtype="<f4")
    known = dict(model.named_parameters())
    at = 0
    with torch.no_grad():
        for factor in task["factors"]:
            layer, part = factor["name"].rsplit(".", 1)
            size = factor["shape"][0] * factor["shape"][1]
            known[f"base_model.model.{layer}.lora_{part}.default.weight"].copy_(
                torch.from_numpy(values[at : at + size].reshape(factor["shape"]).copy()))
            at += size
    assert at == len(values)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == at
    optimizer = torch.optim.AdamW(trained, lr=task["rate"], weight_decay=0.0)
    batches = [padded(rows) for rows in task["batches"]]
    print(json.dumps(dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__, python=sys.version.split()[0])), flush=True)
    for line in sys.stdin:
        batch = batches[int(line) % len(batches)]
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        print(json.dumps(dict(loss=loss.item(), ms=1000 * (time.perf_counter() - start))), flush=True)


def padded(rows):
    """Text and target as one sequence, padding on the right; only the target counts."""
    length = max(len(row["text"]) + len(row["target"]) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for n, row in enumerate(rows):
        both = row["text"] + row["target"]
        ids[n, : len(both)] = torch.tensor(both)
        mask[n, : len(both)] = 1
        labels[n, len(row["text"]) : len(both)] = torch.tensor(row["target"])
    return dict(input_ids=ids, attention_mask=mask, labels=labels)


if __name__ == "__main__":
    main()

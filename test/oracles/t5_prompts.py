"""What the scripts of T5's prompts share: the small checkpoints with their rows, and loss, gradient and greedy ids of a row.

In:  the checkpoints and batches of tiny_t5.py (oracle.json, oracle.safetensors). Out: values; the scripts write the files.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import T5ForConditionalGeneration

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
NAMES = ["tiny-t5-v10", "tiny-t5-v11"]
MAX_NEW = 6


def rows(ids, mask):
    return [[i for i, on in zip(row, keep) if on] for row, keep in zip(ids, mask)]


def opened(name):
    """The frozen model in float64, the prompt, the decoder's start token, and the texts with their targets."""
    folder = FIXTURES / name
    oracle = json.loads((folder / "oracle.json").read_text())
    prompt = load_file(folder / "oracle.safetensors")["prompt"].double()
    model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float64).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    start = torch.tensor([model.config.decoder_start_token_id])
    pairs = list(zip(rows(oracle["inputIds"], oracle["inputMask"]), rows(oracle["targetIds"], oracle["targetMask"])))
    return model, prompt, start, pairs


def answer(found, logits_of, prompt, target, end):
    """Adds a row's loss, prompt gradient and greedy ids. logits_of(prompt) is a function from the decoder's ids to the logits behind them."""
    given = prompt.clone().requires_grad_(True)
    ids = torch.tensor(target)
    loss = torch.nn.functional.cross_entropy(logits_of(given)(ids[:-1]), ids, reduction="sum")
    loss.backward()
    found["loss"].append(float(loss.detach()))
    found["gradient"].append(given.grad.flatten().tolist())
    with torch.no_grad():
        logits = logits_of(prompt)
        written = []
        while len(written) < MAX_NEW:
            best = logits(torch.tensor(written, dtype=torch.long))[-1].topk(2)
            assert best.values[0] - best.values[1] > 1e-3, "two tokens are nearly alike"
            if int(best.indices[0]) == end:
                break
            written.append(int(best.indices[0]))
    found["greedy"].append(written)

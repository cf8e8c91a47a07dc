"""Writes what transformers computes with a prompt on the decoder's side of the small T5 checkpoints: test/fixtures/tiny-t5-*/decoder.json.

In:  the checkpoints and batches of tiny_t5.py (oracle.json, oracle.safetensors).
Out: per row the loss, the prompt's gradient and the greedy ids. The prompt enters before the decoder's start token, as decoder_inputs_embeds.
Run: python test/oracles/t5_decoder_prompt.py   (checked with torch 2.13, transformers 5.18; CPU, float64 from the float32 weights)

Each row is computed alone and without padding.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import T5ForConditionalGeneration

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
MAX_NEW = 6


def rows(ids, mask):
    return [[i for i, on in zip(row, keep) if on] for row, keep in zip(ids, mask)]


def main(name):
    folder = FIXTURES / name
    oracle = json.loads((folder / "oracle.json").read_text())
    prompt = load_file(folder / "oracle.safetensors")["prompt"].double()
    model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float64).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    table = model.get_input_embeddings()
    start = torch.tensor([model.config.decoder_start_token_id])
    out = {"loss": [], "gradient": [], "greedy": []}
    texts = rows(oracle["inputIds"], oracle["inputMask"])
    targets = rows(oracle["targetIds"], oracle["targetMask"])

    def logits(text, ids, given):
        embeds = torch.cat([given, table(torch.cat([start, ids]))])[None]
        hidden = model(input_ids=torch.tensor([text]), decoder_inputs_embeds=embeds, use_cache=False)
        return hidden.logits[0, given.shape[0]:]

    for text, target in zip(texts, targets):
        given = prompt.clone().requires_grad_(True)
        ids = torch.tensor(target)
        loss = torch.nn.functional.cross_entropy(logits(text, ids[:-1], given), ids, reduction="sum")
        loss.backward()
        out["loss"].append(float(loss))
        out["gradient"].append(given.grad.flatten().tolist())
        with torch.no_grad():
            written = []
            while len(written) < MAX_NEW:
                best = logits(text, torch.tensor(written, dtype=torch.long), prompt)[-1].topk(2)
                assert best.values[0] - best.values[1] > 1e-3, "two tokens are nearly alike"
                if int(best.indices[0]) == model.config.eos_token_id:
                    break
                written.append(int(best.indices[0]))
        out["greedy"].append(written)
    out["maxTokens"] = MAX_NEW
    (folder / "decoder.json").write_text(json.dumps(out) + "\n")


for name in ["tiny-t5-v10", "tiny-t5-v11"]:
    main(name)

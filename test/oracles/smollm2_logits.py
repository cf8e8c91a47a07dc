"""What transformers computes with a real decoder-only model folder, for test/smollm2.test.ts.

In:  FOLDER, and on stdin JSON { rows: [{ text, target }], maxTokens, continued, cache }; ids without padding.
Out: JSON on stdout: { versions, logits: per row [target][V] (base64 of float32), greedy: ids of the first `continued` rows (default all) }.
Run: python test/oracles/smollm2_logits.py FOLDER < rows.json   (torch 2.15, transformers 5.24; CPU, bf16 weights widened to float32)

Each row runs alone, without padding. Greedy ids are recomputed from scratch at each step, so no cache can be wrong; with `cache` they
come from transformers' own cache, for many long ones.
"""

import base64
import json
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM


@torch.no_grad()
def main():
    if sys.argv[1] == "check":
        print(json.dumps(dict(torch=torch.__version__, transformers=transformers.__version__)))
        return
    asked = json.load(sys.stdin)
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, attn_implementation="eager").eval()
    logits, greedy = [], []
    for row in asked["rows"]:
        text, target = row["text"], row["target"]
        out = model(input_ids=torch.tensor([text + target[:-1]]), use_cache=False).logits[0, len(text) - 1 :]
        logits.append(base64.b64encode(out.numpy().tobytes()).decode())
        if len(greedy) < asked.get("continued", len(asked["rows"])):
            greedy.append(continued(model, text, asked["maxTokens"], asked.get("cache", False)))
    versions = dict(torch=torch.__version__, transformers=transformers.__version__)
    print(json.dumps(dict(versions=versions, logits=logits, greedy=greedy)))


def continued(model, text, most, cache):
    ids, past = [], None
    for _ in range(most):
        asked = (text if past is None else ids[-1:]) if cache else text + ids
        out = model(input_ids=torch.tensor([asked]), past_key_values=past, use_cache=cache)
        past = out.past_key_values if cache else None
        best = out.logits[0, -1].argmax().item()
        if best == model.config.eos_token_id:
            break
        ids.append(best)
    return ids


main()

"""What transformers computes with a real decoder-only model folder, for test/smollm2.test.ts.

In:  FOLDER, and on stdin JSON { rows: [{ text, target }], maxTokens }; ids without padding.
Out: JSON on stdout: { versions, logits: per row [target][V] (base64 of float32), greedy: per row ids }.
Run: python test/oracles/smollm2_logits.py FOLDER < rows.json   (torch 2.15, transformers 5.24; CPU, bf16 weights widened to float32)

Each row runs alone, without padding. Greedy ids are recomputed from scratch at each step, so no cache can be wrong.
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
        ids = []
        for _ in range(asked["maxTokens"]):
            best = model(input_ids=torch.tensor([text + ids]), use_cache=False).logits[0, -1].argmax().item()
            if best == model.config.eos_token_id:
                break
            ids.append(best)
        greedy.append(ids)
    print(json.dumps(dict(logits=logits, greedy=greedy)))


main()

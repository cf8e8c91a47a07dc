"""Writes what transformers computes with a prompt on the decoder's side of the small T5 checkpoints: test/fixtures/tiny-t5-*/decoder.json.

In:  the checkpoints and batches of tiny_t5.py (oracle.json, oracle.safetensors).
Out: per row the loss, the prompt's gradient and the greedy ids. The prompt enters before the decoder's start token, as decoder_inputs_embeds.
Run: python test/oracles/t5_decoder_prompt.py   (checked with torch 2.13, transformers 5.18; CPU, float64 from the float32 weights)

Each row is computed alone and without padding.
"""

import json

import torch
from t5_prompts import FIXTURES, MAX_NEW, NAMES, answer, opened


def main(name):
    model, prompt, start, pairs = opened(name)
    table = model.get_input_embeddings()
    out = {"loss": [], "gradient": [], "greedy": []}

    def logits(text, ids, given):
        embeds = torch.cat([given, table(torch.cat([start, ids]))])[None]
        hidden = model(input_ids=torch.tensor([text]), decoder_inputs_embeds=embeds, use_cache=False)
        return hidden.logits[0, given.shape[0]:]

    for text, target in pairs:
        answer(out, lambda given: lambda ids: logits(text, ids, given), prompt, target, model.config.eos_token_id)
    out["maxTokens"] = MAX_NEW
    (FIXTURES / name / "decoder.json").write_text(json.dumps(out) + "\n")


for name in NAMES:
    main(name)

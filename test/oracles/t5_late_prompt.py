"""Writes what PyTorch computes with a prompt that enters the encoder of the small T5 checkpoints late: test/fixtures/tiny-t5-*/late.json.

In:  the checkpoints and batches of tiny_t5.py (oracle.json, oracle.safetensors).
Out: per block k from 1, per row: the loss, the prompt's gradient and the greedy ids. transformers' own blocks below k read the text alone;
     those from k on read prompt and text, with the positions of both together.
Run: python test/oracles/t5_late_prompt.py   (checked with torch 2.13, transformers 5.18; CPU, float64 from the float32 weights)

Each row is computed alone and without padding.
"""

import json

import torch
from t5_prompts import FIXTURES, MAX_NEW, NAMES, answer, opened
from transformers.modeling_outputs import BaseModelOutput


def through(encoder, blocks, hidden):
    """Blocks of an encoder without mask. The table of distances belongs to the first block."""
    length = hidden.shape[1]
    bias = encoder.block[0].layer[0].SelfAttention.compute_bias(length, length)
    for block in blocks:
        attention = block.layer[0]
        hidden = hidden + attention.SelfAttention(attention.layer_norm(hidden), position_bias=bias)[0]
        hidden = block.layer[-1](hidden)
    return hidden


def main(name):
    model, prompt, start, pairs = opened(name)
    encoder = model.encoder
    table = model.get_input_embeddings()

    def read(text, given, k):
        below = through(encoder, encoder.block[:k], table(torch.tensor([text])))
        return encoder.final_layer_norm(through(encoder, encoder.block[k:], torch.cat([given[None], below], 1)))

    # the whole encoder, by the same means, is transformers' own
    first = pairs[0][0]
    own = model.encoder(input_ids=torch.tensor([first])).last_hidden_state
    assert (read(first, prompt[:0], 0) - own).abs().max() < 1e-12

    def over(hidden):
        def logits(ids):
            states = BaseModelOutput(last_hidden_state=hidden)
            return model(encoder_outputs=states, decoder_input_ids=torch.cat([start, ids])[None], use_cache=False).logits[0]

        return logits

    out = {"maxTokens": MAX_NEW, "blocks": {}}
    for k in range(1, len(encoder.block)):
        found = {"loss": [], "gradient": [], "greedy": []}
        for text, target in pairs:
            answer(found, lambda given: over(read(text, given, k)), prompt, target, model.config.eos_token_id)
        out["blocks"][k] = found
    (FIXTURES / name / "late.json").write_text(json.dumps(out) + "\n")


for name in NAMES:
    main(name)

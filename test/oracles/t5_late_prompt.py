"""Writes what PyTorch computes with a prompt that enters the encoder of the small T5 checkpoints late: test/fixtures/tiny-t5-*/late.json.

In:  the checkpoints and batches of tiny_t5.py (oracle.json, oracle.safetensors).
Out: per block k from 1, per row: the loss, the prompt's gradient and the greedy ids. transformers' own blocks below k read the text alone;
     those from k on read prompt and text, with the positions of both together.
Run: python test/oracles/t5_late_prompt.py   (checked with torch 2.13, transformers 5.18; CPU, float64 from the float32 weights)

Each row is computed alone and without padding.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
MAX_NEW = 6


def rows(ids, mask):
    return [[i for i, on in zip(row, keep) if on] for row, keep in zip(ids, mask)]


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
    folder = FIXTURES / name
    oracle = json.loads((folder / "oracle.json").read_text())
    prompt = load_file(folder / "oracle.safetensors")["prompt"].double()
    model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float64).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    encoder = model.encoder
    table = model.get_input_embeddings()
    start = torch.tensor([model.config.decoder_start_token_id])
    texts = rows(oracle["inputIds"], oracle["inputMask"])
    targets = rows(oracle["targetIds"], oracle["targetMask"])

    def read(text, given, k):
        below = through(encoder, encoder.block[:k], table(torch.tensor([text])))
        return encoder.final_layer_norm(through(encoder, encoder.block[k:], torch.cat([given[None], below], 1)))

    # the whole encoder, by the same means, is transformers' own
    own = model.encoder(input_ids=torch.tensor([texts[0]])).last_hidden_state
    assert (read(texts[0], prompt[:0], 0) - own).abs().max() < 1e-12

    def logits(hidden, ids):
        decoded = model(encoder_outputs=BaseModelOutput(last_hidden_state=hidden), decoder_input_ids=torch.cat([start, ids])[None], use_cache=False)
        return decoded.logits[0]

    out = {"maxTokens": MAX_NEW, "blocks": {}}
    for k in range(1, len(encoder.block)):
        found = {"loss": [], "gradient": [], "greedy": []}
        for text, target in zip(texts, targets):
            given = prompt.clone().requires_grad_(True)
            ids = torch.tensor(target)
            loss = torch.nn.functional.cross_entropy(logits(read(text, given, k), ids[:-1]), ids, reduction="sum")
            loss.backward()
            found["loss"].append(float(loss.detach()))
            found["gradient"].append(given.grad.flatten().tolist())
            with torch.no_grad():
                hidden = read(text, prompt, k)
                written = []
                while len(written) < MAX_NEW:
                    best = logits(hidden, torch.tensor(written, dtype=torch.long))[-1].topk(2)
                    assert best.values[0] - best.values[1] > 1e-3, "two tokens are nearly alike"
                    if int(best.indices[0]) == model.config.eos_token_id:
                        break
                    written.append(int(best.indices[0]))
            found["greedy"].append(written)
        out["blocks"][k] = found
    (folder / "late.json").write_text(json.dumps(out) + "\n")


for name in ["tiny-t5-v10", "tiny-t5-v11"]:
    main(name)

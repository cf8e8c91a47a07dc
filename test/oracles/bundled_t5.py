"""What transformers computes with the models that ship with the package, for test/bundled.test.ts.

In:  models/NAME, a folder of bfloat16 weights, widened to float32.
Out: test/fixtures/bundled/NAME.json and NAME.safetensors: four rows of different lengths without padding, one prompt for all; of every
     target position every 128th logit, each row's summed loss, each row's gradient of the prompt, and the losses without a prompt.
Run: python test/oracles/bundled_t5.py   (torch 2.15, transformers 5.24, safetensors 0.8; CPU)
"""

import json
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import T5ForConditionalGeneration

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = [(5, 2), (23, 4), (61, 3), (140, 5)]  # input and target, </s> included; beyond 128 all distances share a bucket
TOKENS, EVERY, EOS = 6, 128, 1


def ids(count, g):
    return torch.randint(3, 8000, (count - 1,), generator=g).tolist() + [EOS]


def run(model, prompt, text, target):
    """Logits [U, V] and summed loss of one row behind the prompt."""
    embeds = torch.cat([prompt, model.shared(torch.tensor(text))])[None]
    labels = torch.tensor([target])
    logits = model(inputs_embeds=embeds, labels=labels).logits[0]
    return logits, torch.nn.functional.cross_entropy(logits, labels[0], reduction="sum")


def make(name):
    g = torch.Generator().manual_seed(19)
    model = T5ForConditionalGeneration.from_pretrained(ROOT / "models" / name, dtype=torch.float32).eval().requires_grad_(False)
    rows = [dict(input=ids(a, g), target=ids(b, g)) for a, b in LENGTHS]
    prompt = torch.randn(TOKENS, model.config.d_model, generator=g)
    logits, losses, gradients, bare = [], [], [], []
    for row in rows:
        own = prompt.clone().requires_grad_(True)
        out, loss = run(model, own, row["input"], row["target"])
        loss.backward()
        logits.append(out.detach()[:, ::EVERY])
        losses.append(loss.detach())
        gradients.append(own.grad)
        bare.append(run(model, prompt[:0], row["input"], row["target"])[1])
    folder = ROOT / "test/fixtures/bundled"
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(prompt=prompt, logits=torch.cat(logits), loss=torch.stack(losses), gradients=torch.stack(gradients))
    tensors["bare.loss"] = torch.stack(bare)
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / f"{name}.safetensors")
    made = f"test/oracles/bundled_t5.py; torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    (folder / f"{name}.json").write_text(json.dumps(dict(madeBy=made, every=EVERY, rows=rows)) + "\n")
    print(name, [round(v.item(), 3) for v in losses])


if __name__ == "__main__":
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for name in ("t5-nano", "t5-mini"):
        make(name)

"""Twenty SGD steps of every method on test/fixtures/tiny-t5-v11, by PEFT and PyTorch.

In:  test/fixtures/tiny-t5-v11. Out: test/fixtures/methods.json and methods.safetensors: per method its settings, start values, gradients
     of the first step, loss of every step, and the parameters after the last. Of full fine-tuning only norms are kept.
Run: python test/oracles/methods.py   (checked with torch 2.15, transformers 5.24, peft 0.21.2; CPU, float32)

Authorities: PEFT itself for lora, p-tuning and prefix (decoder's self attention, as PEFT does it; with and without the projection);
transformers' own cache, given to every attention, for a prefix everywhere; PyTorch modules for the reparametrised prompts and for full.
Random matrices that are never trained are drawn by the package's own generator, which is written again here.
"""

import json
import math
from pathlib import Path

import peft
import torch
import transformers
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F
from transformers import T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
BASE = FIXTURES / "tiny-t5-v11"
STEPS, P, D, GK = 20, 4, 32, 24
IDS = [[5, 17, 42, 9, 33, 1], [60, 3, 1], [11, 12, 13, 71, 1], [88, 1]]
TARGETS = [[8, 30, 1], [77, 1], [4, 90, 1], [50, 1]]


def padded(rows):
    longest = max(map(len, rows))
    ids = torch.tensor([r + [0] * (longest - len(r)) for r in rows])
    return ids, torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])


IDS_T, MASK = padded(IDS)
TARGET, TARGET_MASK = padded(TARGETS)
SHIFTED = torch.cat([torch.zeros((len(IDS), 1), dtype=torch.long), TARGET[:, :-1]], 1)


def generator(seed, name):
    """The package's stream (src/base/random.ts): sfc32 seeded by FNV-1a; numbers in [0, 1)."""
    M = 0xFFFFFFFF

    def fnv(text):
        h = 0x811C9DC5
        for ch in text:
            h = ((h ^ ord(ch)) * 0x01000193) & M
        return h

    a, b, c, d = (fnv(f"{seed}/{x}/{name}") for x in "abc"), None, None, 1
    a, b, c = a

    def bits():
        nonlocal a, b, c, d
        t = (a + b + d) & M
        d = (d + 1) & M
        a = b ^ (b >> 9)
        b = (c + (c << 3)) & M
        c = (((c << 21) | (c >> 11)) + t) & M
        return t

    for _ in range(15):
        bits()
    return lambda: bits() / 4294967296


def sample(seed, name, n, count):
    draw = generator(seed, name)
    p = list(range(n))
    for i in range(n - 1, 0, -1):
        j = math.floor(draw() * (i + 1))
        p[i], p[j] = p[j], p[i]
    return p[:count]


def projection(seed, name, r, width):
    draw, most = generator(seed, name), math.sqrt(3 / r)
    return torch.tensor([[-most + 2 * most * draw() for _ in range(width)] for _ in range(r)])


def base_model():
    return T5ForConditionalGeneration.from_pretrained(BASE, dtype=torch.float32, attn_implementation="eager").eval()


def mean_loss(logits):
    logp = logits.log_softmax(-1).gather(-1, TARGET[..., None])[..., 0]
    return -(logp * TARGET_MASK).sum() / TARGET_MASK.sum()


def run(named, forward, rate):
    """SGD; named: our names -> leaf tensors. The tiny models are steep: at ten times these rates two float32 runs part within ten steps."""
    rate = rate / 60
    start = {n: t.detach().clone() for n, t in named.items()}
    losses, first = [], None
    for _ in range(STEPS):
        loss = forward()
        gradients = torch.autograd.grad(loss, list(named.values()))
        first = first or {n: g.clone() for n, g in zip(named, gradients)}
        losses.append(loss.item())
        with torch.no_grad():
            for t, g in zip(named.values(), gradients):
                t -= rate * g
    return {"start": start, "gradient": first, "end": {n: t.detach().clone() for n, t in named.items()}, "losses": losses, "rate": rate}


def frozen_model():
    model = base_model()
    for p in model.parameters():
        p.requires_grad_(False)
    return model


def with_prompt(make, named, rate):
    """A method that computes a prompt [P, D]."""
    model = frozen_model()

    def forward():
        prompt = make(model).expand(len(IDS), -1, -1)
        mask = torch.cat([torch.ones((len(IDS), P), dtype=torch.long), MASK], 1)
        embeds = torch.cat([prompt, model.shared(IDS_T)], 1)
        return mean_loss(model(inputs_embeds=embeds, attention_mask=mask, decoder_input_ids=SHIFTED, use_cache=False).logits)

    return run(named, forward, rate)


def leaf(*shape, std=0.3):
    return (torch.randn(shape) * std).requires_grad_(True)


def superpos(tuned):
    m = 6
    ids = sample(0, "superpos", 96, m)
    named = {"mixture": leaf(P, m, std=0.5)}
    table = base_model().shared.weight.detach()[ids].clone()
    basis = table.requires_grad_(tuned)
    if tuned:
        named["basis"] = basis
    return with_prompt(lambda _: named["mixture"] @ basis, named, 0.05 if tuned else 0.5), {"superposBasis": m, "superposTuneBasis": tuned}


def ulpt():
    R = projection(0, "ulpt", 5, D)
    v = {"coordinates": leaf(P, 5), "scale": (1 + leaf(D, std=0.1)).detach().requires_grad_(True), "shift": leaf(D, std=0.1)}
    return with_prompt(lambda _: (v["coordinates"] @ R) * v["scale"] + v["shift"], v, 0.05), {"ulptRank": 5}


def shift():
    v = {"vectors": leaf(P, D), "shift": leaf(D, std=0.1)}
    return with_prompt(lambda _: v["vectors"] + v["shift"], v, 0.3), {}


def low_rank():
    v = {"left": leaf(P, 3), "right": leaf(3, D)}
    return with_prompt(lambda _: v["left"] @ v["right"], v, 0.03), {"lowRank": 3}


def residual():
    m = 7
    v = {"vectors": leaf(P, D), "down.weight": leaf(m, D), "down.bias": leaf(m), "up.weight": leaf(D, m), "up.bias": leaf(D),
         "norm.weight": (1 + leaf(D, std=0.1)).detach().requires_grad_(True), "norm.bias": leaf(D, std=0.1)}

    def make(_):
        outer = F.linear(F.relu(F.linear(v["vectors"], v["down.weight"], v["down.bias"])), v["up.weight"], v["up.bias"])
        return v["vectors"] + F.layer_norm(outer, (D,), v["norm.weight"], v["norm.bias"], 1e-5)

    return with_prompt(make, v, 0.1), {"residualBottleneck": m}


def peft_model(config):
    model = peft.get_peft_model(base_model(), config)
    model.eval()
    return model


def peft_forward(model):
    return lambda: mean_loss(model(input_ids=IDS_T, attention_mask=MASK, decoder_input_ids=SHIFTED).logits)


def p_tuning():
    model = peft_model(peft.PromptEncoderConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=P, encoder_hidden_size=16))
    encoder = model.prompt_encoder["default"]
    # PEFT allots rows for the decoder too and never reads them
    rows = encoder.embedding.weight.detach()[:P].clone().requires_grad_(True)
    full = encoder.embedding.weight.detach().clone()
    named = {"vectors": rows}
    for i, layer in enumerate(l for l in encoder.mlp_head if isinstance(l, nn.Linear)):
        named |= {f"encoder.{i}.weight": layer.weight, f"encoder.{i}.bias": layer.bias}
    # the module's own forward, over an embedding whose first rows are the leaf
    encoder.embedding.forward = lambda ids: F.embedding(ids, torch.cat([rows, full[P:]]))
    forward = peft_forward(model)
    return run(named, forward, 0.2), {"pTuningHidden": 16}


def p_tuning_lstm():
    # one submodule: PEFT would else run its LSTM over rows for the decoder too
    model = peft_model(peft.PromptEncoderConfig(
        task_type="SEQ_2_SEQ_LM", num_virtual_tokens=P, encoder_hidden_size=6, num_transformer_submodules=1,
        encoder_reparameterization_type="LSTM", encoder_num_layers=1, encoder_dropout=0.0))
    encoder = model.prompt_encoder["default"]
    named = {"vectors": encoder.embedding.weight}
    for way, end in (("forward", ""), ("backward", "_reverse")):
        for ours, theirs in (("input.weight", "weight_ih"), ("hidden.weight", "weight_hh"), ("input.bias", "bias_ih"), ("hidden.bias", "bias_hh")):
            named[f"lstm.{way}.{ours}"] = getattr(encoder.lstm_head, f"{theirs}_l0{end}")
    for i, layer in enumerate(l for l in encoder.mlp_head if isinstance(l, nn.Linear)):
        named |= {f"encoder.{i}.weight": layer.weight, f"encoder.{i}.bias": layer.bias}
    return run(named, peft_forward(model), 0.2), {"pTuningHidden": 6, "pTuningEncoder": "lstm"}


def lora():
    targets = ["q", "v", "wi_0", "wo"]
    model = peft_model(peft.LoraConfig(task_type="SEQ_2_SEQ_LM", r=4, lora_alpha=6, target_modules=targets, lora_dropout=0.0))
    named = {}
    for name, module in model.named_modules():
        if hasattr(module, "lora_A"):
            short = name.removeprefix("base_model.model.")
            named[f"{short}.A"] = module.lora_A["default"].weight
            named[f"{short}.B"] = module.lora_B["default"].weight
    assert all(not t.any() for n, t in named.items() if n.endswith(".B"))
    return run(named, peft_forward(model), 0.3), {"loraRank": 4, "loraAlpha": 6, "loraTargets": targets}


# PEFT's layer l of an encoder-decoder takes pair 2l mod L; the config records the encoder's L = 3
PAIRS = [0, 2]


def prefix_config(**more):
    return peft.PrefixTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=P, token_dim=GK, num_attention_heads=3, num_layers=3, **more)


def columns(t):
    """Of PEFT's last axis [..., 3*2*GK] what is read, as ours lies."""
    return torch.cat([t[..., p * 2 * GK : (p + 1) * 2 * GK] for p in PAIRS], -1)


def spread(t, full):
    parts = list(full.split(2 * GK, -1))
    for i, p in enumerate(PAIRS):
        parts[p] = t[..., i * 2 * GK : (i + 1) * 2 * GK]
    return torch.cat(parts, -1)


def prefix_peft():
    model = peft_model(prefix_config())
    encoder = model.prompt_encoder["default"]
    full = encoder.embedding.weight.detach().clone() * 0.5
    own = columns(full).clone().requires_grad_(True)
    encoder.embedding.forward = lambda ids: F.embedding(ids, spread(own, full))
    return run({"decoder.self.prefix": own}, peft_forward(model), 0.5), {"prefixAttentions": ["decoder.self"], "prefixHidden": 0}


def prefix_projected():
    # PEFT's vectors have the width token_dim, 24 here; ours have the model's, 32: the last 8 are zeros that meet zero columns
    model = peft_model(prefix_config(prefix_projection=True, encoder_hidden_size=10))
    encoder = model.prompt_encoder["default"]
    vectors, down, up = encoder.embedding.weight, encoder.transform[0], encoder.transform[2]
    w, b = columns(up.weight.detach().T).T.clone().requires_grad_(True), columns(up.bias.detach()).clone().requires_grad_(True)
    full_w, full_b = up.weight.detach().clone(), up.bias.detach().clone()
    up.forward = lambda x: F.linear(x, spread(w.T, full_w.T).T, spread(b, full_b))
    result = run({"vectors": vectors, "down.weight": down.weight, "down.bias": down.bias, "up.weight": w, "up.bias": b}, peft_forward(model), 0.2)
    wide = lambda t: F.pad(t, (0, D - GK))
    for part in ("start", "gradient", "end"):
        for key in ("vectors", "down.weight"):
            result[part][key] = wide(result[part][key])
        result[part] = {f"decoder.self.{k}": t for k, t in result[part].items()}
    return result, {"prefixAttentions": ["decoder.self"], "prefixHidden": 10}


class Cache:
    """What an attention asks of transformers' cache: how many keys came before, and all keys and values together."""

    def __init__(self, keys, values):
        self.keys, self.values = keys, values

    def get_seq_length(self, _):
        return self.keys.shape[-2]

    def update(self, keys, values, _, **__):
        join = lambda own, new: torch.cat([own.expand(new.shape[0], -1, -1, -1), new], 2)
        return join(self.keys, keys), join(self.values, values)


def prefix_everywhere():
    model = frozen_model()
    kinds = {"encoder.self": (model.encoder, 0, 3), "decoder.self": (model.decoder, 0, 2), "decoder.cross": (model.decoder, 1, 2)}
    named = {f"{kind}.prefix": leaf(P, layers * 2 * GK) for kind, (_, _, layers) in kinds.items()}
    sites = {}
    for kind, (stack, at, layers) in kinds.items():
        for layer in range(layers):
            block = stack.block[layer].layer[at]
            sites[block.SelfAttention if at == 0 else block.EncDecAttention] = (kind, layer)
    original = T5Attention.forward

    def forward(self, hidden_states, mask=None, key_value_states=None, position_bias=None, cache=None, **rest):
        kind, layer = sites[self]
        parts = named[f"{kind}.prefix"].view(P, -1, 3, GK // 3).permute(1, 2, 0, 3)
        own = Cache(parts[2 * layer][None], parts[2 * layer + 1][None])
        wide = None if mask is None else F.pad(mask, (P, 0))
        return original(self, hidden_states, wide, key_value_states, position_bias, own, **rest)

    T5Attention.forward = forward
    try:
        loss = lambda: mean_loss(model(input_ids=IDS_T, attention_mask=MASK, decoder_input_ids=SHIFTED, use_cache=False).logits)
        return run(named, loss, 0.5), {"prefixHidden": 0}
    finally:
        T5Attention.forward = original


def full(parts):
    model = base_model()
    names = {n: p for n, p in model.named_parameters() if parts is None or any(f".{part}." in f".{n}." for part in parts)}
    return run(names, lambda: mean_loss(model(input_ids=IDS_T, attention_mask=MASK, decoder_input_ids=SHIFTED, use_cache=False).logits), 0.02), (
        {} if parts is None else {"fullParts": parts}
    )


CASES = {
    "lora": ("lora", lora),
    "prefix, PEFT": ("prefix", prefix_peft),
    "prefix, PEFT with projection": ("prefix", prefix_projected),
    "prefix everywhere": ("prefix", prefix_everywhere),
    "p-tuning": ("p-tuning", p_tuning),
    "p-tuning, LSTM": ("p-tuning", p_tuning_lstm),
    "superpos": ("superpos", lambda: superpos(False)),
    "superpos with a trained basis": ("superpos", lambda: superpos(True)),
    "ulpt": ("ulpt", ulpt),
    "shift": ("shift", shift),
    "residual": ("residual", residual),
    "low-rank": ("low-rank", low_rank),
    "full": ("full", lambda: full(None)),
    "full, parts": ("full", lambda: full(["layer_norm", "decoder.block.1"])),
}


def main():
    cases, tensors = {}, {}
    for case, (method, make) in CASES.items():
        torch.manual_seed(3)
        result, settings = make()
        cases[case] = {"method": method, "settings": settings, "rate": result["rate"], "losses": result["losses"]}
        if method == "full":
            cases[case]["norms"] = {part: {n: t.double().norm().item() for n, t in result[part].items()} for part in ("gradient", "end")}
            continue
        for part in ("start", "gradient", "end"):
            for name, t in result[part].items():
                tensors[f"{case}/{part}/{name}"] = t.detach().contiguous().clone()
        print(f"{case}: {result['losses'][0]:.4f} -> {result['losses'][-1]:.4f} at {result['rate']}")
    versions = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, peft {peft.__version__}"
    told = {"madeBy": f"test/oracles/methods.py; {versions}", "input": IDS, "target": TARGETS, "virtualTokens": P, "cases": cases}
    (FIXTURES / "methods.json").write_text(json.dumps(told) + "\n")
    save_file(tensors, FIXTURES / "methods.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()

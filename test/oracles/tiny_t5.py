"""Writes the small random T5 checkpoints of test/fixtures/tiny-t5-* and what transformers computes on them.

In:  nothing (seeds stand below).
Out: per model a Hugging Face folder (config.json, safetensors) and oracle.json + oracle.safetensors beside it.
Run: python test/oracles/tiny_t5.py   (checked with torch 2.13, transformers 5.18, safetensors 0.8; CPU, float32)

Every number comes from `T5ForConditionalGeneration.from_pretrained(folder, dtype=float32).eval()`: the prompt enters as
`inputs_embeds`, the attention mask is extended by P ones. Weights are drawn larger than T5 draws them, so that attention is
far from uniform and a wrong bias, scale or mask shows. Distances up to 40 stand against max_distance 20, so that the last
bucket is used. Seeds were searched for greedy sequences that differ by row, where at least one row ends early and no argmax is near a tie.
"""

import json
import shutil
from pathlib import Path

import safetensors
import torch
import transformers
from safetensors.torch import save_file
from transformers import T5ForConditionalGeneration

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
B, P, T, U = 4, 5, 36, 6
MAX_NEW = 8
# T5's own field names; inner = heads * d_kv differs from d_model except in the sharded one
MODELS = {
    "tiny-t5-v10": dict(d_model=32, d_kv=8, num_heads=3, d_ff=48, num_layers=2, num_decoder_layers=2, vocab_size=96,
                        feed_forward_proj="relu", tie_word_embeddings=True, seed=1, dtype=torch.float32, shards=1),
    "tiny-t5-v11": dict(d_model=32, d_kv=8, num_heads=3, d_ff=48, num_layers=3, num_decoder_layers=2, vocab_size=96,
                        feed_forward_proj="gated-gelu", tie_word_embeddings=False, seed=2, dtype=torch.float32, shards=1),
    "tiny-t5-flan-sharded": dict(d_model=24, d_kv=8, num_heads=3, d_ff=40, num_layers=2, num_decoder_layers=3, vocab_size=96,
                                 feed_forward_proj="gated-gelu", tie_word_embeddings=False, seed=3, dtype=torch.float32, shards=2),
    "tiny-t5-bf16": dict(d_model=32, d_kv=8, num_heads=3, d_ff=48, num_layers=2, num_decoder_layers=2, vocab_size=96,
                         feed_forward_proj="gated-gelu", tie_word_embeddings=False, seed=4, dtype=torch.bfloat16, shards=1),
    "tiny-t5-f16": dict(d_model=32, d_kv=8, num_heads=3, d_ff=48, num_layers=2, num_decoder_layers=2, vocab_size=96,
                        feed_forward_proj="relu", tie_word_embeddings=True, seed=5, dtype=torch.float16, shards=1),
}
BUCKETS, MAX_DISTANCE = 8, 20


def config_json(m):
    """As the published checkpoints write it (transformers 4 spelling)."""
    own = {k: v for k, v in m.items() if k not in ("seed", "dtype", "shards")}
    return {
        "architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True, **own,
        "relative_attention_num_buckets": BUCKETS, "relative_attention_max_distance": MAX_DISTANCE,
        "layer_norm_epsilon": 1e-6, "dropout_rate": 0.1, "initializer_factor": 1.0, "use_cache": True,
        "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0,
    }


def draw_weights(m, generator):
    """Tensors by Hugging Face name, in float32."""
    D, I, F, V = m["d_model"], m["num_heads"] * m["d_kv"], m["d_ff"], m["vocab_size"]
    normal = lambda shape, std: torch.randn(shape, generator=generator) * std
    norm = lambda: 1 + normal((D,), 0.3)
    # small beside what the blocks add, or else a tied model only repeats its last token
    w = {"shared.weight": normal((V, D), 0.25)}
    gated = m["feed_forward_proj"].startswith("gated")
    for stack, layers in (("encoder", m["num_layers"]), ("decoder", m["num_decoder_layers"])):
        attentions = ["SelfAttention"] + (["EncDecAttention"] if stack == "decoder" else [])
        for b in range(layers):
            at = f"{stack}.block.{b}.layer"
            for i, a in enumerate(attentions):
                # q·k is not divided by sqrt(d_kv) in T5: scores of standard deviation about 1.5
                w[f"{at}.{i}.{a}.q.weight"] = normal((I, D), 0.75 / D**0.5)
                w[f"{at}.{i}.{a}.k.weight"] = normal((I, D), 0.75 / D**0.5)
                w[f"{at}.{i}.{a}.v.weight"] = normal((I, D), 1.0 / D**0.5)
                w[f"{at}.{i}.{a}.o.weight"] = normal((D, I), 1.5 / I**0.5)
                if b == 0 and i == 0:
                    w[f"{at}.{i}.{a}.relative_attention_bias.weight"] = normal((BUCKETS, m["num_heads"]), 1.0)
                w[f"{at}.{i}.layer_norm.weight"] = norm()
            f = len(attentions)
            for wi in ("wi_0", "wi_1") if gated else ("wi",):
                w[f"{at}.{f}.DenseReluDense.{wi}.weight"] = normal((F, D), 1.2 / D**0.5)
            w[f"{at}.{f}.DenseReluDense.wo.weight"] = normal((D, F), 1.5 / F**0.5)
            w[f"{at}.{f}.layer_norm.weight"] = norm()
        w[f"{stack}.final_layer_norm.weight"] = norm() * (5 if stack == "decoder" and m["tie_word_embeddings"] else 1)
    if not m["tie_word_embeddings"]:
        w["lm_head.weight"] = normal((V, D), 0.6)
    return w


def save_model(folder, m, weights):
    stored = {k: v.to(m["dtype"]).contiguous() for k, v in weights.items()}
    (folder / "config.json").write_text(json.dumps(config_json(m), indent=2) + "\n")
    if m["shards"] == 1:
        save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(stored)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    weight_map = {}
    for i, part in enumerate(parts):
        file = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        save_file({n: stored[n] for n in part}, folder / file, metadata={"format": "pt"})
        weight_map |= {n: file for n in part}
    total = sum(t.numel() * t.element_size() for t in stored.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")


def draw_batch(V, generator):
    """Rows of different length, padded with 0; the last id of each is end-of-sequence."""
    def rows(lengths, longest):
        ids, mask = torch.zeros((B, longest), dtype=torch.long), torch.zeros((B, longest), dtype=torch.long)
        for b, n in enumerate(lengths):
            ids[b, : n - 1] = torch.randint(3, V, (n - 1,), generator=generator)
            ids[b, n - 1], mask[b, :n] = 1, 1
        return ids, mask
    return (*rows([T, 7, 22, 2], T), *rows([3, U, 1, 4], U))


class Model:
    """One loaded model and the passes the oracle needs."""

    def __init__(self, folder):
        self.hf = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
        assert all(p.dtype == torch.float32 for p in self.hf.parameters())

    def inputs(self, prompt, ids, mask):
        embeds = torch.cat([prompt, self.hf.shared(ids)], 1)
        return embeds, torch.cat([torch.ones(prompt.shape[:2], dtype=torch.long), mask], 1)

    def forward(self, prompt, ids, mask, targets, target_mask):
        """prompt [B, P, D] -> summed loss per row [B], encoder [B, P+T, D], decoder [B, U, D], logits [B, U, V]."""
        embeds, extended = self.inputs(prompt, ids, mask)
        start = torch.cat([torch.zeros((B, 1), dtype=torch.long), targets[:, :-1]], 1)
        out = self.hf(inputs_embeds=embeds, attention_mask=extended, decoder_input_ids=start,
                      use_cache=False, output_hidden_states=True)
        logp = out.logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
        return -(logp * target_mask).sum(1), out.encoder_last_hidden_state, out.decoder_hidden_states[-1], out.logits

    def loss_and_gradient(self, prompt, *batch):
        prompt = prompt.detach().clone().requires_grad_(True)
        loss, *_ = self.forward(prompt, *batch)
        loss.sum().backward()
        return loss.detach(), prompt.grad

    @torch.no_grad()
    def greedy(self, prompt, ids, mask):
        """Ids without start, end and padding; the smallest gap between best and second; whether some row ended early."""
        embeds, extended = self.inputs(prompt, ids, mask)
        out = self.hf.generate(inputs_embeds=embeds, attention_mask=extended, max_new_tokens=MAX_NEW, do_sample=False,
                               num_beams=1, use_cache=False, output_logits=True, return_dict_in_generate=True)
        rows, gap, ended = [], float("inf"), 0
        for b in range(B):
            row = []
            for step, token in enumerate(out.sequences[b, 1:].tolist()):
                top = out.logits[step][b].topk(2).values
                gap = min(gap, (top[0] - top[1]).item())
                if token == 1:
                    ended += 1
                    break
                row.append(token)
            rows.append(row)
        return rows, gap, ended

    @torch.no_grad()
    def activations(self, prompt, ids, mask, targets, target_mask):
        """Mean over valid positions of |what enters wo| (fpt.md 3.3): encoder [B, L, F], decoder [B, L, F]."""
        seen, hooks = {}, []
        for stack in ("encoder", "decoder"):
            for i, block in enumerate(getattr(self.hf, stack).block):
                hooks.append(block.layer[-1].DenseReluDense.wo.register_forward_pre_hook(
                    lambda _, args, key=(stack, i): seen.__setitem__(key, args[0].abs())))
        self.forward(prompt, ids, mask, targets, target_mask)
        for hook in hooks:
            hook.remove()
        _, extended = self.inputs(prompt, ids, mask)
        mean = lambda a, m: (a * m[..., None]).sum(1) / m.sum(1)[:, None]
        return {stack: torch.stack([mean(a, valid) for (s, _), a in seen.items() if s == stack], 1)
                for stack, valid in (("encoder", extended), ("decoder", target_mask))}

    def cut(self, stack, layers, neurons):
        """Really removes blocks and neurons (fpt.md 3.1, 3.2): neuron j is row j of wi(_0, _1) and column j of wo."""
        module = getattr(self.hf, stack)
        for i, keep in zip(layers, neurons or []):
            ffn = module.block[i].layer[-1].DenseReluDense
            for name in ("wi", "wi_0", "wi_1", "wo"):
                if hasattr(ffn, name):
                    linear = getattr(ffn, name)
                    sliced = linear.weight.data[:, keep] if name == "wo" else linear.weight.data[keep, :]
                    setattr(ffn, name, torch.nn.Linear(sliced.shape[1], sliced.shape[0], bias=False))
                    getattr(ffn, name).weight.data = sliced.clone()
        module.block = torch.nn.ModuleList([module.block[i] for i in layers])


def top(score, k):
    """Indices of the k largest, ascending."""
    return sorted(score.argsort(descending=True, stable=True)[:k].tolist())


def partials(m, scores):
    """Which layers and neurons each partial oracle keeps."""
    le, ld, F = m["num_layers"], m["num_decoder_layers"], m["d_ff"]
    ends = lambda n: [0, n - 1]
    every = lambda n: list(range(n))
    width = lambda stack, layers, k: [top(scores[stack].mean(0)[i], k) for i in layers]
    return {
        "depth": dict(encoder=(ends(le), None), decoder=(ends(ld), None)),
        "width": dict(encoder=(every(le), width("encoder", every(le), F // 2)), decoder=(every(ld), width("decoder", every(ld), F // 2))),
        "encoderWidth": dict(encoder=(every(le), width("encoder", every(le), F // 4)), decoder=(every(ld), None)),
        "compound": dict(encoder=(ends(le), width("encoder", ends(le), F // 4)), decoder=(ends(ld), width("decoder", ends(ld), F // 4))),
    }


def varied(rows, gap, ended):
    """Greedy rows worth comparing: all different, none constant, some ended and some not, no argmax near a tie."""
    return gap > 5e-3 and 1 <= ended < B and len({tuple(r) for r in rows}) == B and all(0 not in r and len(set(r)) >= min(3, len(r)) for r in rows)


def make(name, m):
    folder = FIXTURES / name
    for attempt in range(2000):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        generator = torch.Generator().manual_seed(m["seed"] * 10_000 + attempt)
        save_model(folder, m, draw_weights(m, generator))
        model = Model(folder)
        assert (model.hf.lm_head.weight is model.hf.shared.weight) == m["tie_word_embeddings"]
        batch = draw_batch(m["vocab_size"], generator)
        prompts = torch.randn((B, P, m["d_model"]), generator=generator)
        prompt = prompts[:1].expand(B, -1, -1)
        rows, gap, ended = model.greedy(prompt, *batch[:2])
        if varied(rows, gap, ended):
            break
    else:
        raise SystemExit(f"{name}: no seed gives varied greedy rows")

    tensors = {"prompt": prompts[0], "prompts": prompts}
    def record(prefix, which, prompt):
        loss, gradient = which.loss_and_gradient(prompt, *batch)
        tensors.update({f"{prefix}loss": loss, f"{prefix}gradient": gradient})
    record("", model, prompt)
    record("perRow.", model, prompts)
    with torch.no_grad():
        _, tensors["encoder"], tensors["decoder"], tensors["logits"] = model.forward(prompt, *batch)
        none = torch.zeros((B, 0, m["d_model"]))
        tensors["bare.loss"], _, _, tensors["bare.logits"] = model.forward(none, *batch)
        bare_rows, *_ = model.greedy(none, *batch[:2])
    scores = model.activations(prompt, *batch)
    tensors["activations.encoder"], tensors["activations.decoder"] = scores["encoder"], scores["decoder"]
    cuts = partials(m, scores)
    for label, keep in cuts.items():
        small = Model(folder)
        for stack, (layers, neurons) in keep.items():
            small.cut(stack, layers, neurons)
        record(f"partial.{label}.", small, prompt)
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, folder / "oracle.safetensors")
    ids, mask, targets, target_mask = (t.tolist() for t in batch)
    oracle = dict(
        madeBy=f"test/oracles/tiny_t5.py; torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, safetensors {safetensors.__version__}",
        batch=B, promptLength=P, inputLength=T, targetLength=U, attempt=attempt, inputIds=ids, inputMask=mask, targetIds=targets, targetMask=target_mask,
        maxTokens=MAX_NEW, greedy=rows, bareGreedy=bare_rows, smallestGreedyGap=round(gap, 4),
        partials={k: {s: dict(layers=l, neurons=n) for s, (l, n) in v.items()} for k, v in cuts.items()},
    )
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in oracle.items())
    (folder / "oracle.json").write_text("{\n" + lines + "\n}\n")
    bytes_ = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: attempt {attempt}, {bytes_} bytes, loss {tensors['loss'].tolist()}, greedy {rows}, gap {gap:.3f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for name, m in MODELS.items():
        make(name, m)

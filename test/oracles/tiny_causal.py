"""Writes the small random decoder-only checkpoints of test/fixtures/tiny-causal-* and what transformers computes on them.

In:  nothing (seeds stand below).
Out: per model a Hugging Face folder (config.json, safetensors) with oracle.json + oracle.safetensors beside it, and
     test/fixtures/rope-frequencies.json: frequency tables of real configurations.
Run: python test/oracles/tiny_causal.py [NAME ...]   (checked with torch 2.15, transformers 5.24, safetensors 0.8; CPU, float32)

Every number comes from `AutoModelForCausalLM.from_pretrained(folder, dtype=float32, attn_implementation="eager").eval()`. Each
row is run alone, without padding and without a cache: [prompt P][text][target but its last], through `inputs_embeds`. So a
right answer for a padded batch is one that does not depend on the padding; that transformers itself agrees on the right-padded
batch is asserted here. Rows have 1, 7 and 12 text tokens and 3, 1 and 5 target tokens.

A model as transformers draws it has zero biases and unit norms, and hides a forgotten one: every vector is random here. Matrices
are drawn larger than usual, so that attention is far from uniform.

oracle.safetensors, all float32; B = 3, P = 3, U = 5 (padded), V = 96, D = width, L = layers, F = feed-forward neurons:
  prompt [P, D]          one prompt for all rows          prompts [B, P, D]   one prompt per row
  {w}logits [B, U, V]    at position u: what predicts target token u, 0 where the row has no token u
  {w}nll [B, U]          -log probability of target token u, 0 likewise
  {w}gradient [B, P, D]  of the row's summed nll with respect to its prompt
     where {w} is "" (prompt before the text), "perRow." (prompts, before the text), "behind." (prompt between text and target)
     and "bare." (no prompt, no gradient)
  activations [B, L, F]  mean |input of the feed-forward's last matrix| over all positions the row runs on (P + text + target - 1)
  partial.{label}.nll, partial.{label}.gradient   the prompt before the text, layers and neurons cut away as oracle.json says
  rope.frequencies [R/2], rope.cos, rope.sin [positions, R/2]   of the model's own rotary embedding, where it has one
oracle.json: the ids and masks (padded with 0 on the right), greedy ids (at most 12, ended by id 2, which is left out) for "" ,
"behind." and "bare.", and what each partial model keeps.
"""

import json
import shutil
import sys
from pathlib import Path

import safetensors
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
TEXTS, TARGETS = [1, 7, 12], [3, 1, 5]
B, P, T, U, V = 3, 3, max(TEXTS), max(TARGETS), 96
MAX_NEW, EOS = 12, 2
POSITIONS = [0, 1, 17, 500, 4000, 8191]

LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32)
common = dict(hidden_act="silu", rms_norm_eps=1e-5, vocab_size=V, bos_token_id=1, eos_token_id=EOS, max_position_embeddings=8192)
# (config.json as the hub has it or as transformers 5 writes it, how it is stored)
MODELS = {
    # heads * head_dim differs from the width; grouped heads; scaled rotation, in the hub's layout
    "tiny-causal-llama": (dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=32, intermediate_size=40,
        num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=12, tie_word_embeddings=True,
        rope_theta=100.0, rope_scaling=LLAMA3, attention_bias=False, mlp_bias=False, **common), dict(seed=1)),
    # every bias; the older name of the scaling's type; three query heads over one key head each; two shards
    "tiny-causal-llama-bias": (dict(model_type="llama", architectures=["LlamaForCausalLM"], hidden_size=36, intermediate_size=40,
        num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=8, tie_word_embeddings=False,
        rope_theta=50.0, rope_scaling=dict(type="linear", factor=2.0), attention_bias=True, mlp_bias=True, **common), dict(seed=2, shards=2)),
    # rows are longer than the window, itself included
    "tiny-causal-mistral": (dict(model_type="mistral", architectures=["MistralForCausalLM"], hidden_size=32, intermediate_size=40,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=10, tie_word_embeddings=False,
        rope_theta=200.0, sliding_window=5, **common), dict(seed=3)),
    # biases of q, k and v without a word in the configuration; head_dim follows from the width; bfloat16
    "tiny-causal-qwen2": (dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"], hidden_size=32, intermediate_size=48,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        rope_theta=1000.0, use_sliding_window=False, sliding_window=4, max_window_layers=2, torch_dtype="bfloat16", **common),
        dict(seed=4, dtype=torch.bfloat16)),
    # a window in the upper layer only
    "tiny-causal-qwen2-window": (dict(model_type="qwen2", architectures=["Qwen2ForCausalLM"], hidden_size=32, intermediate_size=40,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
        rope_theta=1000.0, use_sliding_window=True, sliding_window=4, max_window_layers=1, **common), dict(seed=9)),
    # norms of queries and keys; transformers 5's layout of the rotation
    "tiny-causal-qwen3": (dict(model_type="qwen3", architectures=["Qwen3ForCausalLM"], hidden_size=32, intermediate_size=40,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=300.0), attention_bias=False, use_sliding_window=False, dtype="float32", **common), dict(seed=5)),
    # [in, out] matrices, learned positions, names without prefix and old buffers, as the hub's gpt2
    "tiny-causal-gpt2": (dict(model_type="gpt2", architectures=["GPT2LMHeadModel"], n_embd=32, n_layer=2, n_head=4, n_positions=32, n_ctx=32, n_inner=96,
        vocab_size=V, activation_function="gelu_new", layer_norm_epsilon=1e-5, bos_token_id=EOS, eos_token_id=EOS), dict(seed=6)),
    # q k v per head in one matrix; a quarter of the channels turns; both norms read the same input; as the hub's pythia
    "tiny-causal-neox": (dict(model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"], hidden_size=32, intermediate_size=72, num_hidden_layers=2,
        num_attention_heads=2, hidden_act="gelu", rotary_pct=0.25, rotary_emb_base=100, use_parallel_residual=True, layer_norm_eps=1e-5,
        tie_word_embeddings=False, max_position_embeddings=40, vocab_size=V, bos_token_id=0, eos_token_id=EOS), dict(seed=7)),
    "tiny-causal-neox-sequential": (dict(model_type="gpt_neox", architectures=["GPTNeoXForCausalLM"], hidden_size=32, intermediate_size=56, num_hidden_layers=2,
        num_attention_heads=2, hidden_act="gelu", rotary_pct=0.5, rotary_emb_base=1000, use_parallel_residual=False, layer_norm_eps=1e-5,
        tie_word_embeddings=False, max_position_embeddings=40, vocab_size=V, bos_token_id=0, eos_token_id=EOS), dict(seed=8)),
}


def draw_weights(model, tied, generator):
    """New values for every tensor of the model, by Hugging Face name, in float32."""
    drawn = {}
    for name, old in model.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        normal = torch.randn(old.shape, generator=generator)
        last = name.split(".")[-2]
        if "norm" in name or ".ln_" in name:
            drawn[name] = normal * 0.3 + (1 if name.endswith("weight") else 0)
            # the last norm is large where the head is the embedding, or the model only repeats its last token
            if tied and name in ("model.norm.weight", "transformer.ln_f.weight"):
                drawn[name] = drawn[name] * 2
        elif old.dim() == 1:
            drawn[name] = normal * 0.4
        elif last in ("embed_tokens", "wte", "embed_in", "wpe"):
            drawn[name] = normal * (0.3 if tied else 0.6)
        else:
            fan_in = old.shape[0] if "c_" in last else old.shape[1]
            gain = 1.6 if last in ("q_proj", "k_proj", "c_attn", "query_key_value") else 1.3
            drawn[name] = normal * gain * fan_in**-0.5
    return drawn


def stored_names(config, weights):
    """As the files on the hub have them: gpt2 without prefix, and buffers that newer versions no longer write."""
    out = {n.removeprefix("transformer."): t for n, t in weights.items()}
    if config["model_type"] == "gpt2":
        n = config["n_positions"]
        for i in range(config["n_layer"]):
            out[f"h.{i}.attn.bias"] = torch.tril(torch.ones(n, n)).view(1, 1, n, n)
    if config["model_type"] == "gpt_neox":
        for i in range(config["num_hidden_layers"]):
            at = f"gpt_neox.layers.{i}.attention"
            n = config["max_position_embeddings"]
            out[f"{at}.bias"] = torch.tril(torch.ones(n, n, dtype=torch.bool)).view(1, 1, n, n)
            out[f"{at}.masked_bias"] = torch.tensor(-1e9)
            out[f"{at}.rotary_emb.inv_freq"] = torch.ones(2)
    return out


def save_model(folder, config, how, weights):
    dtype = how.get("dtype", torch.float32)
    stored = {k: (v if v.dtype == torch.bool else v.to(dtype)).contiguous() for k, v in stored_names(config, weights).items()}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if how.get("shards", 1) == 1:
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


class Model:
    """One loaded model and the passes the oracle needs."""

    def __init__(self, folder):
        self.hf = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        assert all(p.dtype == torch.float32 for p in self.hf.parameters())
        self.embed = self.hf.get_input_embeddings()
        self.base = self.hf.base_model
        self.layers = self.base.h if hasattr(self.base, "h") else self.base.layers
        self.blocks = "h" if hasattr(self.base, "h") else "layers"

    def ffn(self, layer):
        """(matrices that make the activation, the matrix that reads it), and whether they lie [in, out]."""
        m = layer.mlp
        if hasattr(m, "c_fc"):
            return [m.c_fc], m.c_proj, True
        if hasattr(m, "dense_h_to_4h"):
            return [m.dense_h_to_4h], m.dense_4h_to_h, False
        return [m.gate_proj, m.up_proj], m.down_proj, False

    def sequence(self, prompt, text, target, behind):
        """Embeddings [1, S, D] and how many positions stand before the first one that predicts a target token."""
        text, target = self.embed(text), self.embed(target)
        parts = [text, prompt, target] if behind else [prompt, text, target]
        return torch.cat(parts)[None], prompt.shape[0] + text.shape[0] - 1

    def row(self, prompt, text, target, behind=False):
        """Logits [U', V] and nll [U'] of one row, alone."""
        x, first = self.sequence(prompt, text, target[:-1], behind)
        logits = self.hf(inputs_embeds=x, use_cache=False).logits[0, first:]
        return logits, torch.nn.functional.cross_entropy(logits, target, reduction="none")

    @torch.no_grad()
    def padded(self, prompt, rows):
        """The same logits from one right-padded batch."""
        made = [self.sequence(prompt, text, target[:-1], False) for text, target in rows]
        longest = max(x.shape[1] for x, _ in made)
        x = torch.cat([torch.nn.functional.pad(x, (0, 0, 0, longest - x.shape[1])) for x, _ in made])
        mask = torch.tensor([[1] * x.shape[1] + [0] * (longest - x.shape[1]) for x, _ in made])
        logits = self.hf(inputs_embeds=x, attention_mask=mask, use_cache=False).logits
        return [logits[b, first : first + len(target)] for b, ((_, first), (_, target)) in enumerate(zip(made, rows))]

    @torch.no_grad()
    def greedy(self, prompt, text, behind=False):
        """Ids without the end token, the smallest gap between best and second, whether it ended. All from scratch each time."""
        out, gap = [], float("inf")
        while len(out) < MAX_NEW:
            x, _ = self.sequence(prompt, text, torch.tensor(out, dtype=torch.long), behind)
            best = self.hf(inputs_embeds=x, use_cache=False).logits[0, -1].topk(2)
            gap = min(gap, (best.values[0] - best.values[1]).item())
            if best.indices[0] == EOS:
                return out, gap, True
            out.append(best.indices[0].item())
        return out, gap, False

    @torch.no_grad()
    def activations(self, prompt, rows):
        """[B, L, F]: mean |what enters the feed-forward's last matrix| over a row's positions."""
        seen = {}
        hooks = [self.ffn(layer)[1].register_forward_pre_hook(lambda _, args, i=i: seen.__setitem__(i, args[0].abs().mean(1)[0]))
                 for i, layer in enumerate(self.layers)]
        out = []
        for text, target in rows:
            self.row(prompt, text, target)
            out.append(torch.stack([seen[i] for i in range(len(self.layers))]))
        for hook in hooks:
            hook.remove()
        return torch.stack(out)

    def cut(self, layers, neurons):
        """Really removes blocks, and neurons of the blocks that stay."""
        for i, keep in zip(layers, neurons or []):
            into, last, in_first = self.ffn(self.layers[i])
            for m in into:
                m.weight = torch.nn.Parameter((m.weight[:, keep] if in_first else m.weight[keep]).detach().clone())
                if m.bias is not None:
                    m.bias = torch.nn.Parameter(m.bias[keep].detach().clone())
                if in_first:
                    m.nf = len(keep)
            last.weight = torch.nn.Parameter((last.weight[keep] if in_first else last.weight[:, keep]).detach().clone())
        types = getattr(self.base.config, "layer_types", None)
        if types is not None:  # a layer that stays keeps its window
            self.base.config.layer_types = [types[i] for i in layers]
        setattr(self.base, self.blocks, torch.nn.ModuleList([self.layers[i] for i in layers]))
        self.hf.config.num_hidden_layers = self.base.config.num_hidden_layers = len(layers)


def record(tensors, prefix, model, prompts, rows, behind=False, logits=True):
    """prompts: one per row."""
    all_logits, nlls, gradients = torch.zeros(B, U, V), torch.zeros(B, U), []
    for b, (text, target) in enumerate(rows):
        prompt = prompts[b].detach().clone().requires_grad_(True)
        out, nll = model.row(prompt, text, target, behind)
        nll.sum().backward()
        all_logits[b, : len(target)], nlls[b, : len(target)] = out.detach(), nll.detach()
        gradients.append(prompt.grad)
    if logits:
        tensors[f"{prefix}logits"] = all_logits
    tensors[f"{prefix}nll"] = nlls
    if prompts.shape[1] > 0:
        tensors[f"{prefix}gradient"] = torch.stack(gradients)


def rope_tables(model):
    """Frequencies, and cosines and sines at some positions, as the model itself computes them (float32)."""
    rotary = getattr(model.base, "rotary_emb", None)
    if rotary is None:
        return {}
    cos, sin = rotary(torch.zeros(1, 1), torch.tensor([POSITIONS]))
    half = cos.shape[-1] // 2
    return {"rope.frequencies": rotary.inv_freq.float(), "rope.cos": cos[0, :, :half], "rope.sin": sin[0, :, :half]}


def top(score, k):
    """Indices of the k largest, ascending."""
    return sorted(score.argsort(descending=True, stable=True)[:k].tolist())


def draw_rows(generator):
    ids = lambda n: torch.randint(3, V, (n,), generator=generator)
    rows = [(torch.cat([torch.tensor([1]), ids(n - 1)]), torch.cat([ids(u - 1), torch.tensor([EOS])])) for n, u in zip(TEXTS, TARGETS)]
    rows[1] = (rows[1][0], ids(1))  # one target that is a word, not the end
    return rows


def make(name, config, how):
    folder = FIXTURES / name
    tied = config.get("tie_word_embeddings", config["model_type"] == "gpt2")
    for attempt in range(1000):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        generator = torch.Generator().manual_seed(how["seed"] * 10_000 + attempt)
        (folder / "config.json").write_text(json.dumps(config))
        shape = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
        save_model(folder, config, how, draw_weights(shape, tied, generator))
        model = Model(folder)
        assert (model.hf.get_output_embeddings().weight is model.embed.weight) == tied
        rows = draw_rows(generator)
        prompts = torch.randn((B, P, model.embed.weight.shape[1]), generator=generator)
        none = prompts[0, :0]
        runs = {"": (prompts[0], False), "behind.": (prompts[0], True), "bare.": (none, False)}
        found = {k: [model.greedy(p, text, behind) for text, _ in rows] for k, (p, behind) in runs.items()}
        flat = [r for results in found.values() for r in results]
        gap, ended = min(r[1] for r in flat), sum(r[2] for r in flat)
        first = [r[0] for r in found[""]]
        # beyond the window of every layer a row cannot see the prompt before it
        reached = [b for b in range(B) if "sliding_window" not in config or config.get("use_sliding_window") is False or TEXTS[b] == 1]
        # worth comparing: no argmax near a tie, some rows end early, rows and places of the prompt differ, none is constant
        if (gap > 5e-3 and 1 <= ended <= 6 and len({tuple(r) for r in first}) == B and all(len(set(r)) >= min(4, len(r)) for r in first)
                and all(first[b] != found[k][b][0] for k in ("behind.", "bare.") for b in reached)):
            break
    else:
        raise SystemExit(f"{name}: no seed gives varied greedy rows")

    shared = prompts[:1].expand(B, -1, -1)
    tensors = {"prompt": prompts[0], "prompts": prompts}
    record(tensors, "", model, shared, rows)
    record(tensors, "perRow.", model, prompts, rows, logits=False)
    record(tensors, "behind.", model, shared, rows, behind=True)
    record(tensors, "bare.", model, prompts[:, :0], rows)
    for b, logits in enumerate(model.padded(prompts[0], rows)):
        wanted = tensors["logits"][b, : len(logits)]
        assert (logits - wanted).abs().max() < 1e-4 * wanted.abs().max(), "transformers depends on the padding"
    tensors["activations"] = scores = model.activations(prompts[0], rows)
    tensors |= rope_tables(model)

    L, F = scores.shape[1:]
    ends, every = [0, L - 1], list(range(L))
    strongest = lambda layers, k: [top(scores.mean(0)[i], k) for i in layers]
    cuts = {"depth": ([L - 1] if L == 2 else ends, None), "width": (every, strongest(every, F // 2)),
            "compound": ([0] if L == 2 else ends, strongest([0] if L == 2 else ends, F // 4))}
    for label, (layers, neurons) in cuts.items():
        small = Model(folder)
        small.cut(layers, neurons)
        record(tensors, f"partial.{label}.", small, shared, rows, logits=False)
    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, folder / "oracle.safetensors")

    pad = lambda ids, n: ids.tolist() + [0] * (n - len(ids))
    mask = lambda ids, n: [1] * len(ids) + [0] * (n - len(ids))
    oracle = dict(
        madeBy=f"test/oracles/tiny_causal.py; torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, safetensors {safetensors.__version__}",
        batch=B, promptLength=P, inputLength=T, targetLength=U, attempt=attempt,
        inputIds=[pad(t, T) for t, _ in rows], inputMask=[mask(t, T) for t, _ in rows],
        targetIds=[pad(t, U) for _, t in rows], targetMask=[mask(t, U) for _, t in rows],
        maxTokens=MAX_NEW, eos=EOS, greedy=first, behindGreedy=[r[0] for r in found["behind."]], bareGreedy=[r[0] for r in found["bare."]],
        smallestGreedyGap=round(gap, 4), ropePositions=POSITIONS if "rope.cos" in tensors else None,
        partials={k: dict(layers=l, neurons=n) for k, (l, n) in cuts.items()},
    )
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in oracle.items())
    (folder / "oracle.json").write_text("{\n" + lines + "\n}\n")
    bytes_ = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: attempt {attempt}, {bytes_} bytes, nll {tensors['nll'].sum(1).tolist()}, greedy {first}, gap {gap:.3f}, ended {ended}")


def frequencies():
    """Frequency tables of real configurations, and by how much scaling divides them."""
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    scaled = lambda factor: dict(rope_type="llama3", factor=factor, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=8192)
    cases = {
        "Llama 3.2 1B": dict(head_dim=64, rope_theta=500000.0, rope_scaling=scaled(32.0)),
        "Llama 3.1 8B": dict(head_dim=128, rope_theta=500000.0, rope_scaling=scaled(8.0)),
        "linear, factor 4": dict(head_dim=64, rope_theta=10000.0, rope_scaling=dict(rope_type="linear", factor=4.0)),
        "SmolLM2 135M": dict(head_dim=64, rope_theta=100000.0, rope_scaling=None),
    }
    out = {}
    for name, c in cases.items():
        config = LlamaConfig.from_dict(dict(model_type="llama", hidden_size=c["head_dim"] * 2, num_attention_heads=2, max_position_embeddings=131072, **c))
        table = LlamaRotaryEmbedding(config).inv_freq.double()
        plain = 1 / torch.tensor(c["rope_theta"], dtype=torch.float64) ** (torch.arange(0, c["head_dim"], 2, dtype=torch.float64) / c["head_dim"])
        out[name] = dict(config=c, frequencies=[float(f"{v:.9g}") for v in table.tolist()], dividedBy=[round(v, 5) for v in (plain / table).tolist()])
    lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in out.items())
    (FIXTURES / "rope-frequencies.json").write_text("{\n" + lines + "\n}\n")
    print({k: v["dividedBy"][14:20] for k, v in out.items()}, out["Llama 3.1 8B"]["dividedBy"][27:36])


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    frequencies()
    for name in sys.argv[1:] or MODELS:
        make(name, *MODELS[name])

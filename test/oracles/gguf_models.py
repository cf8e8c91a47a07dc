#!/usr/bin/env python3
"""GGUF files of four small models and blocks of every type, with what the Python package gguf reads in them.

  gguf_models.py OUT_DIR

Out: OUT_DIR/blocks.json            {type: {"blocks": base64, "values": base64 of float32}} of random blocks
     OUT_DIR/{llama,qwen2,qwen3,gpt2}.gguf, OUT_DIR/split-….gguf in shards
     OUT_DIR/expected.json          {model: {"config": …, "tensors": {hub name: [type, shape, sha256 of the stored bytes]}}}
     OUT_DIR/sentencepiece.json     {"lines": […], "ids": [[…]]}: what the SentencePiece library gives for llama.gguf's vocabulary

A model is drawn under its Hugging Face names first. The expected tensors are what its rows become by quantising and back; the file gets those
rows in llama.cpp's order (its `permute` for the architecture llama, transposed matrices for gpt2). All vectors are random, so that a
dropped bias or norm shows. Run with gguf 0.19.0, numpy 2.4, sentencepiece 0.2.3. Seed 0.
"""
import base64, hashlib, io, json, pathlib, sys
import numpy as np
import sentencepiece as spm
from gguf import GGUFWriter, GGMLQuantizationType as T
from gguf.quants import quantize, dequantize
from gguf.constants import GGML_QUANT_SIZES

OUT = pathlib.Path(sys.argv[1])
OUT.mkdir(parents=True, exist_ok=True)
draw = np.random.default_rng(0)
b64 = lambda b: base64.b64encode(b).decode()
TYPES = "Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS F16 BF16 F32".split()
# where the float16 factors of a block stand: random bytes there could be NaN or infinity
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ2_XXS": [0], "F16": [], "BF16": [], "F32": []}


def random_blocks(kind, count):
    size = GGML_QUANT_SIZES[T[kind]][1]
    if not SCALES[kind]:  # plain numbers
        a = draw.standard_normal(count * 32).astype(np.float32)
        return quantize(a, T[kind]).view(np.uint8).reshape(-1)
    raw = draw.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[kind]:
        raw[:, at:at + 2] = (draw.standard_normal((count, 1)) * 0.02).astype(np.float16).view(np.uint8)
    return raw.reshape(-1)


blocks = {}
for kind in TYPES:
    raw = random_blocks(kind, 4)
    blocks[kind] = {"blocks": b64(raw.tobytes()), "values": b64(np.ascontiguousarray(dequantize(raw.view(np.float32) if kind == "F32" else raw.view(np.float16) if kind == "F16" else raw, T[kind]).astype(np.float32)).tobytes())}
(OUT / "blocks.json").write_text(json.dumps(blocks, indent=1) + "\n")


def bf16(a):
    bits = np.ascontiguousarray(a, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def permute(w, heads):
    """llama.cpp convert_hf_to_gguf.py, LlamaModel.permute."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


class Model:
    def __init__(self, name, arch, split=0):
        self.name, self.expected = name, {}
        self.writer = GGUFWriter(OUT / f"{name}.gguf", arch, split_max_tensors=split)

    def tensor(self, gguf, hub, shape, kind="F32", order=lambda a: a):
        a = (draw.standard_normal(shape) * 0.05).astype(np.float32)
        if len(shape) == 1 and "norm" in gguf: a += 1
        if kind in ("Q4_K", "Q5_K", "Q6_K", "Q2_K", "Q3_K", "IQ2_XXS"):  # the package cannot write these: random blocks
            elements, size = GGML_QUANT_SIZES[T[kind]]
            raw = random_blocks(kind, a.size // elements).reshape(shape[0], -1)
            a = dequantize(raw, T[kind]).reshape(shape)
            stored = order(raw)
        else:
            stored = quantize(order(a), T[kind])
            a = dequantize(quantize(np.ascontiguousarray(order(a)), T[kind]), T[kind]).astype(np.float32)
            a = inverse(order, a, shape)
        self.writer.add_tensor(gguf, np.ascontiguousarray(stored), raw_dtype=T[kind])
        stays = {"F32": ("F32", a.tobytes()), "F16": ("F16", a.astype(np.float16).tobytes())}
        dtype, data = stays.get(kind, ("BF16", bf16(a).tobytes()))
        if hub: self.expected[hub] = [dtype, list(shape), hashlib.sha256(data).hexdigest()]

    def close(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def inverse(order, a, shape):
    """Puts rows (or a transposed matrix) back, by looking where each element went: nothing of the product's arithmetic is used."""
    index = order(np.arange(int(np.prod(shape))).reshape(shape)).reshape(-1)
    out = np.empty(int(np.prod(shape)), np.float32)
    out[index] = a.reshape(-1)
    return out.reshape(shape)


SENTENCES = pathlib.Path(__file__).with_name("tokenizer.py").read_text().split('SENTENCES = """')[1].split('"""')[0].splitlines()
sp = io.BytesIO()
spm.SentencePieceTrainer.train(sentence_iterator=iter(SENTENCES * 3), model_writer=sp, vocab_size=420, model_type="bpe", byte_fallback=True,
                               normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, character_coverage=0.98,
                               user_defined_symbols=["<user>"], minloglevel=2)
sp = spm.SentencePieceProcessor(model_proto=sp.getvalue())
LINES = ["Hello", "  Hello", "\n", "🦙", "", "The kettle sings before  the water", " a\tb\n\nc", "naïve café piñata", "In 1987 the library moved 12,400 books",
         "日本語 text", "ends with blanks   ", "▁ already", "x" * 40, "say <user> now"]
(OUT / "sentencepiece.json").write_text(json.dumps({"lines": LINES, "ids": [[sp.bos_id(), *sp.encode(l)] for l in LINES]}, indent=1) + "\n")


def sentencepiece_vocabulary(w):
    n = sp.get_piece_size()
    kind = lambda i: 2 if sp.is_unknown(i) else 3 if sp.is_control(i) else 6 if sp.is_byte(i) else 4 if sp.id_to_piece(i) == "<user>" else 1
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list([sp.id_to_piece(i) for i in range(n)])
    w.add_token_scores([sp.get_score(i) for i in range(n)])
    w.add_token_types([kind(i) for i in range(n)])
    w.add_bos_token_id(sp.bos_id()); w.add_eos_token_id(sp.eos_id()); w.add_unk_token_id(sp.unk_id())
    w.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
    return n


def byte_vocabulary(w, pre):
    """All bytes as GPT-2 writes them, a few merges, two control tokens, one user-defined, one to fill up."""
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in letters]
    table = [chr(b) for b in letters] + [chr(256 + i) for i in range(len(others))]
    merges = ["Ġ t", "h e", "Ġt he", "i n", "Ġ a"]
    tokens = table + [m.replace(" ", "") for m in merges] + ["<|end|>", "<|start|>", "<think>", "[PAD264]"]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types([1] * (256 + len(merges)) + [3, 3, 4, 5])
    w.add_token_merges(merges)
    w.add_bos_token_id(261); w.add_eos_token_id(261)
    return len(tokens)


def common(w, width, layers, heads, ff, context=64):
    w.add_context_length(context); w.add_embedding_length(width); w.add_block_count(layers); w.add_feed_forward_length(ff); w.add_head_count(heads)


def decoder(name, arch, vocabulary, width, heads, kv, head, ff, kinds, extra, biases=False, norms=False, tied=True, freqs=None, split=0):
    m = Model(name, arch, split)
    w = m.writer
    common(w, width, 1, heads, ff)
    w.add_head_count_kv(kv); w.add_layer_norm_rms_eps(1e-5); w.add_rope_freq_base(500000.0)
    extra(w)
    V = vocabulary(w)
    turned = (lambda h: lambda a: permute(a, h)) if arch == "llama" else (lambda h: lambda a: a)
    m.tensor("token_embd.weight", "model.embed_tokens.weight", (V, width), kinds["embd"])
    if freqs is not None:
        w.add_tensor("rope_freqs.weight", freqs)
    at, to = "blk.0.", "model.layers.0."
    same = lambda a: a
    for g, h, shape, order in [("attn_q", "self_attn.q_proj", (heads * head, width), turned(heads)), ("attn_k", "self_attn.k_proj", (kv * head, width), turned(kv)),
                               ("attn_v", "self_attn.v_proj", (kv * head, width), same), ("attn_output", "self_attn.o_proj", (width, heads * head), same),
                               ("ffn_gate", "mlp.gate_proj", (ff, width), same), ("ffn_up", "mlp.up_proj", (ff, width), same), ("ffn_down", "mlp.down_proj", (width, ff), same)]:
        m.tensor(f"{at}{g}.weight", f"{to}{h}.weight", shape, kinds[g], order)
        if biases and g in ("attn_q", "attn_k", "attn_v"): m.tensor(f"{at}{g}.bias", f"{to}{h}.bias", shape[:1])
    for g, h, n in [("attn_norm", "input_layernorm", width), ("ffn_norm", "post_attention_layernorm", width)] + ([("attn_q_norm", "self_attn.q_norm", head), ("attn_k_norm", "self_attn.k_norm", head)] if norms else []):
        m.tensor(f"{at}{g}.weight", f"{to}{h}.weight", (n,))
    m.tensor("output_norm.weight", "model.norm.weight", (width,))
    if not tied: m.tensor("output.weight", "lm_head.weight", (V, width), kinds["embd"])
    m.close()
    return m.expected


def llama3_divisors(head, base, factor=32.0, low=1.0, high=4.0, original=8192):
    """transformers' _compute_llama3_parameters, as divisors of the plain frequencies."""
    plain = 1.0 / base ** (np.arange(0, head, 2) / head)
    length = 2 * np.pi / plain
    smooth = (original / length - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(length < original / high, 1, np.where(length > original / low, factor, between)).astype(np.float32)


def gpt2():
    m = Model("gpt2", "gpt2")
    w = m.writer
    common(w, 32, 1, 4, 64)
    w.add_layer_norm_eps(1e-5)
    V = byte_vocabulary(w, "gpt-2")
    m.tensor("token_embd.weight", "transformer.wte.weight", (V, 32), "Q8_0")
    m.tensor("position_embd.weight", "transformer.wpe.weight", (64, 32))
    for g, h, shape in [("attn_qkv", "attn.c_attn", (32, 96)), ("attn_output", "attn.c_proj", (32, 32)), ("ffn_up", "mlp.c_fc", (32, 64)), ("ffn_down", "mlp.c_proj", (64, 32))]:
        m.tensor(f"blk.0.{g}.weight", f"transformer.h.0.{h}.weight", shape, "F16" if g == "ffn_up" else "Q5_1", lambda a: np.ascontiguousarray(a.T))
        m.tensor(f"blk.0.{g}.bias", f"transformer.h.0.{h}.bias", shape[1:])
    for g, h in [("blk.0.attn_norm", "h.0.ln_1"), ("blk.0.ffn_norm", "h.0.ln_2"), ("output_norm", "ln_f")]:
        for part in ("weight", "bias"): m.tensor(f"{g}.{part}", f"transformer.{h}.{part}", (32,))
    m.close()
    return m.expected


every = lambda kind, **others: {k: others.get(k, kind) for k in "embd attn_q attn_k attn_v attn_output ffn_gate ffn_up ffn_down".split()}
expected = {
    # 128 wide heads would be large; 16 is enough to see a wrong inverse
    "llama": decoder("llama", "llama", sentencepiece_vocabulary, 64, 4, 2, 16, 256, every("Q4_1", embd="Q8_0", attn_v="Q5_0", ffn_down="Q4_K", ffn_up="F16"),
                     lambda w: (w.add_rope_dimension_count(16), w.add_vocab_size(420)), tied=False, freqs=llama3_divisors(16, 500000.0)),
    "qwen2": decoder("qwen2", "qwen2", lambda w: byte_vocabulary(w, "qwen2"), 32, 4, 2, 8, 64, every("Q8_0", attn_q="Q4_0", ffn_gate="BF16"), lambda w: None, biases=True),
    "qwen3": decoder("qwen3", "qwen3", lambda w: byte_vocabulary(w, "qwen2"), 32, 2, 1, 32, 64, every("Q8_0", attn_k="F32"),
                     lambda w: (w.add_key_length(32), w.add_value_length(32)), norms=True),
    "gpt2": gpt2(),
    "split": decoder("split", "qwen3", lambda w: byte_vocabulary(w, "qwen2"), 32, 2, 2, 16, 32, every("Q8_0"), lambda w: w.add_key_length(16), norms=True, split=6),
}
(OUT / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")

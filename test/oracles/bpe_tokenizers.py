#!/usr/bin/env python3
"""Small tokenizers of every kind that src/text reads, 10,000 varied lines, and the ids that the tokenizers library gives them.

  bpe_tokenizers.py OUT_DIR [--full FOLDER] [--only TOKENIZER_JSON OUT_JSON]

Out: OUT_DIR/lines.json.gz   a list of 10,000 texts: words, digits of every kind, CJK, Arabic, emoji, code, long white space,
                             bytes that are no UTF-8 (as U+FFFD), control characters, the text of special tokens
     OUT_DIR/kinds.json.gz   {kind: {"tokenizer": a tokenizer.json, "ids": [hash of the ids of every 100 lines],
                             "decoded": the same of the decoded ids, special tokens kept, "special": ids of the first lines
                             with special tokens}}
     --full FOLDER           also the ids themselves, to look for the line that differs
     --only T O              nothing but {"ids", "decoded"} of the same lines by the tokenizer.json T, into O
A hash is the first 16 digits of the sha256 of the JSON of 100 lists (texts) without blanks.
Run with tokenizers 0.23.3. Seed 0.
"""
import argparse
import gzip
import hashlib
import json
import random
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXT = """The kettle sings before the water boils and nobody listens to it any more.
She carried the ladder through the orchard while her brother counted the apples twice.
A grey heron stood on the weir all morning, waiting for the river to make a mistake.
We bought bread, cheese, two lemons and a map that turned out to be of another town.
"Is it far?" he asked; "only as far as yesterday," said the old ferryman, and he'll've laughed.
Rain fell on the tin roof of the workshop, and the radio lost its station again. I'm sure they're late.
The train to the coast leaves at 7:45 from platform 3, unless it's a Sunday in winter 2019.
Nobody had told the children that the bridge was closed, so they swam. We'd have done the same.
Café tables, naïve tourists, a piñata: the square was ready for its summer party; it cost 1234567 lire.
def answer(question):\n    if question is None:\n        return 42\n\treturn [x for x in question if x != 0]
for (let i = 0; i < items.length; i++) {\n  console.log(`item ${i}: ${items[i]}`);\n}\n\n\n
日本語のテキストです。今日は天気がいいですね。中文文本,我们去公园散步。한국어 텍스트입니다.
مرحبا بالعالم، هذا نص عربي قصير. שלום עולם. Привет, мир! Как дела? Γειά σου Κόσμε. नमस्ते दुनिया।
Nước Việt Nam có nhiều cảnh đẹp. Zażółć gęślą jaźń. Árvíztűrő tükörfúrógép. 👍🏽 😀 🦙 👩‍👩‍👧‍👦 🇩🇪""".split("\n")

SPACES = [" "] * 12 + ["  ", "   ", "    ", "        ", "\t", "\n", "\n\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u0085",
                       "\ufeff", " \n", "\n ", " \t ", "  \u0085 ", " \ufeff", "\u180e", "\x0b", "\x0c", "\x1c"]
BLOCKS = [(0xA1, 0x17F), (0x300, 0x340), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x620, 0x66D), (0x6F0, 0x6F9), (0x904, 0x96F),
          (0xE01, 0xE59), (0x1100, 0x11FF), (0x2010, 0x2027), (0x2070, 0x209C), (0x20A0, 0x20BF), (0x2100, 0x214F), (0x2150, 0x218B),
          (0x2460, 0x24FF), (0x2581, 0x2584), (0x3007, 0x3007), (0x3021, 0x3029), (0x3041, 0x30FF), (0x3220, 0x33FF), (0x4E00, 0x4FFF),
          (0xAC00, 0xAD00), (0xF900, 0xFAFF), (0xFB00, 0xFB06), (0xFE30, 0xFE4F), (0xFF01, 0xFFEF), (0x10140, 0x10178), (0x1D400, 0x1D7FF),
          (0x1F100, 0x1F10C), (0x1F300, 0x1F64F), (0x1F1E6, 0x1F1FF), (0x0, 0x1F), (0x7F, 0x9F), (0x20000, 0x20100), (0x1E2C, 0x1EF9)]
CODE = ["x != y", "if (a<b) {", "}\n", "    return", "\t\t", "//", "a->b", "==", "&&", "#include <x>", "print('é')", "'s", "'S", "'ſ", "'Ll", "'re", "'VE",
        "don't", "DON'T", "we'lL", "::", "...", "\\n", "$x_1", "a_b", "0x1F", "1e-9", "3.14", "¿qué?", "Σίσυφος ΣΑΣ", "İstanbul"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>", "<s>", "</s>", "<unk>", "<think>", "</think>", "[MASK]",
           " [MASK] ", "x[MASK]y", "<word>", "a<word>b", "<WORD>", "ABC", "abcd", "abc", "ABCD", "<0x41>", "<pad>"]
HAND = ["", " ", "  ", "a", " a", "a ", "Hello", "  Hello", "</s>Hello", "</s> Hello", "<s> <s>", "\n", "🦙", "1 ½ cups", "10 ² x", "page Ⅷ", "x ٣ y",
        "step ① go", "a \u0085b", "\u0085's", "x  \ufeffy", "1234567", "Answer: yes", "👍🏽", "\u0301 alone", "e\u0301te\u0301", "ﬁne", "１２３",
        " " * 100, "\n" * 50, "a" * 300, "ab" * 200, " \n" * 40, "x" + " " * 60 + "y", "\t" * 30 + "z", "0" * 77, "é" * 99, "😀" * 33, "\u200d" * 9,
        "Å Ω K ﷺ", "ǆ Ǆ ǅ", "한글 각 ㅎㅏㄴ", "▁▁ ▁x▁", " ▁", "▁", "hi<|im_end|>\n<|im_start|>system", "\ufffd", "\x00", "ᾳ ᾼ ΐ"]


def piece(rng):
    kind = rng.random()
    if kind < 0.42:
        return rng.choice(rng.choice(TEXT).split() or ["x"])
    if kind < 0.50:
        return str(rng.randint(0, 10 ** rng.randint(1, 9)))
    if kind < 0.58:
        return rng.choice(CODE)
    if kind < 0.63:
        return rng.choice(SPECIAL)
    if kind < 0.67:
        return rng.choice(SPACES) * rng.randint(1, 12)
    if kind < 0.71:  # bytes that are not UTF-8, or cut in the middle of a character
        data = bytes(rng.randint(0, 255) for _ in range(rng.randint(1, 6))) + rng.choice("é日😀x").encode()[: rng.randint(1, 4)]
        return data.decode("utf-8", "replace")
    low, high = rng.choice(BLOCKS)
    chars = (chr(rng.randint(low, high)) for _ in range(rng.randint(1, 4)))
    return "".join(c for c in chars if unicodedata.category(c) != "Cn")


def line(rng):
    out = []
    for _ in range(rng.randint(1, 7)):
        out.append(piece(rng))
        out.append(rng.choice(SPACES) if rng.random() < 0.8 else "")
    return "".join(out)


def lines():
    rng = random.Random(0)
    fixed = HAND + TEXT
    return fixed + [line(rng) for _ in range(10_000 - len(fixed))]


def train(pre, normalizer=None, size=900, alphabet=True, special=()):
    tok = Tokenizer(models.BPE(unk_token=None))
    if normalizer:
        tok.normalizer = normalizer
    tok.pre_tokenizer = pre
    tok.train_from_iterator(TEXT * 8, trainers.BpeTrainer(
        vocab_size=size, show_progress=False, special_tokens=list(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else []))
    return json.loads(tok.to_str())


def rebuilt(spec, **model):
    spec["model"].update(model)
    return spec


GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
RAW = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
ENDING = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|" + ENDING
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" + ENDING
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
          r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SHORT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern) if isinstance(pattern, str) else pattern[0], behavior, invert)


def byte_level(pre, normalizer=None, special=("<|endoftext|>",), added=(), post=None, **model):
    tok = Tokenizer.from_str(json.dumps(rebuilt(train(pre, normalizer, special=special), **model)))
    tok.decoder = decoders.ByteLevel()
    tok.post_processor = post or processors.ByteLevel(trim_offsets=False)
    for token in added:
        tok.add_special_tokens([token]) if token.special else tok.add_tokens([token])
    return tok


def sentence_piece(pre, normalizer, prefix=(1,), decoder="llama", strings=False, **model):
    """Llama 2's kind: <unk> <s> </s>, 256 bytes, then pieces trained on words with their ▁."""
    spec = train(pre_tokenizers.Metaspace(prepend_scheme="always"), size=700, alphabet=False)
    pieces = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    pieces += [p for p, _ in sorted(spec["model"]["vocab"].items(), key=lambda e: e[1]) if p not in pieces]
    spec["model"].update(vocab={p: i for i, p in enumerate(pieces)}, unk_token="<unk>", byte_fallback=True, fuse_unk=True, **model)
    if strings:
        spec["model"]["merges"] = [" ".join(m) for m in spec["model"]["merges"]]
    spec["pre_tokenizer"] = None
    tok = Tokenizer.from_str(json.dumps(spec))
    if pre:
        tok.pre_tokenizer = pre
    if normalizer:
        tok.normalizer = normalizer
    tok.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in ("<unk>", "<s>", "</s>")])
    tok.decoder = (decoders.Metaspace() if decoder == "metaspace" else decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]))
    tok.post_processor = processors.TemplateProcessing(single=[f"<s>", "$A"], pair=["<s>", "$A", "$B"], special_tokens=[("<s>", 1)])
    out = json.loads(tok.to_str())
    if strings:
        out["model"]["merges"] = [" ".join(m) for m in out["model"]["merges"]]
    return out


def llama3():
    spec = rebuilt(train(pre_tokenizers.Sequence([split(LLAMA3), RAW])), ignore_merges=True)
    vocab = spec["model"]["vocab"]
    for word in (" Việt", "orchard", " лама", "123", "\n\n\n", " question", "👍🏽"):
        text = "".join(t for t, _ in RAW.pre_tokenize_str(word))
        vocab.setdefault(text, len(vocab))
    tok = Tokenizer.from_str(json.dumps(spec))
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens(["<|begin_of_text|>", "<|eot_id|>"])
    begin = tok.token_to_id("<|begin_of_text|>")
    tok.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single=["<|begin_of_text|>", "$A"], pair=["<|begin_of_text|>", "$A", "<|begin_of_text|>:1", "$B:1"], special_tokens=[("<|begin_of_text|>", begin)])])
    return tok


def words(pre, normalizer=None, added=(), **model):
    """A plain BPE on characters with an unknown token, to try steps that no known family combines."""
    spec = train(pre_tokenizers.Whitespace(), normalizers.Lowercase(), size=500, alphabet=False, special=["[UNK]"])
    spec["normalizer"] = spec["pre_tokenizer"] = None
    spec["model"].update(unk_token="[UNK]", **model)
    tok = Tokenizer.from_str(json.dumps(spec))
    tok.pre_tokenizer = pre
    if normalizer:
        tok.normalizer = normalizer
    for token in added:
        tok.add_tokens([token])
    tok.decoder = decoders.Fuse()
    return tok


def affixes():
    """Words with ## before every later piece and </w> behind the last, as the two fields of a BPE model say."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocab = {"[UNK]": 0}
    for form in ("{}", "##{}", "{}</w>", "##{}</w>"):
        for c in letters:
            vocab[form.format(c)] = len(vocab)
    merges = [("t", "##h"), ("th", "##e</w>"), ("##i", "##n"), ("##in", "##g</w>"), ("a", "##n"), ("an", "##d</w>")]
    for a, b in merges:
        vocab[a + b[2:]] = len(vocab)
    tok = Tokenizer(models.BPE(vocab, merges, unk_token="[UNK]", continuing_subword_prefix="##", end_of_word_suffix="</w>"))
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous")])
    tok.decoder = decoders.Fuse()
    return tok


def unigram(scheme, split_words):
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.5)]
    pieces += [(c, -3.0 - i / 50) for i, c in enumerate("etaoinshrdlucmfwypvbgkjqxz.,'\"0123456789")]
    seen = {p for p, _ in pieces}
    for i, w in enumerate(" ".join(TEXT).split()):
        if "▁" + w not in seen and len(pieces) < 250:
            seen.add("▁" + w)
            pieces.append(("▁" + w, -1.0 - i / 100))
    tok = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split_words)
    tok.decoder = decoders.Metaspace()
    tok.add_special_tokens(["<pad>", "</s>", "<unk>"])
    tok.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], pair=["$A", "</s>", "$B", "</s>"], special_tokens=[("</s>", 1)])
    return tok


def kinds():
    P, M, S = normalizers.Prepend("▁"), pre_tokenizers.Metaspace, pre_tokenizers.Sequence
    odd = [AddedToken("[MASK]", lstrip=True, rstrip=True), AddedToken("<word>", single_word=True, normalized=True), AddedToken("ABC", normalized=True),
           AddedToken("abcd", normalized=False, single_word=True), AddedToken("<s>", normalized=False, lstrip=True), AddedToken("  ", normalized=False),
           AddedToken("</s>", normalized=False, rstrip=True)]
    return {
        "gpt2": byte_level(GPT2),
        "gpt2 with a blank first": byte_level(pre_tokenizers.ByteLevel(add_prefix_space=True)),
        "smollm": byte_level(S([pre_tokenizers.Digits(individual_digits=True), GPT2]), special=("<|endoftext|>", "<|im_start|>", "<|im_end|>")),
        "pythia": byte_level(GPT2, normalizers.NFC(), added=[AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)]),
        "llama 3": llama3(),
        "qwen": byte_level(S([split(QWEN2), RAW]), normalizers.NFC(), added=[AddedToken("<|im_start|>", special=True, normalized=False),
                           AddedToken("<|im_end|>", special=True, normalized=False), AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)]),
        "qwen 3.5": byte_level(S([split(QWEN35), RAW]), normalizers.NFC()),
        "cl100k": byte_level(S([split(CL100K), RAW])),
        "tekken": byte_level(S([split(TEKKEN), RAW])),
        "o200k": byte_level(S([split(O200K), RAW])),
        "falcon": byte_level(S([pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Digits(False),
                                split(r"[0-9][0-9][0-9]")])),
        "gpt2, shorter": byte_level(S([split(SHORT), RAW])),
        "digits in threes": byte_level(S([split(r"\p{N}{1,3}"), pre_tokenizers.Digits(False), GPT2])),
        "llama 2": sentence_piece(None, normalizers.Sequence([P, normalizers.Replace(" ", "▁")])),
        "llama 2, merges as texts": sentence_piece(None, normalizers.Sequence([P, normalizers.Replace(" ", "▁")]), strings=True),
        "metaspace first": sentence_piece(M(prepend_scheme="first", split=False), None),
        "metaspace first, split": sentence_piece(M(prepend_scheme="first", split=True), None, decoder="metaspace"),
        "metaspace always": sentence_piece(M(prepend_scheme="always", split=True), None, decoder="metaspace"),
        "metaspace never": sentence_piece(M(prepend_scheme="never", split=False), None),
        "metaspace first behind a strip": sentence_piece(M(prepend_scheme="first", split=False), normalizers.Strip()),
        "unigram first": unigram("first", False),
        "unigram first, split": unigram("first", True),
        "unigram never": unigram("never", True),
        "odd added tokens": words(pre_tokenizers.Whitespace(), normalizers.Lowercase(), odd),
        "odd added tokens, NFKC": words(pre_tokenizers.WhitespaceSplit(), normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), odd, fuse_unk=True),
        "punctuation": words(S([pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.CharDelimiterSplit("e")])),
        "punctuation contiguous": words(pre_tokenizers.Punctuation("contiguous"), normalizers.Nmt(), fuse_unk=True),
        "split merged with next": words(S([split((" ",), "merged_with_next"), split(r"\d", "merged_with_previous")]), normalizers.StripAccents()),
        "split contiguous": words(S([split(r"\p{N}", "contiguous"), split((" ",), "removed")]), normalizers.NFD()),
        "split inverted": words(S([split(r"\s+", "removed", True), pre_tokenizers.WhitespaceSplit()]), normalizers.NFKD()),
        "split digits out": words(S([split(r"[0-9]", "removed"), split(r"[\r\n]", "isolated", True)]), normalizers.Replace(Regex(r" {2,}"), "▁")),
        "affixes": affixes(),
    }


def digest(values):
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def hashes(rows):
    return [digest(rows[i:i + 100]) for i in range(0, len(rows), 100)]


def results(tok, texts):
    ids = [tok.encode(t, add_special_tokens=False).ids for t in texts]
    return ids, [tok.decode(i, skip_special_tokens=False) for i in ids]


def write(path, value):
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    with open(path, "wb") as f:
        f.write(gzip.compress(data, 9, mtime=0))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("out")
    p.add_argument("--full")
    p.add_argument("--only", nargs=2)
    args = p.parse_args()
    texts = lines()
    if args.only:
        ids, decoded = results(Tokenizer.from_file(args.only[0]), texts)
        with open(args.only[1], "w", encoding="utf8") as f:
            json.dump({"ids": hashes(ids), "decoded": hashes(decoded)}, f)
        return
    write(f"{args.out}/lines.json.gz", texts)
    out = {}
    for name, tok in kinds().items():
        if isinstance(tok, dict):
            spec, tok = tok, Tokenizer.from_str(json.dumps(tok))
        else:
            spec = json.loads(tok.to_str())
        ids, decoded = results(tok, texts)
        out[name] = {"tokenizer": spec, "ids": hashes(ids), "decoded": hashes(decoded),
                     "special": [tok.encode(t).ids for t in texts[:30]]}
        if args.full:
            with open(f"{args.full}/{name}.json", "w", encoding="utf8") as f:
                json.dump({"ids": ids, "decoded": decoded}, f)
    write(f"{args.out}/kinds.json.gz", out)


main()

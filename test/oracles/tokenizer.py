#!/usr/bin/env python3
"""Lines with the ids that the two reference libraries give them, for src/text.

  tokenizer.py OUT_DIR [T5_TOKENIZER_DIR]

Out: OUT_DIR/tiny.model       a SentencePiece Unigram model of 400 pieces (nmt_nfkc), trained on sentences written here
     OUT_DIR/tiny.json        {"lines": [...], "sentencepiece": [[ids]...]} of it
     OUT_DIR/bytes.model      the same with byte fallback, identity normaliser and a user-defined piece
     OUT_DIR/bytes.json
     OUT_DIR/t5.json          {"lines", "tokenizers", "sentencepiece"} of T5's own files, which are not kept here
Run with tokenizers 0.23.2, sentencepiece 0.2.2. Seed 0.
"""
import json
import random
import sys
import unicodedata

import sentencepiece as spm

SENTENCES = """The kettle sings before the water boils and nobody listens to it any more.
She carried the ladder through the orchard while her brother counted the apples twice.
A grey heron stood on the weir all morning, waiting for the river to make a mistake.
We bought bread, cheese, two lemons and a map that turned out to be of another town.
"Is it far?" he asked; "only as far as yesterday," said the old ferryman, and laughed.
Rain fell on the tin roof of the workshop, and the radio lost its station again.
The train to the coast leaves at 7:45 from platform 3, unless it is a Sunday in winter.
Nobody had told the children that the bridge was closed, so they swam.
He repaired clocks for forty years and was late for almost everything he loved.
Café tables, naïve tourists, a piñata: the square was ready for its summer party.
In 1987 the library moved 12,400 books by hand, one long line of neighbours passing them on.
Their dog understands three words, and two of them are "cheese".
The recipe says to wait until the dough has doubled, but it does not say in what.
Not every door that is shut is locked; not every lock is worth a key.
An engineer, a baker and a violinist share the top floor and one very small oven.
The price went from $4.50 to $6.20 (that's almost 38%), and still there was a queue.""".split("\n")

SPACES = [" "] * 10 + ["  ", "   ", "\t", "\n", "\r\n", "\u00a0", "\u2003", "\u3000", "\u200b", "\u2028", "\u0085", "\ufeff"]
BLOCKS = [(0xA1, 0x17F), (0x300, 0x340), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x620, 0x64A), (0x904, 0x939),
          (0xE01, 0xE3A), (0x1100, 0x11FF), (0x2010, 0x2027), (0x2070, 0x209C), (0x20A0, 0x20BF), (0x2100, 0x214F),
          (0x2150, 0x218B), (0x2460, 0x24FF), (0x2581, 0x2584), (0x3041, 0x30FF), (0x3200, 0x33FF), (0x4E00, 0x4FFF),
          (0xAC00, 0xAD00), (0xF900, 0xFAFF), (0xFB00, 0xFB06), (0xFE30, 0xFE4F), (0xFF01, 0xFFEF), (0x1D400, 0x1D7FF),
          (0x1F300, 0x1F64F), (0x1F1E6, 0x1F1FF), (0x1, 0x1F), (0x7F, 0x9F)]
HAND = ["", " ", "  ", "a", " a", "a ", "  two  spaces  ", "tab\tnew\nline\r\nend", "e\u0301te\u0301 cafe\u0301 nai\u0308ve",
        "\u0301 alone", "a\u0301\u0302\u0303 stack", "ﬁne ﬂow oﬃce", "１２３ ＡＢＣ ａｂｃ", "½ ⅓ ² ³ ™ ® © № ℃ Å Ω", "한글 각 ㅎㅏㄴ",
        "日本語のテキスト。カタカナ ｶﾞ ﾊﾟ", "مرحبا بالعالم", "שלום", "नमस्ते क्षि", "ภาษาไทย กำ", "👩‍👩‍👧‍👦 family 🇩🇪 flag 👍🏽", "zero\u200bwidth\u200djoin\u2060er",
        "soft\u00adhyphen", "quote ’ ‘ “ ” … – —", "～ tilde ﾞ", "\u2581 underline \u2581\u2581x", "\x00nul\x01\x7f", "\ufffd replaced",
        "https://example.org/a?b=c&d=%20e", "UPPER lower MiXeD", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "0123456789" * 5,
        "don't won't it's they've", "don''t ``quoted'' -- dashes", "sentence: it 's a charming and often affecting journey .",
        "hypothesis: it rains premise: it pours", "x\u0345\u0345\u0345", "\u1e9b\u0323", "ǆ Ǆ ǅ", "ß ẞ İ ı", "ａ\u0301 ﬃ\u0301 Å\u0301"]
SENTINELS = ["Thank you <extra_id_0> me to your party <extra_id_1> week.", "<extra_id_0>", "<extra_id_0> negative", "<extra_id_0>negative</s>",
             "x<extra_id_99>y", "<extra_id_100>", "<pad><unk></s>", "< extra_id_0 >", "<extra_id_1><extra_id_2>", "  <extra_id_3>  "]


def line(rng):
    out = []
    for _ in range(rng.randint(1, 14)):
        kind = rng.random()
        if kind < 0.5:
            out.append(rng.choice(rng.choice(SENTENCES).split()))
        elif kind < 0.6:
            out.append(str(rng.randint(0, 10 ** rng.randint(1, 8))))
        elif kind < 0.65:
            out.append(rng.choice(HAND))
        else:
            low, high = rng.choice(BLOCKS)
            out.append("".join(c for c in (chr(rng.randint(low, high)) for _ in range(rng.randint(1, 5)))
                               if unicodedata.category(c) != "Cn"))
        out.append(rng.choice(SPACES) if rng.random() < 0.85 else "")
    return "".join(out)


def lines():
    rng = random.Random(0)
    return HAND + SENTENCES + [line(rng) for _ in range(300)]


def train(out, name, **options):
    with open("/tmp/tokenizer_sentences.txt", "w", encoding="utf8") as f:
        f.write("\n".join(SENTENCES * 4))
    spm.SentencePieceTrainer.train(
        input="/tmp/tokenizer_sentences.txt", model_prefix=f"{out}/{name}", model_type="unigram", pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, hard_vocab_limit=False, num_threads=1, minloglevel=2, **options)


def spm_ids(path, texts):
    sp = spm.SentencePieceProcessor(model_file=path)
    return [sp.encode(t) for t in texts]


def t5_like(sp, text, extra):
    """SentencePiece between the special tokens, as transformers' T5 tokenizer does: each section is encoded on its own."""
    import re
    out = []
    n = sp.get_piece_size()
    for part in re.split(r"(<extra_id_\d+>|</s>|<pad>|<unk>)", text):
        m = re.fullmatch(r"<extra_id_(\d+)>", part)
        if m and int(m[1]) < extra:
            out.append(n + extra - 1 - int(m[1]))
        elif part in ("</s>", "<pad>", "<unk>"):
            out.append(sp.piece_to_id(part))
        else:
            out += sp.encode(part)
    return out


def write(path, value):
    with open(path, "w", encoding="utf8") as f:
        rows = ",\n".join(json.dumps(row) for row in value)
        f.write("[\n" + rows + "\n]\n")


def main():
    out = sys.argv[1]
    texts = lines()
    train(out, "tiny", vocab_size=400, normalization_rule_name="nmt_nfkc")
    sp = spm.SentencePieceProcessor(model_file=f"{out}/tiny.model")
    write(f"{out}/tiny.json", [{"text": t, "ids": t5_like(sp, t, 100)} for t in texts + SENTINELS])
    train(out, "bytes", vocab_size=600, byte_fallback=True, normalization_rule_name="identity", user_defined_symbols=["<sep>"])
    sp = spm.SentencePieceProcessor(model_file=f"{out}/bytes.model")
    write(f"{out}/bytes.json", [{"text": t, "ids": sp.encode(t)} for t in texts if "<sep>" not in t])
    if len(sys.argv) > 2:
        from tokenizers import Tokenizer
        fast = Tokenizer.from_file(f"{sys.argv[2]}/tokenizer.json")
        slow = spm.SentencePieceProcessor(model_file=f"{sys.argv[2]}/spiece.model")
        write(f"{out}/t5.json", [{"text": t, "tokenizers": fast.encode(t, add_special_tokens=False).ids,
                                  "sentencepiece": t5_like(slow, t, 100),
                                  "decoded": fast.decode(fast.encode(t).ids, skip_special_tokens=True)} for t in texts + SENTINELS])


main()

#!/usr/bin/env python3
"""Token arrays in; a pretrained very small T5 v1.1 (gated GELU, untied head, no biases) in a Hugging Face folder out.

  pretrain.py DATA_DIR STATE_DIR MODEL_DIR --minutes 30 [--tasks TASK_DIR] [--log log.jsonl] [--from MODEL_DIR]
  pretrain.py DATA_DIR --count STEPS      the mixture, by replaying the draws
  pretrain.py --selftest

In:   DATA_DIR   what prepare.py wrote;  TASK_DIR  the validation files, only looked at to log accuracies, never trained on
Out:  STATE_DIR  state.safetensors: float32 weights, optimizer state, step, time used. If it is there, the run
                 resumes from it: to the bit the run that was not interrupted (--selftest shows it).
      MODEL_DIR  config.json, generation_config.json, model.safetensors (bf16), tokenizer files; written at the end and
                 whenever the file STATE_DIR/export is found (which is then removed)
      A number in the file STATE_DIR/minutes, read before each step, replaces --minutes.
      log.jsonl  one record a line: losses, held-out span loss, accuracies
--from starts from a model folder's weights with a fresh optimizer (how to continue the shipped model).

A step's batch is a function of (seed, step) alone, so there is no data position or random state to lose. It has two parts:
  spans   windows of the corpus, 15 % of their tokens masked in spans of 3 on average (Raffel et al. 2020, section 3.1.4)
  task    rows of one task, drawn by TASKS, of near-equal length; what is asked of a row is drawn too (PHASES)
The learning rate is paced by the time the process ran (a step counts 5 s at most, so that a stopped process does not age)
or, with --total-steps, by steps.
"""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5ForConditionalGeneration

EOS, SENTINEL0 = 1, 8191
NOISE, SPAN, WINDOW = 0.15, 3, 140                    # a window of 140 tokens corrupts to 127 input and 30 target tokens
TASKS = {"sst2": 0.54, "mnli": 0.26, "qqp": 0.16, "squad": 0.04}   # whose rows a step's task part is made of
LONGEST = 200                                         # longer task rows are not drawn
# What is asked of a row. told: "<task> <template>" -> answer. denoise: the template alone, corrupted -> its spans.
# opposite (SST-2): "opposite <template>" -> the other label. open (SST-2): the template alone -> the label or the other one,
# at random: an input that does not say which task is meant really leaves it open.
TOLD = {"told": 0.85, "denoise": 0.15}
# First SST-2 is only told or denoised: while the model cannot yet tell the task words apart, opposite labels just cancel what
# it learns of sentiment. The last phase lasts to the end, and is the only one when --from continues a model.
PHASES = [
    {"until": 537, "windows": 8, "rows": {"sst2": 128, "mnli": 48, "qqp": 48, "squad": 10},
     "kinds": {"sst2": TOLD, "mnli": TOLD, "qqp": TOLD, "squad": {"told": 1.0}}},
    {"until": None, "windows": 16, "rows": {"sst2": 64, "mnli": 24, "qqp": 24, "squad": 5},
     "kinds": {"sst2": {"told": 0.5, "opposite": 0.24, "open": 0.14, "denoise": 0.12},
               "mnli": TOLD, "qqp": TOLD, "squad": {"told": 1.0}}},
]
SHAPE = {"vocab_size": 8192, "d_model": 128, "d_ff": 384, "num_layers": 4, "num_heads": 2, "d_kv": 64}


# ---- data

def cuts(rng, rows, total, parts):
    """[rows, parts] positive integers; each row sums to total, every such split equally likely."""
    marks = np.argsort(rng.random((rows, total - 1)), axis=1)[:, :parts - 1] + 1
    marks = np.sort(marks, axis=1)
    edge = np.ones((rows, 1), dtype=marks.dtype)
    return np.diff(np.concatenate([0 * edge, marks, total * edge], axis=1), axis=1)


def corrupt(rng, rows):
    """Span corruption of equally long token rows [n, length] -> inputs and targets, equally long too."""
    n, length = rows.shape
    noise = max(1, round(length * NOISE))
    spans = max(1, round(noise / SPAN))
    lengths = np.stack([cuts(rng, n, length - noise, spans), cuts(rng, n, noise, spans)], axis=2).reshape(n, -1)
    ends = np.cumsum(lengths, axis=1)                  # kept, masked, kept, masked, ...
    segment = (np.arange(length)[None, :, None] >= ends[:, None, :]).sum(axis=2)
    masked = segment % 2 == 1
    first = np.diff(masked.astype(np.int8), axis=1, prepend=0) == 1
    sentinel = SENTINEL0 - segment // 2
    tail = np.full((n, 1), EOS)
    inputs = np.where(first, sentinel, rows)[~masked | first].reshape(n, -1)
    # the target is, span by span, its sentinel and its tokens: put each sentinel in front of its span's first token
    pairs = np.stack([sentinel, rows], axis=2)
    wanted = np.stack([first, masked], axis=2)
    targets = pairs[wanted].reshape(n, -1)
    return np.concatenate([inputs, tail], axis=1), np.concatenate([targets, tail], axis=1)


def windows(rng, stream, n):
    at = rng.integers(len(stream) - WINDOW, size=n)
    return np.stack([stream[i:i + WINDOW] for i in at]).astype(np.int64)


def matrix(rows, fill, multiple=1):
    width = -(-max(map(len, rows)) // multiple) * multiple
    out = np.full((len(rows), width), fill, dtype=np.int64)
    for i, r in enumerate(rows):
        out[i, :len(r)] = r
    return torch.from_numpy(out)


class Rows:
    """The supervised rows of pairs.npz."""

    def __init__(self, path, words):
        self.words = words  # token ids of the task words and of the SST-2 labels
        arrays = np.load(path)
        self.tasks = {}
        for task in TASKS:
            x, xo, y, yo = (arrays[f"{task}_{k}"] for k in ("x", "xo", "y", "yo"))
            short = np.flatnonzero(np.diff(xo) + 8 <= LONGEST)
            self.tasks[task] = (x, xo, y, yo, short)

    def draw(self, rng, phase):
        """One task's rows, near-equal in length: the task, inputs, targets, and what is asked of each."""
        task = str(rng.choice(list(TASKS), p=list(TASKS.values())))
        x, xo, y, yo, short = self.tasks[task]
        n, mix = phase["rows"][task], phase["kinds"][task]
        pool = short[rng.integers(len(short), size=8 * n)]
        pool = pool[np.argsort(xo[pool + 1] - xo[pool], kind="stable")]
        part = rng.integers(8)
        inputs, targets = [], []
        kinds = rng.choice(list(mix), p=list(mix.values()), size=n)
        for i, kind in zip(pool[part * n:(part + 1) * n], kinds):
            text, answer = x[xo[i]:xo[i + 1]].astype(np.int64), y[yo[i]:yo[i + 1]].astype(np.int64)
            if kind == "denoise":
                text, answer = (v[0] for v in corrupt(rng, text[None]))
            else:
                if kind == "opposite" or kind == "open" and rng.random() < 0.5:
                    answer = self.words["positive"] if (answer[0] == self.words["negative"][0]) else self.words["negative"]
                word = {"told": self.words.get(task), "opposite": self.words.get("opposite"), "open": []}[kind]
                text = np.concatenate([word, text, [EOS]]).astype(np.int64)
            inputs.append(text)
            targets.append(answer)
        return task, inputs, targets, kinds


def phase_at(step, continued=False):
    return PHASES[-1] if continued else next(p for p in PHASES if not p["until"] or step < p["until"])


def batch(rng, phase, corpus, rows):
    return *corrupt(rng, windows(rng, corpus, phase["windows"])), rows.draw(rng, phase)


def count(data, words, steps, seed):
    """The input and target tokens of the first steps' batches, by what they are: the mixture as it really was."""
    corpus, rows = np.load(f"{data}/corpus.npy", mmap_mode="r"), Rows(f"{data}/pairs.npz", words)
    found = {}
    for step in range(steps):
        x, y, (task, inputs, targets, kinds) = batch(np.random.default_rng([seed, step]), phase_at(step), corpus, rows)
        for name, n, a, b in [("corpus spans", len(x), x.size, y.size),
                              *((f"{task} {kind}", 1, len(i), len(t)) for i, t, kind in zip(inputs, targets, kinds))]:
            found[name] = [p + q for p, q in zip(found.get(name, [0, 0, 0]), (n, a, b))]
    total = sum(a for _, a, _ in found.values()), sum(b for _, _, b in found.values())
    return {k: {"rows": n, "inputTokens": a, "targetTokens": b, "share": round((a + b) / sum(total), 4)}
            for k, (n, a, b) in sorted(found.items())} | {"total": {"inputTokens": total[0], "targetTokens": total[1]}}


def word_ids(folder):
    from tokenizers import Tokenizer
    tok = Tokenizer.from_file(f"{folder}/tokenizer.json")
    assert tok.token_to_id("<extra_id_0>") == SENTINEL0 and tok.token_to_id("</s>") == EOS
    ids = {w: tok.encode(w, add_special_tokens=False).ids for w in [*TASKS, "opposite"]}
    return ids | {w: np.array(tok.encode(w).ids) for w in ("negative", "positive")}, lambda s: tok.encode(s).ids


# ---- model and optimizer

def new_model(shape):
    config = T5Config(**shape, num_decoder_layers=shape["num_layers"], dropout_rate=0.0, feed_forward_proj="gated-gelu",
                      tie_word_embeddings=False, decoder_start_token_id=0, pad_token_id=0, eos_token_id=EOS)
    model = T5ForConditionalGeneration(config)
    # transformers 5 ties every new T5's head to its embedding; T5 v1.1's is its own
    model.lm_head.weight = torch.nn.Parameter(0.5 * shape["d_model"] ** -0.5 * torch.randn_like(model.shared.weight))
    config.tie_word_embeddings = False
    assert not config.scale_decoder_outputs
    torch.nn.init.normal_(model.shared.weight, std=1.0)
    return model


class Optimizer:
    """Muon for the matrices inside the blocks, AdamW for the embedding, the head and the vectors.

    Muon (Jordan 2024): Nesterov momentum, made orthogonal by five Newton-Schulz steps; matrices of one shape go together.
    The query matrices get 1/8 of the rate, as T5 leaves out attention's division by sqrt(d_kv).
    """

    def __init__(self, model, lr, adam_lr, decay=0.05):
        self.lr, self.adam_lr, self.decay = lr, adam_lr, decay
        groups = {}
        adam = {"shared": [], "head": [], "rest": []}
        for name, p in model.named_parameters():
            if name == "shared.weight":
                adam["shared"].append(p)
            elif name == "lm_head.weight":
                adam["head"].append(p)
            elif p.dim() < 2 or "relative_attention_bias" in name:
                adam["rest"].append(p)
            else:
                groups.setdefault((tuple(p.shape), ".q." in name), []).append(p)
        self.groups = [(ps, torch.zeros(len(ps), *shape), 0.125 if q else 1.0) for (shape, q), ps in groups.items()]
        rates = {"shared": 8.0, "head": 1.0, "rest": 1.0}
        self.adam = torch.optim.AdamW(
            [{"params": ps, "lr": adam_lr, "scale": rates[k], "weight_decay": 0.0} for k, ps in adam.items()],
            betas=(0.9, 0.98), eps=1e-10, fused=True)

    @torch.no_grad()
    def step(self, pace):
        for g in self.adam.param_groups:
            g["lr"] = self.adam_lr * pace * g["scale"]
        self.adam.step()
        self.adam.zero_grad()
        for ps, momentum, scale in self.groups:
            grad = torch.stack([p.grad for p in ps])
            momentum.mul_(0.95).add_(grad, alpha=0.05)
            x = grad.lerp_(momentum, 0.95).bfloat16()
            tall = x.shape[1] > x.shape[2]
            if tall:
                x = x.mT
            x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            for _ in range(5):
                a = x @ x.mT
                x = 3.4445 * x + (-4.775 * a + 2.0315 * (a @ a)) @ x
            if tall:
                x = x.mT
            rate = self.lr * pace * scale
            step = x.float() * (0.2 * max(x.shape[1:]) ** 0.5 * rate)
            for p, u in zip(ps, step):
                p.mul_(1 - rate * self.decay).sub_(u)
                p.grad = None

    def state(self):
        out = {f"muon.{i}": m for i, (_, m, _) in enumerate(self.groups)}
        for i, s in self.adam.state_dict()["state"].items():
            out |= {f"adam.{i}.{k}": v for k, v in s.items()}
        return out

    def load(self, tensors):
        for i, (_, m, _) in enumerate(self.groups):
            m.copy_(tensors[f"muon.{i}"])
        own = self.adam.state_dict()
        for k, v in tensors.items():
            if k.startswith("adam."):
                _, i, name = k.split(".")
                own["state"].setdefault(int(i), {})[name] = v
        self.adam.load_state_dict(own)


def span_loss(forward, inputs, targets, reduction="mean"):
    """Cross-entropy of the target tokens; inputs and targets are padded tensors, -100 in targets is left out."""
    logits = forward(input_ids=inputs, attention_mask=(inputs != 0).long(), labels=targets).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=-100, reduction=reduction)


@torch.no_grad()
def held_loss(model, held, rows=192, batch=32):
    """Mean loss per target token on the same corrupted windows of the held-out documents every time."""
    rng = np.random.default_rng(7)
    model.eval()
    total = 0.0
    for _ in range(rows // batch):
        x, y = corrupt(rng, windows(rng, held, batch))
        total += span_loss(model, torch.from_numpy(x), torch.from_numpy(y)).item()
    return total / (rows // batch)


# ---- the run

def export(model, data, out):
    """The Hugging Face folder. Written by hand, as transformers 5 writes tie_word_embeddings: true for every T5."""
    os.makedirs(out, exist_ok=True)
    tensors = {k: v.detach().to(torch.bfloat16).contiguous() for k, v in model.named_parameters()}
    save_file(tensors, f"{out}/model.safetensors", metadata={"format": "pt"})
    config = {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_gated_act": True, "dense_act_fn": "gelu_new",
              "dtype": "bfloat16", "tie_word_embeddings": False, "use_cache": True, "is_encoder_decoder": True}
    for k in ("vocab_size", "d_model", "d_ff", "d_kv", "num_layers", "num_decoder_layers", "num_heads", "feed_forward_proj",
              "relative_attention_num_buckets", "relative_attention_max_distance", "layer_norm_epsilon", "initializer_factor",
              "dropout_rate", "decoder_start_token_id", "pad_token_id", "eos_token_id"):
        config[k] = getattr(model.config, k)
    generation = {"_from_model_config": True, "decoder_start_token_id": 0, "eos_token_id": EOS, "pad_token_id": 0}
    for name, value in (("config", config), ("generation_config", generation)):
        with open(f"{out}/{name}.json", "w") as f:
            json.dump(value, f, indent=1, sort_keys=True)
            f.write("\n")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if os.path.exists(f"{data}/{name}"):
            shutil.copy(f"{data}/{name}", out)


def save_state(folder, model, opt, meta):
    os.makedirs(folder, exist_ok=True)
    tensors = {f"model.{k}": v for k, v in model.named_parameters()} | opt.state()
    save_file({k: v.detach().contiguous() for k, v in tensors.items()}, f"{folder}/state.new", metadata={"meta": json.dumps(meta)})
    os.replace(f"{folder}/state.new", f"{folder}/state.safetensors")


def load_state(folder, model, opt):
    from safetensors import safe_open
    with safe_open(f"{folder}/state.safetensors", "pt") as f:
        meta = json.loads(f.metadata()["meta"])
    tensors = load_file(f"{folder}/state.safetensors")
    with torch.no_grad():
        for k, p in model.named_parameters():
            p.copy_(tensors[f"model.{k}"])
    opt.load(tensors)
    return meta


def train(args, shape, words, encode):
    torch.manual_seed(args.seed)
    model = T5ForConditionalGeneration.from_pretrained(args.start, dtype=torch.float32) if args.start else new_model(shape)
    opt = Optimizer(model, args.lr, args.adam_lr)
    meta = {"step": 0, "used": 0.0, "inputTokens": 0, "targetTokens": 0}
    if os.path.exists(f"{args.state}/state.safetensors"):
        meta = load_state(args.state, model, opt)
        print("resumed", meta, flush=True)
    corpus, held = (np.load(f"{args.data}/{n}.npy", mmap_mode="r") for n in ("corpus", "held"))
    rows = Rows(f"{args.data}/pairs.npz", words)
    forward = torch.compile(model, dynamic=False) if args.compile else model  # for the windows, which are all of one size
    model.train()

    old = []
    if args.log and os.path.exists(args.log):
        with open(args.log) as f:
            old = [line for line in f if json.loads(line)["step"] <= meta["step"]]
    log = open(args.log, "w") if args.log else open(os.devnull, "w")
    log.writelines(old)
    log.flush()
    stop = []
    if args.log:
        signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    sums, saved, logged, scored = {}, meta["used"], meta["used"], meta["used"]
    clock = time.monotonic()

    def record(full):
        r = {"step": meta["step"], "minutes": round(meta["used"] / 60, 2), "inputTokens": meta["inputTokens"],
             "targetTokens": meta["targetTokens"], "pace": round(pace, 4), "held": round(held_loss(model, held), 4)}
        r["train"] = {k: round(sum(v) / len(v), 4) for k, v in sums.items()}
        if full and args.tasks:
            found = accuracies(model, encode, args.tasks, 872)
            r["accuracy"] = {t: [round(s["told"], 4), round(s["untold"], 4)] for t, s in found.items()}
        sums.clear()
        model.train()
        log.write(json.dumps(r) + "\n")
        log.flush()
        print(json.dumps(r), flush=True)

    from evaluate import accuracies
    while True:
        if os.path.exists(f"{args.state}/minutes"):  # the machine turned out busier or idler than thought: a new length
            with open(f"{args.state}/minutes") as f:
                args.minutes = float(f.read())
        part = meta["step"] / args.total_steps if args.total_steps else meta["used"] / (60 * args.minutes)
        if part >= 1 or stop or args.stop_at and meta["step"] >= args.stop_at:
            break
        warm = min(1, (meta["step"] + 1) / args.warmup)
        # flat, then down to 5 % over the last 60 %
        pace = warm * (1 if part < 0.4 else 1 - 0.95 * (part - 0.4) / 0.6)
        rng = np.random.default_rng([args.seed, meta["step"]])

        x, y, (task, inputs, targets, kinds) = batch(rng, phase_at(meta["step"], args.start), corpus, rows)
        tx, ty = matrix(inputs, 0, 8), matrix(targets, -100, 8)
        answer = torch.from_numpy(kinds != "denoise")[:, None]
        x, y = torch.from_numpy(x), torch.from_numpy(y)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(args.bf16)):
            spans = span_loss(forward, x, y, "sum")
        noise = ty.masked_fill(answer, -100)
        count = y.numel() + int((noise >= 0).sum())
        (spans / count).backward()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(args.bf16)):
            each = span_loss(model, tx, ty, "none").view(ty.shape)
        asked = (ty >= 0) & answer
        told = each[asked].sum() / asked.sum().clamp(min=1)
        (told * args.answer_weight + each[~answer.squeeze(1)].sum() / count).backward()
        opt.step(pace)

        meta["step"] += 1
        meta["inputTokens"] += x.numel() + sum(map(len, inputs))
        meta["targetTokens"] += y.numel() + sum(map(len, targets))
        sums.setdefault("spans", []).append(spans.item() / y.numel())
        sums.setdefault(task, []).append(told.item())
        now = time.monotonic()
        meta["used"] += min(now - clock, 5.0)
        clock = now
        if meta["used"] - logged > args.log_every:
            logged = meta["used"]
            full = meta["used"] - scored > args.score_every
            if full:
                scored = meta["used"]
            record(full)
        if args.log and meta["used"] - saved > args.save_every:
            saved = meta["used"]
            save_state(args.state, model, opt, meta)
        if os.path.exists(f"{args.state}/export"):
            export(model, args.data, args.model)
            os.remove(f"{args.state}/export")
    save_state(args.state, model, opt, meta)
    if not stop and not args.stop_at:
        if args.log:
            record(True)
        export(model, args.data, args.model)
    return model


def options():
    a = argparse.ArgumentParser()
    a.add_argument("data", nargs="?")
    a.add_argument("state", nargs="?")
    a.add_argument("model", nargs="?")
    a.add_argument("--selftest", action="store_true")
    a.add_argument("--count", type=int, help="print the mixture of the first so many steps and stop; needs DATA_DIR only")
    a.add_argument("--minutes", type=float, default=30)
    a.add_argument("--total-steps", type=int, default=0)
    a.add_argument("--stop-at", type=int, default=0, help="stop at this step, as if interrupted")
    a.add_argument("--from", dest="start", help="model folder to start from")
    a.add_argument("--tasks")
    a.add_argument("--log")
    a.add_argument("--lr", type=float, default=0.002, help="Muon's")
    a.add_argument("--adam-lr", type=float, default=0.001, help="AdamW's for the head and the vectors; the embedding has 8 times it")
    a.add_argument("--warmup", type=int, default=60)
    a.add_argument("--answer-weight", type=float, default=1.0)
    a.add_argument("--bf16", type=int, default=1)
    a.add_argument("--compile", type=int, default=0)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--log-every", type=float, default=120)
    a.add_argument("--score-every", type=float, default=420)
    a.add_argument("--save-every", type=float, default=180)
    return a


def selftest():
    """A run of 6 steps against one that is interrupted after 3 and resumed: the same weights, to the bit."""
    shape = {**SHAPE, "d_model": 32, "d_ff": 48, "num_layers": 2, "num_heads": 2, "d_kv": 16}
    rng = np.random.default_rng(1)
    words = {w: [10 + i] for i, w in enumerate([*TASKS, "opposite"])} | {"negative": np.array([20, EOS]), "positive": np.array([21, EOS])}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("corpus", "held"):
            np.save(f"{folder}/{name}.npy", rng.integers(30, 8000, size=5000).astype(np.uint16))
        arrays = {}
        for task in TASKS:
            arrays |= {f"{task}_x": rng.integers(30, 8000, size=2000).astype(np.uint16), f"{task}_xo": np.arange(0, 2001, 20),
                       f"{task}_y": np.tile(np.array([20, EOS], dtype=np.uint16), 100), f"{task}_yo": np.arange(0, 201, 2)}
        np.savez(f"{folder}/pairs.npz", **arrays)

        def run(name, *extra):
            args = options().parse_args([folder, f"{folder}/{name}", f"{folder}/{name}-model", "--total-steps", "6", *extra])
            return {k: v.clone() for k, v in train(args, shape, words, None).named_parameters()}

        whole = run("whole")
        half = run("parts", "--stop-at", "3")
        parts = run("parts")
        assert any(not torch.equal(half[k], whole[k]) for k in whole)
        assert all(torch.equal(parts[k], whole[k]) for k in whole), "the resumed run differs"
        x = rng.integers(30, 8000, size=(50, WINDOW))
        inputs, targets = corrupt(rng, x)
        for raw, i, t in zip(x, inputs.tolist(), targets.tolist()):  # putting the spans back gives the text
            spans, last = {}, None
            for v in t[:-1]:
                if v > 8091:
                    last = spans.setdefault(v, [])
                else:
                    last.append(v)
            assert sum((spans[v] if v > 8091 else [v] for v in i[:-1]), []) == raw.tolist()
    print("selftest passed: a resumed run equals one that was not interrupted; corruption loses nothing")


def main():
    args = options().parse_args()
    torch.set_num_threads(args.threads)
    if args.selftest:
        return selftest()
    words, encode = word_ids(args.data)
    if args.count:
        return print(json.dumps(count(args.data, words, args.count, args.seed), indent=1))
    train(args, SHAPE, words, encode)


if __name__ == "__main__":
    sys.exit(main())

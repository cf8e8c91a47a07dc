#!/usr/bin/env python3
"""Pieces that came back from the GPU in; a Hugging Face folder out, checked and scored on a CPU.

  join.py PIECES_DIR PACK_DIR OUT_DIR [--rows 400] [--windows 64] [--scores scores.json]

In:   PIECES_DIR   model-a.part-*, model-b.part-* as pretrain_gpu.py wrote them, also after a kill: the newest whole set is taken
      PACK_DIR     tokenizer files, evaluation rows, held-out text (the corpus pieces are not needed)
Out:  OUT_DIR      config.json, generation_config.json, model.safetensors, tokenizer files, pretrain.json (tokens, mixture, scores)
      SCORES       what is printed, as JSON
Verifies every sha256, loads the folder with transformers, compares its losses with pretrain_gpu.py's own model, and prints the
held-out span loss and the accuracies with and without the task word. --rows 0: all evaluation rows.
"""
import argparse
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import pretrain_gpu as kit


class Transformers:
    """A transformers model behind the few methods that Scores uses."""

    def __init__(self, model, torch):
        self.model, self.torch, self.device, self.eager = model, torch, torch.device("cpu"), None

    def keep(self, *_):
        return None

    def encode(self, ids, seg, *_):
        return self.model.encoder(input_ids=ids, attention_mask=seg).last_hidden_state

    def decode(self, ids, _, source, seg_source, targets, *rest):
        logits = self.model(encoder_outputs=(source,), attention_mask=seg_source, decoder_input_ids=ids).logits.float()
        return self.torch.logsumexp(logits, -1) - logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("pieces")
    a.add_argument("pack")
    a.add_argument("out")
    a.add_argument("--rows", type=int, default=400, help="of each evaluation file; 0: all")
    a.add_argument("--windows", type=int, default=64)
    a.add_argument("--scores", help="a file for the scores")
    args = a.parse_args()
    found = kit.read_pieces(args.pieces)
    if not found:
        raise SystemExit(f"no whole set of pieces in {args.pieces}")
    header, whole, slot = found
    print(f"set {header['set']} (model-{slot}), {header['count']} pieces, {len(whole)} bytes, sha256 {header['whole']}: whole")
    os.makedirs(args.out, exist_ok=True)
    with open(f"{args.out}/model.safetensors", "wb") as f:
        f.write(whole)
    for name, value in (("config", header["config"]), ("generation_config", header["generation_config"]), ("pretrain", header["facts"])):
        with open(f"{args.out}/{name}.json", "w") as f:
            json.dump(value, f, indent=1, sort_keys=True)
            f.write("\n")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(f"{args.pack}/{name}", args.out)

    kit.load_torch()
    import torch
    from safetensors.torch import load
    from transformers import AutoTokenizer, T5ForConditionalGeneration
    meta, arrays, _ = kit.unpack(args.pack, corpus=False)
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    for word, ids in meta["words"].items():
        assert tokenizer(word, add_special_tokens=False).input_ids == ids, word
    model = T5ForConditionalGeneration.from_pretrained(args.out, dtype=torch.float32).eval()
    theirs = Transformers(model, torch)
    config = header["config"]
    shape = {k: config[k] for k in ("vocab_size", "d_model", "d_ff", "d_kv", "num_heads", "num_layers")}
    weights = {k: t.float() * (8 if k.endswith(".q.weight") else 1) for k, t in load(whole).items()}
    ours = kit.T5(weights, shape, torch.device("cpu"), torch.float32)
    scores = kit.Scores(meta, arrays)
    with torch.no_grad():
        a, b = (scores.span_loss(m, 283, 32) for m in (ours, theirs))
        print(f"span loss of 32 windows: own model {a:.6f}, transformers {b:.6f}")
        assert abs(a - b) < 1e-4, "transformers computes something else than the training script"
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {header['facts']['step']} steps, {header['facts']['tokens']} tokens, "
          f"{header['facts']['seconds']} s of training")
    result = scores.all(theirs, args.rows or 10**9, args.windows)
    print(f"held-out span loss ({args.windows} windows): {result['held140']} (windows of 140 tokens, as models/t5-nano's), "
          f"{result['held283']} (of 283)")
    table = {}
    for task in meta["labels"]:
        gold = scores.rows[task][1][:args.rows or None]
        most = max(sum(g == j for g in gold) for j in range(len(meta["labels"][task]))) / len(gold)
        table[task] = {"rows": len(gold), "told": result[task][0], "untold": result[task][1], "majority": round(most, 4)}
        print(f"{task}: told {result[task][0]:.3f}, untold {result[task][1]:.3f}, most frequent label {most:.3f} ({len(gold)} rows)")
    if args.scores:
        table["heldSpanLoss"] = {"windows": args.windows, "of140": result["held140"], "of283": result["held283"]}
        table["heldSpanLossOfAnotherInput"] = {"windows": 32, "of283": result["wrongInput"]}
        with open(args.scores, "w") as f:
            json.dump(table, f, indent=1)
            f.write("\n")
    print("scores at the end of the training:", json.dumps(header["facts"]["scores"]))


if __name__ == "__main__":
    main()

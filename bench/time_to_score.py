"""PEFT's prompt tuning of a decoder-only model as a careful user runs it, for bench/time-to-score.mjs.

  python bench/time_to_score.py SETTINGS.json

Prints a line {"step", "score"} after every evaluation: label words ranked by the log-probability of their tokens, as softprompt does.
Batches have padding on the left, and logits are taken of the target's positions alone, as a careful user would. Checked with torch 2.15,
transformers 5.24, peft 0.21.
"""

import json
import random
import sys

import torch
from peft import PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

settings = json.load(open(sys.argv[1], encoding="utf8"))
random.seed(settings["seed"])
torch.manual_seed(settings["seed"])
tokenizer = AutoTokenizer.from_pretrained(settings["model"])
base = AutoModelForCausalLM.from_pretrained(settings["model"], dtype=getattr(torch, settings["dtype"]))
config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=settings["virtualTokens"], prompt_tuning_init="TEXT",
                            prompt_tuning_init_text=settings["init"], tokenizer_name_or_path=settings["model"])
model = get_peft_model(base, config).eval()
pad = tokenizer.pad_token_id or 0
words = {label: tokenizer.encode(" " + word.strip(), add_special_tokens=False) for label, word in settings["verbalizer"].items()}


kept = max(len(target) for target in words.values())


def rows(file):
    out = []
    for line in open(file, encoding="utf8"):
        row = json.loads(line)
        text = settings["template"]
        for name, value in row.items():
            text = text.replace("{" + name + "}", str(value))
        out.append((tokenizer.encode(text)[: settings["maxInputTokens"]], row["label"]))
    return out


def batch(pairs):
    """Ids, mask and labels of (text, target) with padding on the left."""
    longest = max(len(text) + len(target) for text, target in pairs)
    ids = torch.full((len(pairs), longest), pad)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for i, (text, target) in enumerate(pairs):
        both = torch.tensor(text + target)
        ids[i, -len(both):] = both
        mask[i, -len(both):] = 1
        labels[i, -len(target):] = both[-len(target):]
    return ids, mask, labels


def score(validation):
    """Share of rows whose own label's words have the highest log-probability; long and short rows in batches of like length."""
    right = 0
    order = sorted(validation, key=lambda row: len(row[0]))
    with torch.no_grad():
        for at in range(0, len(order), 8):
            part = order[at:at + 8]
            pairs = [(text, target) for text, _ in part for target in words.values()]
            ids, mask, labels = batch(pairs)
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=kept + 1).logits
            logs = logits[:, :-1].float().log_softmax(-1)
            wanted = labels[:, -kept:]
            each = logs.gather(2, wanted.clamp(min=0).unsqueeze(2)).squeeze(2)
            total = (each * (wanted != -100)).sum(1).view(len(part), len(words))
            names = list(words)
            right += sum(names[int(best)] == label for best, (_, label) in zip(total.argmax(1), part))
    return right / len(validation)


train, validation = rows(settings["train"]), rows(settings["validation"])
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(parameters, lr=settings["learningRate"], weight_decay=settings["weightDecay"])
order = []
for step in range(1, settings["steps"] + 1):
    if len(order) < settings["batchSize"]:
        order = random.sample(range(len(train)), len(train))
    drawn = [train[order.pop()] for _ in range(settings["batchSize"])]
    ids, mask, labels = batch([(text, words[label]) for text, label in drawn])
    optimizer.zero_grad()
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=kept + 1).logits[:, :-1].float()
    # a token's mean loss per row, then the mean of rows, as softprompt counts it where all label words have one token
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, -kept:].flatten()).backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    if step % settings["every"] == 0 or step == settings["steps"]:
        print(json.dumps({"step": step, "score": score(validation)}), flush=True)

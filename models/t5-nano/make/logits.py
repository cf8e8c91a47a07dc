#!/usr/bin/env python3
"""What logits.mjs wrote in; its largest difference from transformers' float32 logits out. Exits with 1 above 1e-4, relative.

  logits.py OUT.json
"""
import json
import os
import sys

import numpy as np
import torch
from transformers import T5ForConditionalGeneration

with open(sys.argv[1]) as f:
    ours = json.load(f)
n = ours["rows"]
ids, mask, targets, counts = (torch.tensor(ours[k]).view(n, -1) for k in ("inputIds", "inputMask", "targetIds", "targetMask"))
folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
model = T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
with torch.no_grad():
    theirs = model(input_ids=ids, attention_mask=mask, labels=targets.masked_fill(counts == 0, -100)).logits.numpy()
valid = counts.numpy().astype(bool)
logits = np.array(ours["logits"], dtype=np.float32).reshape(theirs.shape)
error = np.abs(logits - theirs)[valid].max() / np.abs(theirs[valid]).max()
print(f"{n} rows, largest difference {error:.1e} of the largest logit")
sys.exit(int(error > 1e-4))

"""Greedy generation with transformers, for bench/generate.mjs: a line with a batch size in, a line with tokens a second out.

  python bench/generate.py FOLDER TEXT TOKENS THREADS      (torch, transformers; float32, CPU, transformers' own cache)
"""

import json
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM

torch.set_flush_denormal(True)  # as softprompt's command line has it


@torch.no_grad()
def main():
    folder, text, tokens, threads = sys.argv[1], *(int(n) for n in sys.argv[2:5])
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    vocabulary = model.config.vocab_size
    print(json.dumps(dict(torch=torch.__version__, transformers=transformers.__version__)), flush=True)
    for line in sys.stdin:
        batch = int(line)
        ids = 3 + (torch.arange(batch * text) * 7919) % (vocabulary - 3)
        ids = ids.reshape(batch, text)
        start = time.perf_counter()
        out = model.generate(ids, attention_mask=torch.ones_like(ids), min_new_tokens=tokens, max_new_tokens=tokens,
                             do_sample=False, pad_token_id=0)
        assert out.shape == (batch, text + tokens)
        print(batch * tokens / (time.perf_counter() - start), flush=True)


main()

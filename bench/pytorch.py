"""The training step of bench/step.mjs in PyTorch: T5 v1.1 and Llama shapes, random weights, gradient for the soft prompt only.

Variants: eager and compiled, float32 and bfloat16, and PEFT's prompt tuning (what a Python user would run today).
All do the same work: 20 prompt vectors before 128 text tokens, 4 target tokens, batch 8, encoder and decoder, mean token
loss, gradient of the prompt; frozen weights ask for none; eval mode (no dropout), no cache. Of a Llama, eager and compiled take logits of
the target's positions alone, as a careful user would; PEFT takes those of all positions, as it does.

  python bench/pytorch.py small base --rounds 7            medians as JSON, variants interleaved
  python bench/pytorch.py small --serve                    for bench/compare.mjs: one variant name per line in, milliseconds out

Needs torch, transformers, peft and, for the compiled ones, a C++ compiler. Checked with torch 2.13, transformers 5.18, peft 0.21.
"""

import argparse
import functools
import json
import os
import statistics
import sys
import time

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

torch.set_flush_denormal(True)  # as softprompt's command line has it

# D, F, layers of each stack, heads, K (as src/model/shapes.ts)
SIZES = {"small": (512, 1024, 8, 6, 64), "base": (768, 2048, 12, 12, 64), "large": (1024, 2816, 24, 16, 64)}
# D, F, layers, heads, key heads, vocabulary, tied (as bench/checkpoint.mjs)
LLAMAS = {
    "smollm2-135m": (576, 1536, 30, 9, 3, 49152, True),
    "tinyllama-1.1b": (2048, 5632, 22, 32, 4, 32000, False),
    "llama-small": (64, 128, 2, 4, 2, 512, True),
}
VARIANTS = ["eager-float32", "compiled-float32", "eager-bfloat16", "compiled-bfloat16", "peft-float32", "peft-bfloat16"]


def build(size, dtype):
    """A random frozen T5 v1.1; weights of order one keep activations in range, as in bench/checkpoint.mjs."""
    d, f, layers, heads, k = SIZES[size]
    config = T5Config(d_model=d, d_ff=f, num_layers=layers, num_heads=heads, d_kv=k, vocab_size=32128, dropout_rate=0.0,
                      feed_forward_proj="gated-gelu", tie_word_embeddings=False, decoder_start_token_id=0)
    model = T5ForConditionalGeneration(config).to(dtype).eval()
    # transformers 5 ties what v1.1 does not; the work is the same, the memory is not
    model.lm_head.weight = torch.nn.Parameter(model.shared.weight.detach().clone())
    return model.requires_grad_(False)


@functools.cache
def build_llama(size, dtype):
    """A random frozen Llama; the variants of one type share it, because none changes it."""
    d, f, layers, heads, key_heads, vocabulary, tied = LLAMAS[size]
    config = LlamaConfig(hidden_size=d, intermediate_size=f, num_hidden_layers=layers, num_attention_heads=heads,
                         num_key_value_heads=key_heads, vocab_size=vocabulary, tie_word_embeddings=tied,
                         max_position_embeddings=8192, rope_theta=100000.0)
    return LlamaForCausalLM(config).to(dtype).eval().requires_grad_(False)


def llama_loss(kind, size, model, shape):
    """The mean loss of the target's tokens behind prompt and text, and the prompt."""
    B, P, T, U = shape
    vocabulary = LLAMAS[size][5]
    ids, target = torch.randint(3, vocabulary, (B, T)), torch.randint(3, vocabulary, (B, U))
    if kind == "peft":
        from peft import PromptTuningConfig, get_peft_model

        model = get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=P))
        (prompt,) = [p for p in model.parameters() if p.requires_grad]
        both = torch.cat([ids, target], 1)
        labels = torch.cat([torch.full_like(ids, -100), target], 1)
        mask = torch.ones_like(both)
        return lambda: model(input_ids=both, attention_mask=mask, labels=labels, use_cache=False).loss, prompt
    prompt = torch.nn.Parameter(torch.randn(P, LLAMAS[size][0]) * 0.1)
    read = torch.cat([ids, target[:, :-1]], 1)

    def loss():
        embeds = torch.cat([prompt.to(model.dtype).expand(B, -1, -1), model.model.embed_tokens(read)], 1)
        hidden = model.model(inputs_embeds=embeds, use_cache=False).last_hidden_state[:, -U:]
        return torch.nn.functional.cross_entropy(model.lm_head(hidden).float().flatten(0, 1), target.flatten())

    return torch.compile(loss) if kind == "compiled" else loss, prompt


def make_step(variant, size, shape, micro=None, warm=2):
    """A function that runs one step and returns the prompt's gradient. With micro, so many rows at a time."""
    torch.manual_seed(0)
    kind, dtype = variant.split("-")
    rows, P, T, U = shape
    B = micro or rows
    assert rows % B == 0
    shape, times = (B, P, T, U), rows // B
    if size in LLAMAS:
        return stepping(*llama_loss(kind, size, build_llama(size, getattr(torch, dtype)), shape), times, warm)
    model = build(size, getattr(torch, dtype))
    ids = torch.randint(3, 32000, (B, T))
    mask = torch.ones((B, T), dtype=torch.long)
    labels = torch.randint(3, 32000, (B, U))

    if kind == "peft":
        from peft import PromptTuningConfig, get_peft_model

        # transformers 5 renamed what peft 0.21 asks for; only generation would use it
        old, new = "_prepare_encoder_decoder_kwargs_for_generation", "_prepare_text_encoder_decoder_kwargs_for_generation"
        if not hasattr(model, old):
            setattr(type(model), old, getattr(type(model), new))
        config = PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=P, num_transformer_submodules=1)
        model = get_peft_model(model, config)
        (prompt,) = [p for p in model.parameters() if p.requires_grad]

        def loss():
            return model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
    else:
        prompt = torch.nn.Parameter(torch.randn(P, SIZES[size][0]) * 0.1)
        extended = torch.ones((B, P + T), dtype=torch.long)

        def loss():
            embeds = torch.cat([prompt.to(model.dtype).expand(B, -1, -1), model.shared(ids)], 1)
            return model(inputs_embeds=embeds, attention_mask=extended, labels=labels, use_cache=False).loss

        if kind == "compiled":
            loss = torch.compile(loss)
    return stepping(loss, prompt, times, warm)


def stepping(loss, prompt, times, warm):
    """A function that runs one step, of so many micro-batches, after some to warm up."""

    def step():
        prompt.grad = None
        for _ in range(times):
            (loss() / times).backward()
        return prompt.grad

    for _ in range(warm):
        gradient = step()
        assert gradient.shape == prompt.shape and gradient.isfinite().all() and gradient.abs().max() > 0
    return step


def timed(step):
    start = time.perf_counter()
    step()
    if torch.get_default_device().type == "cuda":
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - start)


def versions():
    import peft

    return dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__,
                python=sys.version.split()[0], threads=torch.get_num_threads())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=["small", "base"])
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    for name, value in (("batch", 8), ("prompt", 20), ("input", 128), ("target", 4), ("warm", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--micro", type=int, help="rows at a time, where a whole batch would take too much memory")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)
    transformers.logging.set_verbosity_error()
    shape = (args.batch, args.prompt, args.input, args.target)
    variants = args.variants.split(",")

    if args.serve:
        steps = {v: make_step(v, args.sizes[0], shape, args.micro, args.warm) for v in variants}
        print(json.dumps(versions()), flush=True)
        for line in sys.stdin:
            print(timed(steps[line.strip()]), flush=True)
        return
    results = []
    for size in args.sizes:
        steps = {v: make_step(v, size, shape, args.micro, args.warm) for v in variants}
        times = {v: [] for v in variants}
        for _ in range(args.rounds):
            for v in variants:
                times[v].append(timed(steps[v]))
        results += [dict(model=size if size in LLAMAS else f"t5-v1.1-{size}", variant=v, stepMs=statistics.median(t), bestStepMs=min(t)) for v, t in times.items()]
    print(json.dumps(dict(**versions(), batch=args.batch, prompt=args.prompt, input=args.input, target=args.target, results=results)))


if __name__ == "__main__":
    main()

"""PEFT as the authority on its other methods: LoRA, prefixes, P-tuning and multitask prompt tuning.

  python test/oracles/peft_methods.py check                     prints the versions found, as JSON
  python test/oracles/peft_methods.py logits ADAPTER MODEL < task.json
      loads an adapter folder of ours with real PEFT and prints the logits of every row's target, rows run alone
      task: {"texts", "targets"}; a text of an encoder-decoder ends with its end token, its targets follow the start token
  python test/oracles/peft_methods.py make
      lets PEFT make and save an adapter of each method into test/fixtures/peft-methods, with what it computes there in expected.json.
      Run once; the result is committed.

Checked with peft 0.21.2, transformers 5.24, torch 2.13 (CPU, float32).
"""

import json
import shutil
import sys
from pathlib import Path

import peft
import torch
import transformers
from transformers import AutoModelForCausalLM, T5ForConditionalGeneration

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
OUT = FIXTURES / "peft-methods"
OLD, NEW = "_prepare_encoder_decoder_kwargs_for_generation", "_prepare_text_encoder_decoder_kwargs_for_generation"
if not hasattr(T5ForConditionalGeneration, OLD):
    setattr(T5ForConditionalGeneration, OLD, getattr(T5ForConditionalGeneration, NEW))

TASK = {"texts": [[5, 17, 42, 9, 33, 1], [60, 3, 1]], "targets": [[8, 30], [77, 11]]}
SEQ, CAUSAL = "SEQ_2_SEQ_LM", "CAUSAL_LM"


def base(folder):
    kind = T5ForConditionalGeneration if "t5" in Path(folder).name else AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def compute(model, task):
    encoder = model.config.is_encoder_decoder
    multitask = model.active_peft_config.peft_type == "MULTITASK_PROMPT_TUNING"
    more = {"task_ids": torch.tensor([0])} if multitask else {}
    rows = []
    with torch.no_grad():
        for text, target in zip(task["texts"], task["targets"]):
            if encoder and multitask:
                # PEFT hands on no decoder ids here; labels become the same ones, shifted
                rows.append(model(input_ids=torch.tensor([text]), labels=torch.tensor([target]), use_cache=False, **more).logits[0])
            elif encoder:
                rows.append(model(input_ids=torch.tensor([text]), decoder_input_ids=torch.tensor([[0] + target[:-1]]), use_cache=False, **more).logits[0])
            else:
                rows.append(model(input_ids=torch.tensor([text + target[:-1]]), use_cache=False, **more).logits[0][-len(target) :])
    return [row.tolist() for row in rows]


def lora(task_type, targets):
    return peft.LoraConfig(task_type=task_type, r=3, lora_alpha=5, target_modules=targets, init_lora_weights=False)


MADE = {
    "lora": ("tiny-t5-v11", lora(SEQ, ["q", "wi_0", "wo"])),
    "lora-llama": ("tiny-causal-llama", lora(CAUSAL, ["q_proj", "down_proj"])),
    "lora-gpt2": ("tiny-causal-gpt2", lora(CAUSAL, ["c_attn", "c_fc"])),
    "prefix-llama": ("tiny-causal-llama", peft.PrefixTuningConfig(task_type=CAUSAL, num_virtual_tokens=3)),
    # PEFT takes the width and heads of T5's config, which are not those of its keys
    "prefix": ("tiny-t5-v10", peft.PrefixTuningConfig(task_type=SEQ, num_virtual_tokens=3, token_dim=24, num_attention_heads=3, num_layers=2)),
    "p-tuning": ("tiny-t5-v11", peft.PromptEncoderConfig(task_type=SEQ, num_virtual_tokens=4, encoder_hidden_size=16)),
    "p-tuning-lstm": (
        "tiny-causal-llama",
        peft.PromptEncoderConfig(task_type=CAUSAL, num_virtual_tokens=4, encoder_hidden_size=16, encoder_reparameterization_type="LSTM", encoder_num_layers=1, encoder_dropout=0.0),
    ),
    "multitask": ("tiny-t5-v11", peft.MultitaskPromptTuningConfig(task_type=SEQ, num_virtual_tokens=4, num_tasks=1, num_ranks=2, num_transformer_submodules=1)),
    "multitask-llama": ("tiny-causal-llama", peft.MultitaskPromptTuningConfig(task_type=CAUSAL, num_virtual_tokens=4, num_tasks=1, num_ranks=2)),
}


def make():
    shutil.rmtree(OUT, ignore_errors=True)
    for name, (folder, config) in MADE.items():
        torch.manual_seed(7)
        model = base(FIXTURES / folder)
        model.name_or_path = model.config._name_or_path = folder
        model = peft.get_peft_model(model, config).eval()
        with torch.no_grad():
            # prompts start as small as embeddings do; logits that differ from the bare model's at a glance say more
            for key, value in model.named_parameters():
                if "prompt_encoder" in key:
                    value.add_(0.3 * torch.randn_like(value))
        model.save_pretrained(OUT / name)
        (OUT / name / "README.md").unlink()
        # the loaded adapter, not the one in memory, is what counts
        loaded = peft.PeftModel.from_pretrained(base(FIXTURES / folder), OUT / name).eval()
        made_with = {"peft": peft.__version__, "transformers": transformers.__version__}
        (OUT / name / "expected.json").write_text(json.dumps({"made_with": made_with, "model": folder, **TASK, "logits": compute(loaded, TASK)}))
        print(name)


if __name__ == "__main__":
    command, *args = sys.argv[1:]
    if command == "check":
        print(json.dumps({"peft": peft.__version__, "transformers": transformers.__version__, "torch": torch.__version__}))
    elif command == "logits":
        adapter, folder = args
        print(json.dumps(compute(peft.PeftModel.from_pretrained(base(folder), adapter).eval(), json.load(sys.stdin))))
    elif command == "make":
        make()
    else:
        sys.exit(__doc__)

"""PEFT as the authority on its own format.

  python test/oracles/peft_adapter.py check          prints the versions found, as JSON
  python test/oracles/peft_adapter.py logits ADAPTER MODEL < input.json
      loads an adapter folder of ours with real PEFT and prints {"logits", "generated"} of the teacher-forced pass.
      input: {"inputIds", "inputMask", "decoderIds": [B][...] lists, "maxNewTokens"}
  python test/oracles/peft_adapter.py causal ADAPTER MODEL MADE < input.json
      the same for a decoder-only model: {"texts", "targets", "maxNewTokens"}, rows run alone, greedy ids recomputed from scratch (the cache of
      transformers 5.24 is wrong under PEFT 0.21). PEFT also makes an adapter of its own into the folder MADE:
      {"ours": {"logits", "generated"}, "made": {…}}
  python test/oracles/peft_adapter.py make
      lets PEFT make and save an adapter on test/fixtures/tiny-t5-v11 (its default two submodules) into
      test/fixtures/peft-adapter, with what it computes there in expected.json. Run once; the result is committed.

Checked with peft 0.21.0, transformers 5.18, torch 2.13 (CPU, float32).
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
MODEL = FIXTURES / "tiny-t5-v11"
OUT = FIXTURES / "peft-adapter"

# peft 0.21 asks for a method by the name it had in transformers 4; version 5 renamed it. Only generate() uses it.
OLD, NEW = "_prepare_encoder_decoder_kwargs_for_generation", "_prepare_text_encoder_decoder_kwargs_for_generation"
if not hasattr(T5ForConditionalGeneration, OLD):
    setattr(T5ForConditionalGeneration, OLD, getattr(T5ForConditionalGeneration, NEW))


def base_model(folder):
    return T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def compute(model, task):
    ids, mask, decoder = (torch.tensor(task[k]) for k in ("inputIds", "inputMask", "decoderIds"))
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder).logits
        generated = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=task["maxNewTokens"], do_sample=False, num_beams=1
        )
    return {"logits": logits.tolist(), "generated": generated.tolist()}


def compute_causal(model, task):
    logits, generated = [], []
    with torch.no_grad():
        for text, target in zip(task["texts"], task["targets"]):
            out = model(input_ids=torch.tensor([text + target[:-1]]), use_cache=False).logits[0]
            logits.append(out[-len(target) :].tolist())
            ids = []
            while len(ids) < task["maxNewTokens"]:
                ids.append(model(input_ids=torch.tensor([text + ids]), use_cache=False).logits[0, -1].argmax().item())
                if ids[-1] == model.config.eos_token_id:
                    break
            generated.append(ids)
    return {"logits": logits, "generated": generated}


def causal(adapter, folder, made, task):
    load = lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    ours = compute_causal(peft.PeftModel.from_pretrained(load(), adapter).eval(), task)
    torch.manual_seed(5)
    peft.get_peft_model(load(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).save_pretrained(made)
    return {"ours": ours, "made": compute_causal(peft.PeftModel.from_pretrained(load(), made).eval(), task)}


def make():
    torch.manual_seed(7)
    model = base_model(MODEL)
    model.name_or_path = model.config._name_or_path = "tiny-t5-v11"
    config = peft.PromptTuningConfig(task_type="SEQ_2_SEQ_LM", num_virtual_tokens=5)
    model = peft.get_peft_model(model, config).eval()
    shutil.rmtree(OUT, ignore_errors=True)
    model.save_pretrained(OUT)
    task = {
        "inputIds": [[5, 17, 42, 9, 1], [60, 3, 1, 0, 0], [11, 12, 13, 1, 0]],
        "inputMask": [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]],
        "decoderIds": [[0, 8, 30], [0, 77, 2], [0, 4, 90]],
        "maxNewTokens": 8,
    }
    # the loaded adapter, not the one in memory, is what counts
    loaded = peft.PeftModel.from_pretrained(base_model(MODEL), OUT).eval()
    result = {"made_with": {"peft": peft.__version__, "transformers": transformers.__version__}, **task, **compute(loaded, task)}
    (OUT / "README.md").unlink()  # a template without content
    (OUT / "expected.json").write_text(json.dumps(result))


if __name__ == "__main__":
    command, *args = sys.argv[1:]
    if command == "check":
        print(json.dumps({"peft": peft.__version__, "transformers": transformers.__version__, "torch": torch.__version__}))
    elif command == "logits":
        adapter, folder = args
        print(json.dumps(compute(peft.PeftModel.from_pretrained(base_model(folder), adapter).eval(), json.load(sys.stdin))))
    elif command == "causal":
        print(json.dumps(causal(*args, json.load(sys.stdin))))
    elif command == "make":
        make()
    else:
        sys.exit(__doc__)

"""ONNX Runtime as the authority on .onnx_adapter files, and on models whose optional inputs they fill.

  python test/oracles/onnx_adapter.py check                     prints the version found; fails where it knows no adapters
  python test/oracles/onnx_adapter.py make FILE                 writes two small parameters: test/fixtures/onnx-adapter/made.onnx_adapter
  python test/oracles/onnx_adapter.py read FILE                 prints {"versions", "parameters": {name: {"shape", "type", "values"}}}
  python test/oracles/onnx_adapter.py logits FOLDER ADAPTER …   the texts on standard input, {"ids", "mask", "decoder"}, in one model with each
                                                                adapter in turn ("-" is none): prints their logits, or what ONNX Runtime says

A decoder-only model (decoder null) reads all ids but the last two at once, and those one by one with the keys and values of the others.
Checked with onnxruntime 1.32.
"""

import json
import sys

import numpy as np
import onnxruntime as ort

command, *rest = sys.argv[1:]


def session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3  # it warns of every optional input
    options.intra_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def empty_past(model, rows):
    """Caches before the first token."""
    sizes = {"batch_size": rows}
    return {
        i.name: np.zeros([d if isinstance(d, int) else sizes.get(d, 0) for d in i.shape], np.float32)
        for i in model.get_inputs()
        if i.name.startswith("past_key_values.")
    }


def seq2seq(folder, ids, mask, decoder):
    encoder = session(f"{folder}/onnx/encoder_model.onnx")
    merged = session(f"{folder}/onnx/decoder_model_merged.onnx")

    def run(options):
        (states,) = encoder.run(["last_hidden_state"], {"input_ids": ids, "attention_mask": mask}, options)
        feeds = {
            "encoder_attention_mask": mask,
            "encoder_hidden_states": states,
            "input_ids": decoder,
            "use_cache_branch": np.array([False]),
        }
        return merged.run(["logits"], {**feeds, **empty_past(merged, len(ids))})[0]

    return run


def causal(folder, ids, mask):
    model = session(f"{folder}/onnx/model.onnx")
    names = [o.name for o in model.get_outputs()]

    def run(options):
        past, parts, length = empty_past(model, len(ids)), [], ids.shape[1]
        for start, end in [(0, length - 2), (length - 2, length - 1), (length - 1, length)]:
            feeds = {
                "input_ids": ids[:, start:end],
                "attention_mask": mask[:, :end],
                "num_logits_to_keep": np.array(0, np.int64),
            }
            made = dict(zip(names, model.run(names, {**feeds, **past}, options)))
            parts.append(made["logits"])
            past = {f"past_key_values{name[len('present'):]}": x for name, x in made.items() if name != "logits"}
        return np.concatenate(parts, 1)

    return run


if command == "check":
    ort.LoraAdapter(), ort.AdapterFormat()
    print(json.dumps({"onnxruntime": ort.__version__}))
elif command == "make":
    made = ort.AdapterFormat()
    made.set_adapter_version(3)
    made.set_model_version(2)
    arrays = {"one": np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5, "other name": np.array([0.25], np.float32)}
    made.set_parameters({name: ort.OrtValue.ortvalue_from_numpy(a) for name, a in arrays.items()})
    made.export_adapter(rest[0])
elif command == "read":
    found = ort.AdapterFormat.read_adapter(rest[0])
    parameters = {name: (v.element_type(), v.numpy()) for name, v in found.get_parameters().items()}
    print(
        json.dumps(
            {
                "versions": [found.get_format_version(), found.get_adapter_version(), found.get_model_version()],
                "parameters": {
                    name: {"shape": list(a.shape), "type": kind, "values": a.flatten().tolist()}
                    for name, (kind, a) in parameters.items()
                },
            }
        )
    )
else:
    folder, *paths = rest
    task = {name: None if x is None else np.array(x, np.int64) for name, x in json.load(sys.stdin).items()}
    decoder = task.pop("decoder")
    run = causal(folder, **task) if decoder is None else seq2seq(folder, **task, decoder=decoder)
    answers = []
    for path in paths:
        options = ort.RunOptions()
        if path != "-":
            adapter = ort.LoraAdapter()
            adapter.Load(path)
            options.add_active_adapter(adapter)
        try:
            answers.append(run(options).tolist())
        except Exception as error:  # what it says of an adapter that does not fit is asked for
            answers.append(str(error))
    print(json.dumps(answers))

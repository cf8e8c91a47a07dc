"""Trajectories of the reference optimizers over 50 steps of committed gradients, for src/optim/optimizers.test.ts.

    python test/oracles/optimizers.py        writes test/fixtures/optim/trajectories.safetensors

References: transformers.optimization.Adafactor, torch.optim.AdamW, torch.optim.SGD, torch.nn.utils.clip_grad_norm_,
transformers' learning-rate schedules. The gradients are rough on purpose: rows and columns of scales from 1e-4 to 30,
one row that is always zero (a pruned token), a step that is all zero, and steps long enough to be clipped.
"""

from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers.optimization import (
    Adafactor,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

STEPS, ROWS, COLUMNS = 50, 20, 32
torch.manual_seed(0)
torch.set_num_threads(1)

start = torch.randn(ROWS, COLUMNS) * 0.5
gradients = torch.randn(STEPS, ROWS, COLUMNS)
gradients *= torch.logspace(-4, 1, ROWS)[None, :, None] * torch.logspace(-1, 0.5, COLUMNS)[None, None, :]
gradients *= (10 ** (torch.rand(STEPS) * 3 - 2))[:, None, None]
gradients[:, 7] = 0
gradients[20] = 0


def trajectory(make, clip=0.0):
    p = torch.nn.Parameter(start.clone())
    optimizer = make([p])
    out = []
    for g in gradients:
        p.grad = g.clone()
        if clip:
            torch.nn.utils.clip_grad_norm_([p], clip)
        optimizer.step()
        out.append(p.detach().clone())
    return torch.stack(out)


def adafactor(wd):
    return lambda ps: Adafactor(
        ps, lr=0.3, weight_decay=wd, scale_parameter=False, relative_step=False, warmup_init=False
    )


def schedule(make):
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=0.3)
    s = make(optimizer, num_warmup_steps=7, num_training_steps=STEPS)
    out = []
    for _ in range(STEPS):
        out.append(s.get_last_lr()[0])
        optimizer.step()
        s.step()
    return torch.tensor(out, dtype=torch.float32)


save_file(
    {
        "start": start,
        "gradients": gradients,
        "adafactor": trajectory(adafactor(1e-5), clip=1.0),
        "adamw": trajectory(lambda ps: torch.optim.AdamW(ps, lr=0.05, weight_decay=0.1)),
        "sgd": trajectory(lambda ps: torch.optim.SGD(ps, lr=0.01, momentum=0.9)),
        "linear": schedule(get_linear_schedule_with_warmup),
        "cosine": schedule(get_cosine_schedule_with_warmup),
    },
    Path(__file__).parent.parent / "fixtures/optim/trajectories.safetensors",
    metadata={"torch": torch.__version__, "transformers": transformers.__version__},
)

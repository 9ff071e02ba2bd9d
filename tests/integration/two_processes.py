"""Run in each of two processes by test_two_processes.py, or by Lightning in the second one.

`python two_processes.py OUT COMMAND OVERRIDES`: each process writes what it holds to OUT/<rank>.pt.
"""

import os
import sys
from pathlib import Path

import torch

from mixkd.modules.learner import Learner
from mixkd.networks.network import FrozenTeacher
from mixkd.request import request
from mixkd.tasks import distill, finetune

out, command, overrides = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
rank = os.environ.get("LOCAL_RANK", "0")
held: dict[str, object] = {}
task = {"distill": distill, "finetune": finetune}[command]

wrapped_fit, wrapped_step, wrapped_teacher = task.fit, Learner.training_step, FrozenTeacher.__init__


def fit(cfg, run, learner, *others, **named):  # type: ignore[no-untyped-def]
    metrics = wrapped_fit(cfg, run, learner, *others, **named)
    held["network"] = learner.network.state_dict()
    hint = getattr(learner, "hint", None)
    held["hint"] = {} if hint is None else hint.state_dict()
    return metrics


def training_step(self, batch, batch_idx):  # type: ignore[no-untyped-def]
    held.setdefault("lam", []).append(batch.lam)  # type: ignore[attr-defined]
    held.setdefault("index", []).append(batch.index)  # type: ignore[attr-defined]
    held.setdefault("partner", []).append(batch.partner_index)  # type: ignore[attr-defined]
    return wrapped_step(self, batch, batch_idx)


def teacher(self, network, precision="float32"):  # type: ignore[no-untyped-def]
    wrapped_teacher(self, network, precision)
    held["before"] = {k: v.clone() for k, v in self.state_dict().items()}
    held["teacher"] = self.state_dict()  # the same tensors, as they will be


task.fit, Learner.training_step = fit, training_step  # type: ignore[assignment, method-assign]
FrozenTeacher.__init__ = teacher  # type: ignore[method-assign]
held["metrics"] = getattr(task, command)(request(command, overrides))
torch.save(held, out / f"{rank}.pt")

"""What makes training faster or smaller leaves files that load either way."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

pytestmark = pytest.mark.integration

Mixkd = Callable[..., int]
QUICK = [
    "data.limit_train=60",
    "data.limit_test=30",
    "data.batch_size=16",
    "trainer.max_epochs=1",
    "callbacks=none",
]
TINY = """
from torch import nn
def tiny(num_classes):
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(8, num_classes))
"""


def tensors(run: str) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(Path(run, "weights.safetensors"))


@pytest.mark.parametrize("option", ["compile", "channels_last"])
def test_weights_load_either_way(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    Path("mine.py").write_text(TINY)
    arguments = ["finetune", "network.factory=mine.tiny", *QUICK]
    assert mixkd(*arguments, "run.dir=plain", f"trainer.{option}=false") == 0
    assert mixkd(*arguments, "run.dir=fast", f"trainer.{option}=true") == 0
    plain, fast = tensors("plain"), tensors("fast")
    assert list(fast) == list(plain)
    for name, value in plain.items():
        assert fast[name].is_contiguous()
        torch.testing.assert_close(fast[name], value, atol=1e-4, rtol=1e-4)
    state = torch.load("fast/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert set(state) == {f"network.core.{name}" for name in plain}

    # Each is another experiment, as dropout has other masks, and is evaluated by the other.
    for run, value in (("fast", "false"), ("plain", "true")):
        assert mixkd(*arguments, f"run.dir={run}", f"trainer.{option}={value}") == 2
        assert f"{run} holds another experiment" in capsys.readouterr().err
        words_too = ["evaluate", f"network.run={run}", "trust=[mine]", f"trainer.{option}={value}"]
        assert mixkd(*words_too, f"run.dir={run}-measured") == 0


@pytest.mark.parametrize("option", ["trainer.ema=0.5", "trainer.precision=bf16"])
def test_a_student_is_resumed_and_ends_the_same(
    mixkd: Mixkd, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mixkd.callbacks.recorder import Recorder

    Path("mine.py").write_text(TINY)
    arguments = ["finetune", "network.factory=mine.tiny", *QUICK, "trainer.max_epochs=2", option]
    assert mixkd(*arguments, "run.dir=whole") == 0
    original = Recorder.on_train_epoch_end

    def killed(self: Recorder, trainer, module) -> None:  # type: ignore[no-untyped-def]
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        original(self, trainer, module)

    monkeypatch.setattr(Recorder, "on_train_epoch_end", killed)
    assert mixkd(*arguments, "run.dir=run") == 130
    monkeypatch.setattr(Recorder, "on_train_epoch_end", original)
    assert mixkd(*arguments, "run.dir=run") == 0
    for name in ("metrics.json", "weights.safetensors"):
        assert Path("run", name).read_bytes() == Path("whole", name).read_bytes(), name


def test_the_moving_average_is_what_is_saved(mixkd: Mixkd) -> None:
    Path("mine.py").write_text(TINY)
    arguments = ["finetune", "network.factory=mine.tiny", *QUICK, "trainer.ema=0.5"]
    assert mixkd(*arguments, "run.dir=run") == 0
    state = torch.load("run/checkpoints/best.ckpt", weights_only=True)["state_dict"]
    for name, value in tensors("run").items():
        assert torch.equal(value, state[f"average.module.core.{name}"])
    assert not torch.equal(state["network.core.4.weight"], state["average.module.core.4.weight"])


def test_batchnorm_over_gpus_is_refused_on_a_cpu(
    mixkd: Mixkd, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = ["network=resnet20", "network.args.depth=8", *QUICK, "trainer.accelerator=cpu"]
    assert mixkd("finetune", *overrides, "trainer.sync_batchnorm=true") == 2
    assert "trainer.sync_batchnorm: got true on a CPU; it takes GPUs" in capsys.readouterr().err
    assert not Path("runs").exists()

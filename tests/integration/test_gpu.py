"""What only a GPU can show. Skipped where there is none."""

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.profiler import ProfilerActivity, profile

from experiments.bench.parts import configured, mixed_stream, random_splits, timm_network
from mixkd.data.module import ImageDataModule
from mixkd.modules.distillation import Distillation
from mixkd.modules.optimization import optimization
from mixkd.networks.network import FrozenTeacher
from mixkd.training.fit import make_trainer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]

STEPS, FIRST, LAST = 12, 4, 10
# What makes the host wait for the device, by the names of the CUDA runtime's functions.
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


class Watch(Callback):
    """Profiles the steps from FIRST up to LAST."""

    def __init__(self) -> None:
        self.profiler = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA])

    def on_train_batch_start(
        self, trainer: Trainer, module: LightningModule, batch: object, batch_idx: int
    ) -> None:
        if batch_idx == FIRST:
            torch.cuda.synchronize()
            self.profiler.start()
        if batch_idx == LAST:
            self.profiler.stop()


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_no_step_waits_for_the_device(precision: str) -> None:
    splits = random_splits(STEPS * 32, 32)
    overrides = ["trainer.accelerator=gpu", f"trainer.precision={precision}"]
    cfg = configured("data.batch_size=32", "trainer.max_epochs=1", *overrides)
    student = timm_network("mobilenetv2_050")
    learner = Distillation(
        student,
        FrozenTeacher(timm_network("resnet10t"), precision),  # type: ignore[arg-type]
        temperature=4.0,
        alpha=0.1,
        beta=0.9,
        **optimization(cfg, student),
    )
    watch = Watch()
    trainer = make_trainer(cfg.trainer, max_epochs=1, callbacks=[watch])
    trainer.fit(learner, ImageDataModule(splits, cfg.data, mixed_stream(cfg, splits)))
    events = watch.profiler.events()
    assert sum(event.name == "cudaLaunchKernel" for event in events) > 100 * (LAST - FIRST)
    waits = [event.name for event in events if event.name in WAITS]
    # The profiler's own end waits once.
    assert len(waits) <= 1, waits

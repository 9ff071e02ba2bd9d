"""A classifier that is none of mixkd's, its data, and its training in two processes."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from mixkd import CalibrationMonitor, CorruptionMonitor, LinearityMonitor


def blobs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy 8-pixel images of three colours, of whole grey levels: float32 [n, 3, 8, 8], int64."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(n) % 3
    colour = 0.3 * nn.functional.one_hot(label, 3).float()[:, :, None, None]
    images = colour + 0.7 * torch.rand(n, 3, 8, 8, generator=generator)
    return (images * 255).round() / 255, label


class Plain(LightningModule):
    """A small network with BatchNorm and dropout; `answer` is what its validation_step returns."""

    def __init__(self, answer: str = "nothing") -> None:
        super().__init__()
        self.answer, self.asked = answer, 0
        self.network = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(6, 3),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Any:
        self.asked += 1
        return {"logits": self.network(images)}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0])["logits"], batch[1])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        logits = self(batch[0])["logits"]
        loss = nn.functional.cross_entropy(logits, batch[1])
        return {"nothing": None, "loss": loss, "logits": logits, "named": {"logits": logits}}[
            self.answer
        ]

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.02)


def monitors(**options: Any) -> list[Callback]:
    """Return the three monitors."""
    return [
        CalibrationMonitor(**options),
        LinearityMonitor(n_pairs=10, lambdas=3, **options),
        CorruptionMonitor(names=["gaussian_noise", "fog"], severities=[1, 5], **options),
    ]


def loaders(n: int = 31, **options: Any) -> tuple[Any, Any]:
    """Return loaders of 64 training images and of n to validate with, 8 at a time."""
    train, val = (TensorDataset(*blobs(count, seed)) for count, seed in ((64, 0), (n, 1)))
    return DataLoader(train, 16, shuffle=True), DataLoader(val, 8, **options)


def trained(
    module: LightningModule,
    callbacks: list[Callback],
    val: Any = None,
    data: Any = None,
    **options: Any,
) -> Trainer:
    """Train for two epochs on the CPU, on plain loaders or on `data`."""
    quiet = dict.fromkeys(
        ("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    given = {"max_epochs": 2, "logger": False, "accelerator": "cpu", "devices": 1, **quiet}
    trainer = Trainer(callbacks=callbacks, **(given | options))
    train, default = loaders()
    if data is None:
        trainer.fit(module, train, default if val is None else val)
    else:
        trainer.fit(module, data)
    return trainer


def in_a_process(rank: int, port: int, out: str) -> None:
    """Be one of two processes; write to OUT/<rank>.pt what it logged and has learned."""
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "NODE_RANK": "0", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
    }  # fmt: skip
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = Plain("logits")
    plugins = [LightningEnvironment()]
    trainer = trained(module, monitors(), devices=2, strategy="ddp", plugins=plugins)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    network = module.network.state_dict()
    torch.save({"logged": logged, "network": network}, Path(out, f"{rank}.pt"))

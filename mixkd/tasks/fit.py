"""What finetune and distill share: train, keep the selected epoch, report it on the test images."""

import logging
import warnings
from collections.abc import Mapping

import torch
from lightning.pytorch import Trainer

from mixkd import config
from mixkd.callbacks.recorder import Recorder
from mixkd.console import say
from mixkd.data.datamodule import ImageDataModule
from mixkd.errors import UserError
from mixkd.files import replacing, write_json
from mixkd.fingerprints import file_fingerprint
from mixkd.modules.learner import Learner
from mixkd.networks import read_weights, save_weights
from mixkd.run import Metrics, Run
from mixkd.tasks.measure import measure


def make_trainer(cfg: config.Machine, **more: object) -> Trainer:
    """Return a Lightning Trainer that logs, checkpoints and prints nothing by itself."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Loaders yield positions, not images: workers would only cost time.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    # Metrics need float64, which Apple's GPUs lack: Lightning's own `auto` would take them.
    gpu = torch.cuda.is_available()
    if cfg.accelerator == "gpu" and cfg.devices > torch.cuda.device_count():
        raise UserError.of(
            "trainer.devices",
            f"got {cfg.devices} of accelerator gpu; there are {torch.cuda.device_count()}",
        )
    options: dict[str, object] = {
        "accelerator": "gpu" if gpu and cfg.accelerator != "cpu" else "cpu",
        "devices": cfg.devices,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
    }
    return Trainer(**options | more)  # type: ignore[arg-type]


def describe_device(trainer: Trainer) -> str:
    """Return where a trainer computes: a GPU's name, or the CPU with its number of threads."""
    device = trainer.strategy.root_device
    if device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(device)}"
    return f"{trainer.world_size} x cpu, {torch.get_num_threads()} threads"


def fit(
    cfg: config.Finetune | config.Distill,
    run: Run,
    learner: Learner,
    data: ImageDataModule,
    fingerprints: Mapping[str, str],
) -> Metrics:
    """Train, from the last checkpoint if there is one; write the run directory; return metrics.

    Args:
        cfg: the task's configuration.
        run: where everything is kept.
        learner: the module to train.
        data: what it trains on, is selected by and reported on.
        fingerprints: sha256 of the data and weights that go in, by name.
    """
    checkpoint = run.last_checkpoint if not cfg.run.force else None
    if checkpoint is not None:
        read_weights(checkpoint, "run.dir")  # says so if the file is damaged
    recorder = Recorder(run, cfg.trainer.select)
    trainer = make_trainer(
        cfg.trainer,
        max_epochs=cfg.trainer.max_epochs,
        callbacks=[recorder],
        enable_checkpointing=True,  # the recorder's; Lightning adds none beside it
    )
    with run.started(fingerprints, device=describe_device(trainer)):
        say(f"{cfg.task}: {run.path}")
        sizes = {name: len(data.splits[name]) for name in ("train", "val", "test")}
        say(", ".join(f"{n:,} {name} images" for name, n in sizes.items()))
        if cfg.data.selection == "test":
            say("selecting on the test images: test metrics will be optimistic")
        if checkpoint is not None:
            say(f"resuming from {checkpoint}")
        trainer.fit(learner, data, ckpt_path=checkpoint, weights_only=True)
        trainer.strategy.barrier()  # until the first process has written
        best = torch.load(recorder.best, map_location="cpu", weights_only=True)
        learner.load_state_dict(best["state_dict"])
        if trainer.is_global_zero:
            weights = run.path / "weights.safetensors"
            with replacing(weights) as temporary:
                save_weights(learner.network.core, temporary, data.splits.classes)
            run.add_fingerprints({"weights": file_fingerprint(weights)})
        row = next(row for row in recorder.rows if row["epoch"] == recorder.best_epoch)
        metrics = {key: float(value) for key, value in row.items() if key.startswith("val/")}
        metrics["selected_epoch"] = recorder.best_epoch
        metrics |= measure(trainer, learner, data, ["test"], run)
        if trainer.is_global_zero:
            write_json(run.path / "metrics.json", metrics)
    return metrics

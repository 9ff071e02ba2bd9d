"""What finetune and distill share: train, keep the selected epoch, report it on the test images."""

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from traceback import walk_tb
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from timm.layers.norm_act import convert_sync_batchnorm
from torchmetrics import Metric

from mixkd.callbacks.loggers import log_results, open_loggers, replay
from mixkd.callbacks.monitors import CalibrationMonitor, CorruptionMonitor, LinearityMonitor
from mixkd.callbacks.recorder import PlainCheckpoints, Recorder
from mixkd.config.tasks import DistillConfig, FinetuneConfig
from mixkd.config.training import (
    CalibrationMonitorConfig,
    CallbacksConfig,
    MachineConfig,
    MethodConfig,
    TrainerConfig,
)
from mixkd.console import say
from mixkd.data.module import ImageDataModule, check_shares
from mixkd.data.splits import Splits
from mixkd.errors import NotFinite, UserError, first_line, nearest
from mixkd.evaluation.calibration import can_fit, measure_splits, val_temperature
from mixkd.files.layout import FIGURES, METRICS, OWN_CALLBACKS, WEIGHTS
from mixkd.files.writing import file_fingerprint, replacing, write_json
from mixkd.modules.learner import Learner
from mixkd.modules.optimization import FixedSchedule
from mixkd.modules.supervised import HeadTraining
from mixkd.networks.checks import check_logits, check_training, use_channels_last
from mixkd.networks.network import Network, head_of
from mixkd.networks.state_dict import checked
from mixkd.networks.weights import read_tensors, save_weights, weights_fingerprint
from mixkd.parts import made, made_with
from mixkd.runs.leaks import write_marks
from mixkd.runs.run import Metrics, Run

# Of what Lightning and torch warn of, what is meant to be so.
NO_ADVICE = (
    "does not have many workers",  # loaders yield positions, not images: workers would cost time
    "isinstance.*LeafSpec", "in eval mode at the start of training",
    "smaller than the logging interval", "Previous log files in this directory",
    "ended before the epoch ended", "sync_dist=True", "`srun` command is available",
)  # fmt: skip


def make_trainer(cfg: MachineConfig, **more: object) -> Trainer:
    """Return a Lightning Trainer that logs, checkpoints and prints nothing by itself."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for advice in NO_ADVICE:
        warnings.filterwarnings("ignore", message=f".*{advice}.*")
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    # Metrics need float64, which Apple's GPUs lack: Lightning's own `auto` would take them.
    gpu = torch.cuda.is_available()
    if not gpu:  # Lightning has torch ask NVML, which Adam would do again at every step
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    if cfg.accelerator == "gpu" and cfg.devices > torch.cuda.device_count():
        text = f"got {cfg.devices} of accelerator gpu; there are {torch.cuda.device_count()}"
        raise UserError.of("trainer.devices", text)
    accelerator = "gpu" if gpu and cfg.accelerator != "cpu" else "cpu"
    if isinstance(cfg, TrainerConfig) and cfg.sync_batchnorm and accelerator == "cpu":
        raise UserError.of("trainer.sync_batchnorm", "got true on a CPU; it takes GPUs")
    options: dict[str, object] = {
        "accelerator": accelerator,
        "devices": cfg.devices,
        "strategy": cfg.strategy,
        # On SLURM too: Lightning's own way there would requeue, which submitit does.
        "plugins": [LightningEnvironment(), PlainCheckpoints()],
        "precision": {"float32": "32-true", "bf16": "bf16-mixed"}[cfg.precision],
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


# What a checkpoint has to have for a training to go on from it.
PARTS = ("epoch", "state_dict", "optimizer_states", "loops", "callbacks", "schedule",
         "epoch_so_far")  # fmt: skip


def _restore(recorder: Recorder, learner: Learner) -> None:
    """Let a recorder know the epochs before; refuse checkpoints that are damaged or of another."""
    try:
        state = _checkpoint(recorder.last, learner)["callbacks"].get(recorder.state_key)
        if state is not None:
            recorder.load_state_dict(state)
        if recorder.best_epoch >= 0:  # of which it speaks
            _checkpoint(recorder.best, learner)
    except UserError as error:
        text = f"{error.problems[0].text}; run.force=true starts over"
        raise UserError.of("run.dir", text) from error


def _checkpoint(path: Path, learner: Learner) -> dict[str, Any]:
    content: Any = read_tensors(path, "run.dir")[0]
    lacking = [part for part in PARTS if not isinstance(content, dict) or part not in content]
    state = {} if lacking else content["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        lacking = ["state_dict"]
    if lacking:
        text = f"{path} is no checkpoint of mixkd's: it lacks {', '.join(lacking)}"
        raise UserError.of("run.dir", text)
    checked(learner.state_dict(), state, path, "run.dir")
    return dict(content)


def prepare(
    cfg: MachineConfig,
    network: Network,
    classes: int,
    shape: tuple[int, int],
    key: str,
    batch: int | None = None,
) -> None:
    """Choose a network's memory format, check it and compile it: its names stay as they are.

    It has to give logits of views of this shape, height and width, and to learn from a `batch` of
    them where it learns. BatchNorm that several GPUs share is timm's: torch's own loses the
    activations that timm keeps within a normalisation.
    """

    def check() -> None:
        check_logits(network, classes, shape, key)
        if batch is not None:
            check_training(network, classes, shape, key, batch)

    if cfg.channels_last:
        use_channels_last(network, check, key)
    else:
        check()
    if isinstance(cfg, TrainerConfig) and cfg.sync_batchnorm:  # which trains on GPUs alone
        network.core = convert_sync_batchnorm(network.core)  # type: ignore[no-untyped-call]
    if cfg.compile:
        network.compile()


@dataclass(frozen=True)
class Stage:
    """One fit: what learns, for how many epochs."""

    learner: Learner
    epochs: int
    number: int = 2


def _stages(cfg: FinetuneConfig | DistillConfig, learner: Learner) -> list[Stage]:
    """Return the learner's own stage, after one of its head alone where that is configured."""
    whole = Stage(learner, cfg.trainer.max_epochs)
    if not cfg.stage1_epochs:
        if cfg.stage1.epochs:
            say("no stage 1 (the head alone): the backbone is not pretrained")
        return [whole]
    rates = FixedSchedule([cfg.stage1.lr] * cfg.stage1_epochs)
    assert isinstance(learner.network, Network)
    head = head_of(learner.network, "stage1.epochs")
    optimizer = partial(torch.optim.Adam, lr=cfg.stage1.lr)
    training = HeadTraining(
        learner.network, head, optimizer=optimizer, schedule=rates, seed=cfg.seed
    )
    return [Stage(training, cfg.stage1_epochs, number=1), whole]


def fit(
    cfg: FinetuneConfig | DistillConfig,
    run: Run,
    learner: Learner,
    splits: Splits,
    fingerprints: Mapping[str, str],
    own_metrics: Mapping[str, Metric],
) -> Metrics:
    """Train, from the last checkpoint if there is one; write the run directory; return metrics.

    Each stage is a fit of its own: what stage 1 froze is wrapped anew, with a fresh optimizer. The
    last one's outcome is measured and kept. `fingerprints` are the sha256 of what goes in beside
    the data and what the learner starts from, by name; `own_metrics` are the user's.
    """
    network = learner.network
    assert isinstance(network, Network)
    brought = own_callbacks(cfg.callbacks, run)
    watching = [*monitors(cfg.callbacks, run), *brought.values()]
    data = ImageDataModule(splits, cfg.data, parts=cfg.trainer.accumulate, seed=cfg.stream_seed)
    fingerprints = {**splits.fingerprints, **fingerprints}
    if cfg.learner.weights or cfg.learner.pretrained:
        fingerprints["start"] = weights_fingerprint(network.core, cfg.learner)
    sizes = {name: len(splits[name]) for name in ("train", "val", "test")}
    check_shares(sizes, cfg.trainer.devices)
    unreached = cfg.trainer.devices > 1 and network.unreached
    strategy = {"strategy": "ddp_find_unused_parameters_true"} if unreached else {}
    plans: list[tuple[Stage, Trainer, Recorder, Path | None]] = []
    for stage in _stages(cfg, learner):
        recorder = Recorder(run, cfg.trainer.select, stage.number, cfg.checkpoint.every_n_steps)
        done = recorder.last.is_file() and not cfg.run.force
        if done:
            _restore(recorder, stage.learner)
            plans.clear()  # what came before has ended
        trainer = make_trainer(
            cfg.trainer,
            max_epochs=stage.epochs,
            accumulate_grad_batches=cfg.trainer.accumulate,
            callbacks=[recorder, *(watching if stage.number == 2 else [])],
            enable_checkpointing=True,  # the recorder's; Lightning adds none beside it
            **strategy,
        )
        plans.append((stage, trainer, recorder, recorder.last if done else None))
    with (
        run.started(fingerprints, device=describe_device(trainer)),
        open_loggers(cfg, run) as loggers,
    ):
        say(f"{cfg.task}: {run.path}")
        if trainer.is_global_zero and run.trained_on is not None:
            write_marks(run.path, run.trained_on)
        say(", ".join(f"{n:,} {name} images" for name, n in sizes.items()))
        if cfg.is_selected_on_test:
            say("selecting on the test images: test metrics will be optimistic")
        for stage, trainer, recorder, checkpoint in plans:
            trainer.loggers = loggers if stage.number == 2 else []
            if checkpoint is not None:
                say(f"resuming from {checkpoint}")
                if trainer.loggers:
                    replay(trainer.loggers, recorder.rows)
            data.stage = stage.number
            stage.learner.train()
            _train(trainer, stage.learner, data, checkpoint, brought)
            if trainer.is_global_zero:
                recorder.write_history()  # a run may have ended between the checkpoint and this
            trainer.strategy.barrier()  # until the first process has written
        best = torch.load(recorder.best, map_location="cpu", weights_only=True)
        learner.load_state_dict(best["state_dict"])
        outcome = learner.outcome
        assert isinstance(outcome, Network)
        if trainer.is_global_zero:
            weights = run.path / WEIGHTS
            with replacing(weights) as temporary:
                save_weights(outcome.core, temporary, splits.classes)
            run.add_fingerprints({"weights": file_fingerprint(weights)})
        row = next(row for row in recorder.rows if row["epoch"] == recorder.best_epoch)
        metrics = {key: float(value) for key, value in row.items() if key.startswith("val/")}
        metrics["selected_epoch"] = recorder.best_epoch
        temperature = None
        if can_fit(splits, cfg.data):
            temperature = val_temperature(trainer, outcome, data)
        metrics |= measure_splits(
            trainer, outcome, data, ["test"], run, temperature=temperature, metrics=own_metrics
        )
        if trainer.is_global_zero:
            write_json(run.path / METRICS, metrics)
        log_results(loggers, run, metrics, trainer.global_step)
    return metrics


def make_learner(
    method: MethodConfig, usual: Callable[..., Learner], *networks: Any, **options: Any
) -> Learner:
    """Return the learner of a method: the usual one, or the user's own, of the same arguments.

    Raises:
        UserError: if the user's own is none, or trains another network than the configured one.
    """
    if method.part is None:
        return usual(*networks, **options)
    learner = made_with(method.part, "method", *networks, **options)
    if not isinstance(learner, Learner):
        text = f"{method.factory} gives {type(learner).__name__}; takes a Learner of mixkd's kind"
        raise UserError.of("method.factory", text)
    if learner.network is not networks[0]:
        text = f"{method.factory} trains another network than the one that it is given first"
        raise UserError.of("method.factory", text)
    return learner


def _train(
    trainer: Trainer, learner: Learner, data: ImageDataModule, checkpoint: Path | None,
    brought: Mapping[str, Callback],
) -> None:  # fmt: skip
    try:
        trainer.fit(learner, data, ckpt_path=checkpoint, weights_only=True)
    except (UserError, NotFinite, OSError):
        raise
    except Exception as error:
        _refuse_failed(brought, error, trainer)
        if "find_unused_parameters" not in str(error):  # of the advice that torch gives
            raise
        raise UserError.of(
            "trainer.devices",
            f"got {trainer.world_size}; the network does not use all of its parameters in each "
            "step, which several processes cannot follow; takes 1",
        ) from error


def _refuse_failed(brought: Mapping[str, Callback], error: Exception, trainer: Trainer) -> None:
    """Raise a UserError if it is a callback of the user's that failed, as without its metric."""
    running = {id(frame.f_locals.get("self")) for frame, _ in walk_tb(error.__traceback__)}
    for name, callback in brought.items():
        if id(callback) not in running:
            continue
        metrics, monitor = sorted(trainer.callback_metrics), getattr(callback, "monitor", None)
        text, names = f"fails: {first_line(error)}", ", ".join(metrics)
        if isinstance(monitor, str) and monitor not in metrics:
            text = f"got monitor={monitor!r}{nearest(monitor, metrics)}; takes {names}"
        elif isinstance(error, KeyError):
            text += f"; the metrics are {names}"
        raise UserError.of(f"callbacks.{name}", text) from error


def monitors(cfg: CallbacksConfig, run: Run) -> list[Callback]:
    """Return what watches the held-out images."""
    kinds: dict[str, Callable[..., Callback]] = {
        "linearity": LinearityMonitor,
        "calibration": CalibrationMonitor,
        "corruption": CorruptionMonitor,
    }
    callbacks = []
    for name, kind in kinds.items():
        section: CalibrationMonitorConfig = getattr(cfg, name)
        if section.every_n_epochs is not None:
            try:
                callbacks.append(kind(**section.model_dump(), folder=run.path / FIGURES))
            except ValueError as error:  # a corruption that there is not
                raise UserError.of(f"callbacks.{name}", str(error)) from error
    return callbacks


def own_callbacks(cfg: CallbacksConfig, run: Run) -> dict[str, Callback]:
    """Return the user's callbacks by name: folders of the run's are offered to them."""
    callbacks = {}
    for name, part in cfg.parts.items():
        folders = {"folder": run.path / FIGURES, "dirpath": run.path / OWN_CALLBACKS / name}
        callback = made(part, f"callbacks.{name}", **folders)
        if not isinstance(callback, Callback):
            text = f"{part.factory} gives {type(callback).__name__}, which is no Lightning Callback"
            raise UserError.of(f"callbacks.{name}.factory", text)
        callbacks[name] = callback
    return callbacks

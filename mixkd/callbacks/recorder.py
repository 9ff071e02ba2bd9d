"""Writes history.csv and the checkpoints of a run, and says how each epoch went."""

import io
import math
import shutil
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from mixkd.config.tasks import TrainingConfig
from mixkd.console import say
from mixkd.errors import UserError, shortened
from mixkd.files.layout import HISTORY, STAGE1
from mixkd.files.writing import replacing, write_csv
from mixkd.modules.learner import Learner
from mixkd.runs.run import Run

Select = Literal["accuracy", "nll", "ece", "last"]


class PlainCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to the name that it is given, and nowhere else.

    Lightning writes it to the system's folder of temporary files first, which may be small, and
    leaves it there if it cannot be moved. Whoever gives a name here gives a temporary one.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; an OSError stays one, where torch by itself raises something else.

        Raises:
            UserError: if the state of a callback of the user's could not be read again.
        """
        for name, state in checkpoint.get("callbacks", {}).items():
            _check_state(name, state)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.getbuffer())


def _check_state(name: str, state: Any) -> None:
    """Raise a UserError unless a state is plain, as what is read of a checkpoint has to be."""
    content = io.BytesIO()
    try:
        torch.save(state, content)
        content.seek(0)
        torch.load(content, weights_only=True)
    except Exception as error:  # whatever its objects make of being written or read
        text = f"the state of {shortened(name)} does not go into a checkpoint; takes plain values"
        raise UserError.of("callbacks", f"{text} and tensors") from error


class Recorder(Checkpoint):
    """At the end of each epoch: a row of history.csv, last.ckpt, and best.ckpt where it is best.

    It subclasses Lightning's `Checkpoint` to run after the module's own end of the epoch, so that a
    checkpoint holds all of it. The best epoch is the first of equals by a held-out metric. Stage 1,
    the head's training, writes stage1.csv and stage1.ckpt and keeps no best. With `every_n_steps`
    the checkpoint is also written within an epoch.
    """

    def __init__(
        self, run: Run, select: Select, stage: int = 2, every_n_steps: int | None = None
    ) -> None:
        self.run, self.select, self.stage, self.every_n_steps = run, select, stage, every_n_steps
        self.best_score, self.best_epoch = -math.inf, -1
        self.rows: list[dict[str, Any]] = []
        self.has_stopped = False  # before max_epochs, by another callback

    @property
    def last(self) -> Path:
        """The checkpoint to continue from."""
        return self.run.checkpoint("stage1" if self.stage == 1 else "last")

    @property
    def best(self) -> Path:
        """The checkpoint of the selected epoch."""
        return self.run.checkpoint("best")

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Train no further where the checkpoint is of a training that was stopped."""
        trainer.should_stop |= self.has_stopped

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write last.ckpt within the epoch, after a whole step, but not after the last one."""
        n, done = self.every_n_steps, batch_idx + 1
        whole = done % trainer.accumulate_grad_batches == 0 and done < trainer.num_training_batches
        if n is not None and whole and trainer.global_step % n == 0:
            self._save(trainer, is_best=False)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Record the epoch."""
        assert isinstance(module, Learner)
        epoch, values = trainer.current_epoch, dict(module.values)
        speed, rate = values.pop("images_per_second"), values.pop("lr")
        assert isinstance(self.run.cfg, TrainingConfig)
        if self.run.cfg.data.selection == "test":  # the images that select are the test's
            values |= {k.replace("val/", "test/"): v for k, v in values.items() if "val/" in k}
        kinds = ("train", "val", "test", "vicinal", "corruption")
        names = sorted(values, key=lambda name: kinds.index(name.partition("/")[0]))
        ordered = {name: values[name] for name in names}
        row = {"epoch": epoch, "step": trainer.global_step, "lr": rate, **ordered}
        logged = trainer.callback_metrics  # of all epochs: `module.logged` are this one's
        others = {name: float(logged[name]) for name in module.logged if name in logged}
        module.logged.clear()
        self.rows.append(row | {name: others[name] for name in others if name not in row})
        self.has_stopped = trainer.should_stop
        score = self._score(epoch, values)
        is_best = score > self.best_score and self.stage == 2
        if is_best:
            self.best_score, self.best_epoch = score, epoch
        self._save(trainer, is_best)
        if trainer.is_global_zero:
            self.write_history()
            done = {"stage": self.stage, "epoch": epoch + 1, "max_epochs": trainer.max_epochs}
            self.run.status("running", **done, images_per_second=round(speed, 1))
        stage = "stage 1, " if self.stage == 1 else ""
        say(
            f"{stage}epoch {epoch + 1:>3}/{trainer.max_epochs}  "
            f"train/loss {values['train/loss']:.4f}  val/accuracy {values['val/accuracy']:.4f}  "
            f"val/ece {values['val/ece']:.4f}  {speed:,.0f} images/s{'  *' if is_best else ''}"
        )

    def write_history(self) -> None:
        """Write history.csv or stage1.csv: the rows of every epoch so far; nan where not looked."""
        name = STAGE1 if self.stage == 1 else HISTORY
        columns = {column: math.nan for row in self.rows for column in row}
        write_csv(self.run.path / name, [columns | row for row in self.rows])

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        state = {"score": self.best_score, "epoch": self.best_epoch, "rows": self.rows}
        return state | {"stopped": self.has_stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.best_score, self.best_epoch = state_dict["score"], state_dict["epoch"]
        self.rows, self.has_stopped = state_dict["rows"], state_dict.get("stopped", False)

    def _score(self, epoch: int, values: dict[str, float]) -> float:
        if self.select == "last":
            return float(epoch)
        value = values[f"val/{self.select}"]
        return value if self.select == "accuracy" else -value

    def _save(self, trainer: Trainer, is_best: bool) -> None:
        """Write best.ckpt first, so that last.ckpt never speaks of a best that is not there."""
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self.last)  # takes part, writes nothing
            return
        with replacing(self.last) as temporary:
            trainer.save_checkpoint(temporary)
            if is_best:
                with replacing(self.best) as copy:
                    shutil.copyfile(temporary, copy)

"""A teacher's answers along the vicinal stream, recorded once and read by every run that fits.

The stream knows nothing of the student: its order, views, partners and lambda are a function of
(stream seed, epoch, step). So runs of one stream and one teacher, such as those of a sweep over
temperatures, may share the teacher's logits. A tape is a folder, named by everything that they
depend on: a file an epoch, and tape.json, which says what the name stands for.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock, Timeout
from lightning.pytorch import Trainer
from torch import Tensor

from mixkd.console import say
from mixkd.errors import UserError
from mixkd.files.arrays import map_npy
from mixkd.files.reading import Damaged
from mixkd.files.writing import temporary_beside, write_array, write_json, writing
from mixkd.vicinal import VicinalBatch

Precision = Literal["float16", "float32"]
PART = ".part.npy"  # ends the name of an epoch's file that is being written


class Tape:
    """The logits of a teacher at every step of some epochs.

    An epoch is written to `epoch-0000.part.npy`, all NaN at first, by each process its own rows;
    when every row is there, it is renamed to `epoch-0000.npy`. So a recording that was interrupted
    goes on where it stopped, and whatever has the final name is whole.

    Args:
        root: the folder of all tapes.
        key: all that the logits depend on, ready for JSON.
        shape: of an epoch: steps, images of the global batch, classes.
        precision: in which logits are kept.
    """

    def __init__(
        self,
        root: Path,
        key: Mapping[str, Any],
        shape: tuple[int, int, int],
        precision: Precision = "float16",
    ) -> None:
        self.key = dict(key) | {"shape": list(shape), "precision": precision}
        name = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()[:16]
        self.folder, self.shape, self.dtype = root / name, shape, np.dtype(precision)
        self._mapped: tuple[int, bool, np.ndarray] | None = None  # epoch, for writing, logits

    def check_size(self, epochs: int, limit: float) -> None:
        """Refuse, as a UserError, a tape that is larger than a limit in gigabytes."""
        size = epochs * math.prod(self.shape) * self.dtype.itemsize / 1e9
        if size > limit:
            steps, images, classes = self.shape
            raise UserError.of(
                "teacher.tape_gb",
                f"{epochs} epochs of {steps} x {images} x {classes} numbers, {self.dtype}, are "
                f"{size:.3g} GB; takes up to {limit:g} (float16 halves what float32 takes)",
            )

    def check(self, epochs: int) -> None:
        """Refuse, as a UserError, what there is of so many epochs if it cannot be read."""
        for folder in (self.folder.parent, self.folder):
            if folder.exists() and not folder.is_dir():
                text = f"got {str(folder)!r}, which is a file; takes a folder"
                raise UserError.of("teacher.tape", text)
        for epoch in range(epochs):
            for path in filter(Path.is_file, (self._file(epoch), self._file(epoch, PART))):
                self._opened(path, "r")

    def has(self, epochs: int) -> bool:
        """Return whether so many epochs, from the first, are there as a whole."""
        return all(self._file(epoch).is_file() for epoch in range(epochs))

    def rounded(self, logits: Tensor) -> Tensor:
        """Return logits as the tape would give them back: float32, shape as they are."""
        return logits.to(getattr(torch, self.dtype.name)).float()

    def read(self, epoch: int, step: int, rows: Tensor) -> Tensor | None:
        """Return logits, float32 [b, classes], of rows int64 [b], or None where there are none."""
        stored = self._array(epoch, write=False)
        if stored is None:
            return None
        logits = np.asarray(stored[step, rows.numpy()])
        return None if np.isnan(logits[:, 0]).any() else torch.from_numpy(logits).float()

    def write(self, epoch: int, step: int, rows: Tensor, logits: Tensor) -> None:
        """Keep logits [b, classes] of some rows of a step."""
        stored = self._array(epoch, write=True)
        if stored is not None:
            stored[step, rows.numpy()] = logits.detach().float().cpu().numpy()

    def finish(self, epoch: int) -> bool:
        """Give an epoch its final name if every row of it is there; return whether it is whole."""
        if self._file(epoch).is_file():
            return True
        stored = self._array(epoch, write=True)
        assert stored is not None
        if np.isnan(stored[..., 0]).any():
            return False
        self.flush()
        self._file(epoch, PART).rename(self._file(epoch))
        return True

    def flush(self) -> None:
        """Write what is held to disk, and let go of it."""
        if self._mapped is not None and isinstance(self._mapped[2], np.memmap):
            self._mapped[2].flush()
        self._mapped = None

    def start(self) -> None:
        """Make the folder, and say in it what it is of."""
        write_json(self.folder / "tape.json", self.key)

    def _file(self, epoch: int, suffix: str = ".npy") -> Path:
        return self.folder / f"epoch-{epoch:04d}{suffix}"

    def _array(self, epoch: int, write: bool) -> np.ndarray | None:
        """Return an epoch's array, opened once; None where there is nothing to read or to write."""
        if self._mapped is not None and self._mapped[:2] == (epoch, write):
            return self._mapped[2]
        if self._file(epoch).is_file() == write:  # what is whole is read, what is not is written
            return None
        array = self._begun(epoch) if write else self._opened(self._file(epoch), "r")
        self._mapped = (epoch, write, array)
        return array

    def _begun(self, epoch: int) -> np.ndarray:
        """Return the array of an epoch that is being written."""
        path = self._file(epoch, PART)
        if not path.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            # Whole before it has its name: another process may open it at once.
            with writing(path), temporary_beside(path) as temporary:
                write_array(temporary, self.shape, self.dtype.type(np.nan))
                if not path.is_file():
                    temporary.rename(path)
        return self._opened(path, "r+")

    def _opened(self, path: Path, mode: Literal["r", "r+"]) -> np.ndarray:
        """Map a file of an epoch into memory; one that is damaged is a UserError."""
        try:
            array = map_npy(path, mode)
            if (array.shape, array.dtype) != (self.shape, self.dtype):
                raise Damaged(path, f"it holds {array.dtype} {list(array.shape)}")
        except Damaged as error:
            text = f"{path} is damaged ({error.why}); remove {self.folder}"
            raise UserError.of("teacher.tape", text) from error
        return array


class TapedTeacher:
    """A training's way to its teacher: the tape where it has the answer, else the teacher.

    Of several runs of one tape, one records; the others ask the teacher until the tape is whole.
    All of them learn from answers as the tape gives them back, so that it makes no difference which
    one a run was. `epochs` is how many this training has.
    """

    def __init__(self, tape: Tape, epochs: int) -> None:
        self.tape, self.epochs, self.records = tape, epochs, False
        self._lock = FileLock(tape.folder / ".lock")

    def start(self, trainer: Trainer) -> None:
        """Record, if the tape is not whole and no other run does; every process has to call it."""
        records = False
        if trainer.is_global_zero and not self.tape.has(self.epochs):
            self.tape.start()
            try:
                self._lock.acquire(timeout=0)
                records = True
                say(f"teacher.tape: recording in {self.tape.folder}")
            except Timeout:
                say(f"teacher.tape: another run records in {self.tape.folder}; asking the teacher")
        elif trainer.is_global_zero:
            say(f"teacher.tape: reading {self.tape.folder}")
        self.records = bool(trainer.strategy.broadcast(records))

    def answers(self, batch: VicinalBatch, teacher: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the teacher's logits of a batch, float32 [b, classes], on its device."""
        recorded = self.tape.read(batch.epoch, batch.step, batch.row)
        if recorded is not None:
            return recorded.to(batch.mixed.device, non_blocking=True)
        logits = teacher(batch.mixed)
        if self.records:
            self.tape.write(batch.epoch, batch.step, batch.row, logits)
        return self.tape.rounded(logits)

    def epoch_ended(self, trainer: Trainer) -> None:
        """Close an epoch of the tape when all processes have written theirs."""
        if self.records:
            self.tape.flush()
            trainer.strategy.barrier()
            if trainer.is_global_zero:
                self.tape.finish(trainer.current_epoch)
            trainer.strategy.barrier()

    def stop(self) -> None:
        """Let others record."""
        self._lock.release()

"""A run directory: its place, lock, state and files."""

import errno
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from mixkd.config.analyses import analysis_files
from mixkd.config.method import LabelMethodConfig, TeacherMethodConfig
from mixkd.config.tasks import (
    Config,
    DistillConfig,
    EvaluateConfig,
    EvaluateLogitsConfig,
    FinetuneConfig,
    TrainingConfig,
)
from mixkd.console import is_leader, on_signal, say
from mixkd.data.contents import IMAGES
from mixkd.errors import InUse, UserError, shortened, shown
from mixkd.files.reading import is_number
from mixkd.files.writing import read_json, write_json, write_text
from mixkd.redact import hidden
from mixkd.runs.identity import experiment_hash, images_of
from mixkd.runs.provenance import provenance

if TYPE_CHECKING:
    import numpy as np

Metrics = dict[str, float]

# Everything that a run may write; `run.force=true` removes these and nothing else.
# The files by which a directory is known for a run come last.
CONTENTS = (
    "status.json", "stage1.csv", "history.csv", "metrics.json", "checkpoints",
    "weights.safetensors", "trained_on.npy", "predictions", "reliability.csv", *analysis_files(),
    "figures", "csv", "tensorboard", "wandb", "wandb-id.txt",
    "config.yaml", "provenance.json",
)  # fmt: skip


STOPS = (signal.SIGINT, signal.SIGTERM)


class Run:
    """The directory of one experiment.

    What it is of is asked once, here: whatever becomes of its images and of its teacher's weights,
    a run keeps its name. Making this object writes nothing but the cache of what images contain.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.images = images_of(cfg)
        self.experiment = experiment_hash(cfg, self.images)
        self.trained_on: np.ndarray | None = None  # marks of images, which a training sets
        name = f"{readable_name(cfg)}-{self.experiment}"
        self.path = Path(cfg.run.dir or Path(cfg.run.root) / cfg.data.name / cfg.task / name)

    def finished_metrics(self) -> Metrics | None:
        """Return the metrics of a finished run of this experiment, or None.

        Raises:
            UserError: if the directory holds something else.
        """
        self._refuse_another()
        if self.cfg.run.force or read_status(self.path).get("state") != "finished":
            return None
        try:
            metrics = read_json(self.path / "metrics.json", "run.dir")
        except FileNotFoundError:
            return None
        for name, value in metrics.items():
            if not is_number(value):
                text = f"{self.path}/metrics.json is damaged: {name} is {shown(value)}, no number"
                raise UserError.of("run.dir", f"{text}; mend or remove it")
        return metrics

    def refuse_changed(self) -> None:
        """Refuse to go on with images that have been read if they are not those that name the run.

        Raises:
            UserError: if images were added, removed or changed since.
        """
        if images_of(self.cfg) != self.images:
            raise UserError.of("data.root", "images changed while the run began; start it again")

    def checkpoint(self, name: str) -> Path:
        """Return the path of a checkpoint: `last`, `best`, or `stage1`."""
        return self.path / "checkpoints" / f"{name}.ckpt"

    @contextmanager
    def started(self, fingerprints: Mapping[str, str], device: str) -> Iterator[None]:
        """Hold the directory while a task works; write what names the run and how it ends.

        Of several processes only the first does anything here.

        Args:
            fingerprints: sha256 of the data and weights that go in, by name.
            device: where it computes.

        Raises:
            UserError: if another process works in the directory.
        """
        fingerprints = {**fingerprints, **{IMAGES + k: v for k, v in self.images.items()}}
        if not is_leader():
            yield
            return
        self._refuse_another()
        lock = FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=2)  # `mixkd list runs` tries it for a moment
            if not os.access(self.path, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except Timeout:
            text = f"{self.path} is in use by {worker(self.path)}"
            raise InUse.of("run.dir", text) from None
        except OSError as error:
            lock.release()
            raise UserError.of(
                "run.dir",
                f"{self.path} cannot be written to ({error.strerror}); take run.dir=DIR, or "
                "run.root=DIR for all runs",
            ) from error
        try:
            if self.cfg.run.force:
                self._clear()
            self._remove_stale()
            self._refuse_other_data(fingerprints)
            self._write_provenance(fingerprints, device)  # first: it marks the directory
            write_text(
                self.path / "config.yaml",
                yaml.safe_dump(hidden(_kept(self.cfg)), sort_keys=False),
            )
            began = read_status(self.path).get("started") if self._goes_on() else None
            self.status("running", started=began or _now())
            try:
                yield
            except (KeyboardInterrupt, SystemExit) as stop:  # Lightning turns one into the other
                self._end("interrupted")
                raise KeyboardInterrupt from stop
            except BaseException as error:
                self._end("failed", error=repr(error))
                raise
            with on_signal(signal.SIG_IGN, *STOPS):
                self.status("finished", ended=_now())
        finally:
            lock.release()

    def status(self, state: str, **more: Any) -> None:
        """Write status.json: state, process and host, and what else is given."""
        write_status(self.path, state, **more)

    def _end(self, state: str, **more: Any) -> None:
        """Write how a run ended without its metrics, however often it is asked to stop."""
        try:
            with on_signal(signal.SIG_IGN, *STOPS):
                self.status(state, ended=_now(), **more)
        except OSError as error:  # a full disk: why the run ended is told all the same
            say(str(error))

    def add_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        """Add the sha256 of what the run made to provenance.json."""
        record = read_json(self.path / "provenance.json", "run.dir")
        record["fingerprints"] |= fingerprints
        write_json(self.path / "provenance.json", record)

    def _write_provenance(self, fingerprints: Mapping[str, str], device: str) -> None:
        """Write where a run comes from; of one that goes on, add what has changed since."""
        path = self.path / "provenance.json"
        record = provenance(self.cfg) | {"device": device, "experiment": self.experiment}
        if path.is_file() and self._goes_on():
            first = read_json(path, "run.dir")
            changed = {key: value for key, value in record.items() if first.get(key) != value}
            before = first.get("resumed", [])
            if not isinstance(before, list):
                text = f"{path} is damaged (resumed is no list); take another directory"
                raise UserError.of("run.dir", text)
            known = first["fingerprints"] | fingerprints
            resumed = [*before, {"at": _now()} | changed]
            record = first | {"fingerprints": known, "resumed": resumed}
        else:
            record["fingerprints"] = dict(fingerprints)
        write_json(path, record)

    def _goes_on(self) -> bool:
        """Return whether something was trained before, from which this continues."""
        return any(self.checkpoint(name).is_file() for name in ("last", "stage1"))

    def _remove_stale(self) -> None:
        """Remove the temporary files of a process that was killed while it wrote, and no others."""
        for name in CONTENTS:
            path = self.path / name
            inside = path.rglob(".*-*") if path.is_dir() else ()
            beside = self.path.glob(f".{path.stem}-????????{path.suffix}") if path.suffix else ()
            for stale in filter(Path.is_file, [*inside, *beside]):
                stale.unlink()

    def _clear(self) -> None:
        for name in CONTENTS:
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _refuse_other_data(self, fingerprints: Mapping[str, str]) -> None:
        """Refuse to continue on images that have changed under the same name."""
        record = self.path / "provenance.json"
        if record.is_file():
            before = read_json(record, "run.dir").get("fingerprints")
            if not isinstance(before, dict):
                text = f"{record} is damaged (it has no fingerprints); take another directory"
                raise UserError.of("run.dir", text)
            # Of images in memory the pixels count, of those on disk the files.
            known = [k for k in ("data", "data_files") if k in before and k in fingerprints]
            if any(before[key] != fingerprints[key] for key in known):
                raise UserError.of(
                    "run.dir",
                    f"{self.path} began on other images; run.force=true starts it over",
                )

    def _refuse_another(self) -> None:
        key = "run.dir" if self.cfg.run.dir else "run.root"
        try:
            self.path.lstat()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", error)
            text = f"no directory {shortened(str(self.path))} can be made: {said}; takes another"
            raise UserError.of(key, text) from error
        if not self.path.is_dir():
            raise UserError.of(key, f"got {str(self.path)!r}, which is a file; takes a directory")
        record = self.path / "provenance.json"
        if record.is_file():
            found = read_json(record, "run.dir").get("experiment")
            if found != self.experiment:
                raise UserError.of(
                    "run.dir",
                    f"{self.path} holds another experiment ({found}; this one is "
                    f"{self.experiment}); take another directory, or leave run.dir out",
                )
        elif self.path.is_dir() and any(p.name[0] != "." for p in self.path.iterdir()):
            raise UserError.of(
                "run.dir", f"{self.path} holds files that are not a run's; takes another directory"
            )


def _kept(cfg: Config) -> dict[str, Any]:
    """Return what config.yaml holds: where images lie means the same from any folder."""
    kept = cfg.model_dump()
    if kept["data"].get("root") is not None:
        kept["data"]["root"] = os.path.abspath(kept["data"]["root"])
    return kept


def readable_name(cfg: Config) -> str:
    """Return the part of a run's directory name that is for people."""
    match cfg:
        case FinetuneConfig():
            parts = [cfg.network.label, method_name(cfg.method), f"s{cfg.seed}"]
        case DistillConfig():
            temperature = cfg.temperature if cfg.temperature == "sigma" else f"T{cfg.temperature:g}"
            parts = [
                cfg.student.label,
                method_name(cfg.method),
                "from",
                cfg.teacher.label,
                temperature,
            ]
            parts += [f"s{cfg.seed}"]
        case EvaluateConfig():
            trained = Path(cfg.network.run).resolve().name if cfg.network.run else cfg.network.label
            parts = [re.sub("-[0-9a-f]{10}$", "", trained), *cfg.splits]
        case EvaluateLogitsConfig():
            parts = [re.sub(r"[^\w.]+", "_", Path(cfg.logits).stem), "logits"]
    if isinstance(cfg, TrainingConfig) and cfg.protocol != "none":
        parts.append(cfg.protocol)
    return "-".join(parts).replace("/", "_")


def method_name(method: LabelMethodConfig | TeacherMethodConfig) -> str:
    """Return the method's name, with the kind of mixing where that is not mixup."""
    other = method.mix is not None and method.mix.kind != "mixup"
    return method.name.replace("mixup", method.mix.kind) if method.mix and other else method.name


def read_status(directory: Path) -> dict[str, Any]:
    """Return status.json of a run directory, or an empty dict where there is none."""
    try:
        return read_json(directory / "status.json", "run.dir")
    except FileNotFoundError:
        return {}


def write_status(directory: Path, state: str, **more: Any) -> None:
    """Write status.json of a run directory: state, process, host, what is given; keep how far."""
    known = {"state": state, "pid": os.getpid(), "host": socket.gethostname()}
    before = read_status(directory)
    known |= {k: before[k] for k in ("started", "stage", "epoch", "max_epochs") if k in before}
    write_json(directory / "status.json", known | hidden(more))


def worker(directory: Path) -> str:
    """Return what is said of the process that works in a run directory."""
    pid = read_status(directory).get("pid")
    return f"process {pid}" if pid else "another process"


def wait_until_free(directory: Path) -> None:
    """Wait as long as a living process works in a run directory; say so once."""
    if is_held(directory):
        say(f"waiting for {directory}, which {worker(directory)} makes")
    while is_held(directory):
        time.sleep(1)


def is_held(directory: Path) -> bool:
    """Return whether a living process works in a run directory; true where it cannot be known."""
    lock = FileLock(path := directory / ".lock")
    if path.is_symlink() or not path.is_file():  # a stranger's: nobody has locked it
        return False
    try:
        lock.acquire(timeout=0)
    except (Timeout, PermissionError):  # of a run that is not ours, what it says itself counts
        return True
    lock.release()
    return False


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

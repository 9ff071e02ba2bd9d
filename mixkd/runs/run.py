"""A run directory: its place, lock, state and files."""

import errno
import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from mixkd.config.analyses import analysis_files
from mixkd.config.parts import method_name
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
from mixkd.files.layout import CHECKPOINTS, CONFIG, LOCK, METRICS, PROVENANCE, RECORDS, RESULTS
from mixkd.files.reading import is_number
from mixkd.files.writing import read_json, write_json, write_text
from mixkd.redact import redact
from mixkd.runs.identity import experiment_hash, images_of
from mixkd.runs.provenance import provenance
from mixkd.runs.signature import signature
from mixkd.runs.sources import SOURCES, changed, sources_of
from mixkd.runs.status import read_status, worker, write_status

if TYPE_CHECKING:
    import numpy as np

Metrics = dict[str, float]

STOPS = (signal.SIGINT, signal.SIGTERM)


class Run:
    """The directory of one experiment.

    Its images and its teacher's weights are read once, here: whatever becomes of them, it keeps its
    name. Making this object writes nothing but the cache of what images contain.

    Attributes:
        images: the sha256 of the images of each split, where they are files.
        sources: the sha256 of the source of each callable of the user's, by its dotted path.
        experiment: the hash that names the experiment.
        path: the directory.
        trained_on: marks of the images that the network has seen, which a training sets.
    """

    def __init__(self, cfg: Config) -> None:
        self.cfg = cfg
        self.images = images_of(cfg)
        self.sources = sources_of(cfg)
        self.experiment = experiment_hash(cfg, self.images)
        self.trained_on: np.ndarray | None = None
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
            metrics = read_json(self.path / METRICS, "run.dir")
        except FileNotFoundError:
            return None
        for name, value in metrics.items():
            if not is_number(value):
                text = f"{self.path / METRICS} is damaged: {name} is {shown(value)}, no number"
                raise UserError.of("run.dir", f"{text}; mend or remove it")
        if self.sources and (names := changed(self.sources, self._fingerprints())):
            raise UserError.of("run.dir", self._other_source(names))
        return metrics

    def refuse_changed(self) -> None:
        """Refuse to go on if images were added, removed or changed since they named the run."""
        if images_of(self.cfg) != self.images:
            raise UserError.of("data.root", "images changed while the run began; start it again")

    def checkpoint(self, name: str) -> Path:
        """Return the path of a checkpoint: `last`, `best`, or `stage1`."""
        return self.path / CHECKPOINTS / f"{name}.ckpt"

    @contextmanager
    def started(self, fingerprints: Mapping[str, str], device: str) -> Iterator[None]:
        """Hold the directory while a task works; write what names the run and how it ends.

        `fingerprints` are the sha256 of the data and weights that go in, by name; `device` is where
        it computes. Of several processes only the first does anything here.

        Raises:
            UserError: if another process works in the directory.
        """
        if not is_leader():
            yield
            return
        images = {IMAGES + split: fingerprint for split, fingerprint in self.images.items()}
        sources = {SOURCES + path: fingerprint for path, fingerprint in self.sources.items()}
        fingerprints = {**fingerprints, **images, **sources}
        self._refuse_another()
        lock = FileLock(self.path / LOCK)
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
            text = f"{self.path} cannot be written to ({error.strerror})"
            advice = "take run.dir=DIR, or run.root=DIR for all runs"
            raise UserError.of("run.dir", f"{text}; {advice}") from error
        try:
            if self.cfg.run.force:
                self._clear()
            self._remove_stale()
            self._refuse_other_data(fingerprints)
            saved = self.cfg.model_dump()
            if saved["data"].get("root") is not None:  # it means the same from any folder
                saved["data"]["root"] = os.path.abspath(saved["data"]["root"])
            config = yaml.safe_dump(redact(saved), sort_keys=False)
            self._write_provenance(fingerprints, device, config)  # first: it marks the directory
            write_text(self.path / CONFIG, config)
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
        record = read_json(self.path / PROVENANCE, "run.dir")
        record["fingerprints"] |= fingerprints
        write_json(self.path / PROVENANCE, record)

    def _write_provenance(self, fingerprints: Mapping[str, str], device: str, config: str) -> None:
        """Write where a run comes from; of one that goes on, add what has changed since."""
        path = self.path / PROVENANCE
        record = provenance(self.cfg) | {"device": device, "experiment": self.experiment}
        # A run that names neither the user's code nor a library's data set needs no mark.
        needs_mark = self.sources or yaml.safe_load(config)["data"].get("dataset") is not None
        signed = {"signature": signature(config.encode())} if needs_mark else {}
        if path.is_file() and self._goes_on():
            first = read_json(path, "run.dir")
            changed = {key: value for key, value in record.items() if first.get(key) != value}
            resumed = first.get("resumed", [])
            if not isinstance(resumed, list):
                text = f"{path} is damaged (resumed is no list); take another directory"
                raise UserError.of("run.dir", text)
            fingerprints = first["fingerprints"] | fingerprints
            record = first | {"resumed": [*resumed, {"at": _now()} | changed]}
        write_json(path, record | signed | {"fingerprints": dict(fingerprints)})

    def _goes_on(self) -> bool:
        """Return whether something was trained before, from which this continues."""
        return any(self.checkpoint(name).is_file() for name in ("last", "stage1"))

    def _contents(self) -> list[Path]:
        """Return the path of everything that a run may write; what it is known by comes last."""
        return [self.path / name for name in (*RESULTS, *analysis_files(), *RECORDS)]

    def _remove_stale(self) -> None:
        """Remove the temporary files of a process that was killed while it wrote, and no others."""
        for path in self._contents():
            below = path.rglob(".*-*") if path.is_dir() else ()
            stale = self.path.glob(f".{path.stem}-????????{path.suffix}") if path.suffix else ()
            for temporary in filter(Path.is_file, [*below, *stale]):
                temporary.unlink()

    def _clear(self) -> None:
        for path in self._contents():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _refuse_other_data(self, fingerprints: Mapping[str, str]) -> None:
        """Refuse to continue on images, or by code, that have changed under the same name."""
        before = self._fingerprints()
        # Of images in memory the pixels count, of those on disk the files.
        if names := changed(self.sources, before):
            raise UserError.of("run.dir", self._other_source(names))
        keys = {"data", "data_files"} & before.keys() & fingerprints.keys()
        if any(before[key] != fingerprints[key] for key in keys):
            text = f"{self.path} began on other images; run.force=true starts it over"
            raise UserError.of("run.dir", text)

    def _fingerprints(self) -> dict[str, Any]:
        """Return the fingerprints that the run has recorded; none where it has yet to."""
        path = self.path / PROVENANCE
        if not path.is_file():
            return {}
        recorded = read_json(path, "run.dir").get("fingerprints")
        if not isinstance(recorded, dict):
            text = f"{path} is damaged (it has no fingerprints); take another directory"
            raise UserError.of("run.dir", text)
        return recorded

    def _other_source(self, names: str) -> str:
        return f"{self.path} began with another source of {names}; run.force=true starts it over"

    def _refuse_another(self) -> None:
        key = "run.dir" if self.cfg.run.dir else "run.root"
        try:
            self.path.lstat()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", error)
            text = f"no directory {shortened(str(self.path))} can be made: {why}; takes another"
            raise UserError.of(key, text) from error
        if not self.path.is_dir():
            raise UserError.of(key, f"got {str(self.path)!r}, which is a file; takes a directory")
        record = self.path / PROVENANCE
        if record.is_file():
            other = read_json(record, "run.dir").get("experiment")
            if other != self.experiment:
                text = f"holds another experiment ({other}; this one is {self.experiment})"
                advice = "take another directory, or leave run.dir out"
                raise UserError.of("run.dir", f"{self.path} {text}; {advice}")
        elif any(path.name[0] != "." for path in self.path.iterdir()):
            text = f"{self.path} holds files that are not a run's; takes another directory"
            raise UserError.of("run.dir", text)


def readable_name(cfg: Config) -> str:
    """Return the part of a run's directory name that is for people."""
    method = ""
    if isinstance(cfg, TrainingConfig):
        method = method_name(cfg.model_dump())
    match cfg:
        case FinetuneConfig():
            parts = [cfg.network.label, method, f"s{cfg.seed}"]
        case DistillConfig():
            is_text = isinstance(cfg.temperature, str)
            temperature = str(cfg.temperature) if is_text else f"T{cfg.temperature:g}"
            taught = f"{method}-from-{cfg.teacher.label}"
            parts = [cfg.student.label, taught, temperature, f"s{cfg.seed}"]
        case EvaluateConfig():
            trained = Path(cfg.network.run).resolve().name if cfg.network.run else cfg.network.label
            parts = [re.sub("-[0-9a-f]{10}$", "", trained), *cfg.splits]
        case EvaluateLogitsConfig():
            parts = [re.sub(r"[^\w.]+", "_", Path(cfg.logits).stem), "logits"]
    if isinstance(cfg, TrainingConfig) and cfg.protocol != "none":
        parts.append(cfg.protocol)
    return "-".join(parts).replace("/", "_")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

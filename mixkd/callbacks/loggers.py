"""Lightning loggers beside history.csv, and the pictures, tables and results that go to them."""

import csv
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from mixkd.callbacks.pictures import log_picture
from mixkd.config.launcher import WandbConfig
from mixkd.config.parts import PartConfig
from mixkd.config.tasks import EvaluateConfig, TrainingConfig
from mixkd.console import is_leader, say
from mixkd.errors import UserError, shortened
from mixkd.files.layout import FIGURES, OWN_LOGS, WANDB_ID
from mixkd.files.reading import Damaged, read_text
from mixkd.files.writing import write_text
from mixkd.parts import made
from mixkd.redact import redact
from mixkd.runs.provenance import git_revision
from mixkd.runs.run import Run

HISTORIES = ("history", "stage1")  # the loggers have them already, an epoch at a time


@contextmanager
def open_loggers(cfg: TrainingConfig | EvaluateConfig, run: Run) -> Iterator[list[Logger]]:
    """Give the loggers that a configuration asks for; close them whatever happens."""
    loggers: list[Logger] = []
    if cfg.logger.csv is not None:
        loggers.append(CSVLogger(run.path, name="csv", version=""))
    if cfg.logger.tensorboard is not None:
        try:
            loggers.append(TensorBoardLogger(run.path, name="tensorboard", version=""))
        except ModuleNotFoundError as error:
            text = "tensorboard is not installed; pip install 'mixkd[tensorboard]'"
            raise UserError.of("logger", text) from error
    if cfg.logger.wandb is not None:
        loggers.append(_wandb(cfg.logger.wandb, cfg, run))
    loggers += [_own_logger(name, part, run) for name, part in cfg.logger.parts.items()]
    code = 1
    try:
        yield loggers
        code = 0
    finally:
        for logger in loggers if is_leader() else []:
            logger.finalize("failed" if code else "success")
            if isinstance(logger, WandbLogger):
                logger.experiment.finish(exit_code=code)


def _own_logger(name: str, part: PartConfig, run: Run) -> Logger:
    """Return a logger of the user's: a folder in the run's, and its name, are offered to it."""
    key, called, folder = f"logger.{name}", run.path.name, run.path / OWN_LOGS / name
    try:
        logger = made(part, key, save_dir=str(folder), name=called, run_name=called)
    except UserError:
        raise
    except Exception as error:  # a package that is missing, a server that does not answer ...
        raise UserError.of(key, f"{part.factory}: {_in_a_line(error)}") from error
    if not isinstance(logger, Logger):
        text = f"{part.factory} gives {type(logger).__name__}, which is no Logger of Lightning's"
        raise UserError.of(f"{key}.factory", text)
    return logger


def _wandb(section: WandbConfig, cfg: TrainingConfig | EvaluateConfig, run: Run) -> WandbLogger:
    """Return a W&B logger of this run: the same W&B run whenever it is continued."""
    if not is_leader():
        return WandbLogger(save_dir=run.path)  # Lightning lets only the first process log
    import wandb

    # None: as WANDB_MODE in the environment says
    mode = None if section.mode == "auto" else section.mode
    if mode is None and "WANDB_MODE" not in os.environ:
        mode = "online" if wandb.login(prompt=False, verify=False) else "offline"
    options: dict[str, Any] = {
        "project": section.project,
        "entity": section.entity,
        "name": run.path.name,
        # An agent of a W&B sweep has named the run already.
        "id": os.environ["WANDB_RUN_ID"] if "WANDB_SWEEP_ID" in os.environ else _kept_id(run),
        "resume": "allow",
        "group": redact(section.group or cfg.sweep.name),
        "job_type": cfg.task,
        "tags": redact(section.tags),
        # Absolute: W&B's service is one a process, in the folder where the first run began.
        "dir": str(run.path.absolute()),
        # Not how it was launched: that may hold what is not for everyone, as the command line may,
        # which W&B would take along as metadata.
        "config": redact(cfg.model_dump(exclude={"launcher", "run", "trust", "logger"}))
        | {"experiment": run.experiment, "git": git_revision()},
        "settings": wandb.Settings(
            console="off", silent=True, save_code=False, x_disable_meta=True
        ),
    }
    try:
        experiment = wandb.init(**options, mode=mode)
    except (wandb.Error, ValueError) as error:
        say(f"wandb: {_in_a_line(error)}; logging offline")
        wandb.teardown()  # the first try still holds the run
        try:
            experiment = wandb.init(**options, mode="offline")
        except (wandb.Error, ValueError) as second:  # for what WANDB_* in the environment say
            text = f"W&B refuses what its environment variables say: {_in_a_line(second)}"
            raise UserError.of("logger.wandb", text) from second
    experiment.define_metric("trainer/global_step")
    experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=experiment, save_dir=run.path)


def _kept_id(run: Run) -> str:
    """Return the id of a run in W&B, which a stranger's directory does not take from elsewhere."""
    path = run.path / WANDB_ID
    if not path.is_file():
        write_text(path, secrets.token_hex(5) + "\n")
    try:
        return read_text(path).strip()
    except Damaged as error:
        raise UserError.of("run.dir", str(error)) from error


def _in_a_line(error: Exception) -> str:
    return shortened(" ".join(str(error).split()), 300)


def replay(loggers: Iterable[Logger], rows: Iterable[Mapping[str, Any]]) -> None:
    """Log the epochs before a resumption to what begins anew: all but the two that continue."""
    for logger in loggers if is_leader() else []:
        if not _continues(logger):
            for row in rows:
                values = {k: v for k, v in row.items() if k != "step"}
                logger.log_metrics(values, int(row["step"]) - 1)  # as Lightning counts


def _continues(logger: Logger) -> bool:
    """Return whether a logger goes on where it was: W&B's run, unless offline, TensorBoard's."""
    if isinstance(logger, WandbLogger):
        return not logger.experiment.offline
    return isinstance(logger, TensorBoardLogger) and any(Path(logger.log_dir).glob("events.*"))


def log_results(
    loggers: Sequence[Logger], run: Run, metrics: Mapping[str, float], step: int
) -> None:
    """Send what a run directory holds in the end: metrics, figures and tables."""
    for logger in loggers if is_leader() else []:
        for picture in sorted((run.path / FIGURES).glob("*.png")):
            log_picture([logger], f"figures/{picture.stem}", picture, step)
        if isinstance(logger, WandbLogger):
            import wandb

            logger.experiment.summary.update(dict(metrics))
            for path in sorted(run.path.glob("*.csv")):
                if path.stem not in HISTORIES:
                    columns, *rows = _cells(path)
                    table = wandb.Table(columns=columns, data=rows)
                    logger.experiment.log({f"tables/{path.stem}": table})
        else:
            logger.log_metrics({f"final/{k}": v for k, v in metrics.items()}, step)


def _cells(path: Path) -> list[list[Any]]:
    """Return a CSV file's header and rows; columns of numbers as such, None where empty."""
    with open(path, newline="") as file:
        columns, *rows = list(csv.reader(file))
    typed: list[Sequence[Any]] = []
    for column in zip(*rows, strict=True):
        try:
            typed.append([float(cell) if cell else None for cell in column])
        except ValueError:
            typed.append(column)
    return [columns, *map(list, zip(*typed, strict=True))]

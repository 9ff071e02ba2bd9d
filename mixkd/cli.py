"""`mixkd <command> [overrides]`: composes, validates, calls the task. Imports nothing heavy."""

from __future__ import annotations

import os
import shlex
import sys
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from mixkd import __version__
from mixkd.errors import NotFinite, UserError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

TASKS = ("finetune", "distill", "evaluate")
COMMANDS = (*TASKS, "compare", "list")

HELP = """\
mixkd {version}: mixup-based knowledge distillation, and whether its confidence can be trusted

  mixkd finetune  data=NAME network=NAME [method=erm|mixup]
      learn from labels only: a teacher, or a baseline student
  mixkd distill   data=NAME teacher=NAME [teacher.run=DIR|teacher.weights=FILE]
                  [student=NAME] [temperature=2|sigma] [method=kd|kd_mixup]
      a student learns a frozen teacher's answers; without run or weights, those of the
      finished finetune of NAME on these data (teacher.auto=true makes it first)
  mixkd evaluate  network.run=DIR | network=NAME network.weights=FILE [data=NAME]
                  [teacher.run=DIR] [vicinal=true] [corruptions=true] [features=true]
      accuracy, confidence, calibration of a trained network; how it answers between images,
      on corrupted images; what its last layer sees. logits=FILE measures logits from elsewhere
  mixkd compare   network.run=DIR other.run=DIR
      paired differences of two runs on the same images, with intervals
  mixkd list      networks | datasets | artefacts | runs
      what there is to choose from, and what has been run

  protocol=corrected|parity   finetune and distill as the paper did; see conf/protocol/
  -m                 run one job for each combination of comma-separated values
  --cfg job          print the composed configuration and stop
  --hydra-help       Hydra's own options
  --help, --version

Every key of a configuration can be set as KEY=VALUE; `mixkd distill --cfg job` shows them all.
A run is kept under runs/, named by its experiment: the same command finds it again, and resumes it
or says that it has finished. HYDRA_FULL_ERROR=1 shows full tracebacks.
"""


def main() -> None:
    """Run one command line and exit: 0, 1 for a failure, 2 for a mistake in what was asked."""
    words = sys.argv[1:]
    if not words or words[0] in ("--help", "-h", "help") or {"--help", "-h"} & set(words[1:]):
        print(HELP.format(version=__version__))
        sys.exit(0)
    if "--version" in words:
        print(__version__)
        sys.exit(0)
    if words[0] in ("-m", "--multirun"):  # before the command or after it
        words = [*words[1:2], words[0], *words[2:]]
    command, rest = words[0], words[1:]
    try:
        if command not in COMMANDS:
            raise UserError.of(
                "command",
                f"got {command!r}{nearest(command, COMMANDS)}; takes {', '.join(COMMANDS)}",
            )
        if command == "list":
            from mixkd.tasks.list import list_items

            print(list_items(rest))
            sys.exit(0)
        if command == "compare":
            from mixkd.tasks.compare import compare

            print(compare(rest))
            sys.exit(0)
        sys.exit(run_hydra(command, rest))
    except UserError as error:
        sys.exit(report(command, error))
    except KeyboardInterrupt:
        print(f"mixkd {command}: interrupted; the same command continues it", file=sys.stderr)
        sys.exit(130)


def report(command: str, error: UserError, full: bool = False) -> int:
    """Print a user's mistake, with a traceback only if one was asked for; return the status."""
    if full:
        traceback.print_exception(error)
    count = len(error.problems)
    print(f"mixkd {command}: {count} problem{'s' if count > 1 else ''}", file=sys.stderr)
    for problem in error.problems:
        print(f"  {problem}", file=sys.stderr)
    return 2


def run_hydra(command: str, words: list[str]) -> int:
    """Let Hydra compose the job, or each job of a multirun; return the worst exit status."""
    import hydra
    from hydra._internal.utils import get_args_parser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from mixkd.compose import diagnose, expand
    from mixkd.shipped import config_dir

    parser = get_args_parser()
    parser.error = _refuse_option  # type: ignore[method-assign]
    overrides = parser.parse_intermixed_args(words).overrides
    options = [word for word in words if word not in overrides]
    multirun = bool({"-m", "--multirun"} & set(options))
    if multirun and any(o.startswith("run.dir=") and "," not in o for o in overrides):
        raise UserError.of("run.dir", "one directory cannot hold a sweep; take run.root=DIR")

    if multirun and any(o.startswith("trainer.devices=") and o[16:] != "1" for o in overrides):
        raise UserError.of(
            "trainer.devices", "a sweep runs its jobs on one device each; run larger jobs singly"
        )

    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    statuses: list[int] = []

    def job(cfg: DictConfig) -> None:
        # Lightning starts further processes: they have to see the real words and environment.
        ours, sys.argv = sys.argv, argv
        _set_full_error(full)
        try:
            statuses.append(run_job(command, cfg, full == "1"))
        finally:
            sys.argv = ours
            _set_full_error("1")

    # Hydra reads sys.argv, and with this variable raises what it would otherwise print.
    sys.argv = [argv[0], *options, *expand(command, overrides, multirun)]
    _set_full_error("1")
    try:
        hydra.main(str(config_dir()), command, version_base="1.3")(job)()
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(*diagnose(command, overrides, error)) from error
    finally:
        sys.argv = argv
        _set_full_error(full)
    return max(statuses, default=0)


def _set_full_error(value: str | None) -> None:
    if value is None:
        os.environ.pop("HYDRA_FULL_ERROR", None)
    else:
        os.environ["HYDRA_FULL_ERROR"] = value


def _refuse_option(message: str) -> NoReturn:
    raise UserError.of("options", f"{message}; takes KEY=VALUE, -m, --cfg job, --hydra-help")


def run_job(command: str, cfg: DictConfig, full: bool) -> int:
    """Run one composed job and print its results; return its exit status, never raise."""
    from mixkd.compose import compose
    from mixkd.config import validate
    from mixkd.console import is_leader, say
    from mixkd.run import Run

    try:
        try:
            config = validate(cfg)
        except UserError as error:
            remedy = error.problems[0].remedy
            if len(error.problems) > 1 or not remedy or not cfg.teacher.auto:
                raise
            say(f"teacher.auto: mixkd finetune {shlex.join(remedy)}")
            if status := run_job("finetune", compose("finetune", remedy), full):
                return status
            config = validate(cfg)
        run = Run(config)
        metrics, how = run.finished_metrics(), "finished before, run.force=true starts over"
        if metrics is None:
            task = getattr(import_module(f"mixkd.tasks.{command}"), command)
            metrics, how = task(config), "finished"
            run = Run(config)  # its data may have been downloaded or unpacked just now
        if is_leader():
            print(f"{how}: {run.path}")
            for name, value in metrics.items():
                if name.count("/") < 2:  # metrics.json has them all
                    print(f"  {name:<24} {value:.6g}")
    except UserError as error:
        return report(command, error, full)
    except (Exception, SystemExit) as error:  # a stranger's module may exit when imported
        # A full disk, a network that diverged or another process that ended, and said why, is no
        # fault of the program's: no traceback.
        peer = isinstance(error, RuntimeError) and "closed by peer" in str(error)
        if full or not (peer or isinstance(error, (OSError, NotFinite))):
            traceback.print_exception(error)
        print(f"mixkd {command}: failed: {error}", file=sys.stderr)
        return 1
    return 0

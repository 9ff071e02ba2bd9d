"""`mixkd <command> [overrides]`: composes, validates, calls the task. Imports nothing heavy."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

from mixkd import __version__
from mixkd.console import forget_notes, tell
from mixkd.errors import UserError, nearest
from mixkd.redact import redact

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """\
mixkd {version}: mixup-based knowledge distillation, and whether its confidence can be trusted

  mixkd finetune  data=NAME network=NAME [method=erm|mixup|...]
      learn from labels only: a teacher, or a baseline student
  mixkd distill   data=NAME teacher=NAME [teacher.run=DIR|teacher.weights=FILE]
                  [student=NAME] [temperature=2|sigma] [method=kd|kd_mixup]
      a student learns a frozen teacher's answers; without run or weights, those of the
      finished finetune of NAME on these data (teacher.auto=true makes it first)
  mixkd evaluate  network.run=DIR | network=NAME network.weights=FILE [data=NAME]
                  [teacher.run=DIR] [vicinal=true] [corruptions=true] [features=true]
      accuracy, confidence, calibration of a trained network; how it answers between images,
      on corrupted images; what its last layer sees. logits=FILE measures logits from elsewhere
  mixkd export    network.run=DIR [format=safetensors|onnx|torch] [out=DIR]
                  [push=hf_hub:USER/NAME]
      the network for timm, onnxruntime or plain torch, with a model card;
      network=hf_hub:USER/NAME (or network.export=DIR) takes it back
  mixkd compare   network.run=DIR other.run=DIR
      paired differences of two runs on the same images, with intervals
  mixkd report    [runs=DIR] [out=DIR]
      tables, figures, the paper's claims judged, and one page, from runs
  mixkd reproduce ARTEFACT [scale=smoke|laptop|paper] [plan=true]
      the paper's tables and figures: does what is missing of their runs, and renders them;
      `all` for all; launcher=slurm, seeds=0,1,2, protocol=parity
  mixkd list      networks | datasets | methods | optimizers | schedules | experiments |
                  artefacts | runs
      what there is to choose from, and what has been run
  mixkd dashboard entity=NAME | out=DIR
      the paper's panels in W&B, and a sweep file for its agents

  protocol=corrected|parity   finetune and distill as the paper did; see conf/protocol/
  protocol=crd       as the field's CIFAR benchmark does
  experiment=NAME    a preset of these, shipped or your own (`mixkd list experiments`)
  --config-dir DIR   a folder of your own groups: DIR/network/mine.yaml is network=mine
  -m                 run one job for each combination of comma-separated values, each in its own
                     process; launcher.parallel=N, launcher=slurm; sweep.trials=N: Optuna chooses
  logger=wandb       or csv, tensorboard, '[csv,wandb]'
  --cfg job          print the composed configuration and stop
  --hydra-help       Hydra's own options
  --help, --version  `mixkd COMMAND --help` shows a command's groups and main keys
  -sc install=bash   completion for bash: eval "$(mixkd -sc install=bash)"

Every key of a configuration can be set as KEY=VALUE; `mixkd distill --cfg job` shows them all.
A run is kept under runs/, named by its experiment: the same command finds it again, and resumes it
or says that it has finished. HYDRA_FULL_ERROR=1 shows full tracebacks.
"""


def main() -> None:
    """Run one command line and exit: 0, 1 for a failure, 2 for a mistake in what was asked."""
    # What the shell has closed (`>&-`) is opened, so that no other file comes to stand there.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - as long as the process
    arguments = sys.argv[1:]
    try:
        try:
            _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # whoever read it, such as `head`, has enough
        _discard()
        sys.exit(1)
    except OSError as error:  # a full disk, a folder that is closed to us
        _discard()
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        tell(redact(f"mixkd {' '.join(arguments[:1])}: failed: {error}"), sys.stderr)
        sys.exit(1)


def _discard() -> None:
    """Lose what is still to be written where nobody reads any more, or nothing can be written."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _run(arguments: list[str]) -> None:
    asks_for_help = {"--help", "-h"} & {*arguments}
    if not arguments or arguments[0] == "help" or (asks_for_help and arguments[0][0] == "-"):
        print(HELP.format(version=__version__))
        sys.exit(0)
    if "--version" in arguments:
        print(__version__)
        sys.exit(0)
    if arguments[0] in ("-m", "--multirun"):  # before the command or after it
        arguments = [*arguments[1:2], arguments[0], *arguments[2:]]
    completion = {"-sc", "--shell-completion"} & set(arguments[:2])
    command, rest = arguments[0], arguments[1:]
    forget_notes()
    try:
        if completion:
            from mixkd.completion import complete

            print(complete([argument for argument in arguments if "=" in argument]))
            sys.exit(0)
        from mixkd.config.commands import PARSERS

        if asks_for_help:
            from mixkd.command_help import help_of

            rest = [argument for argument in rest if argument not in asks_for_help]
            tell(help_of(command, rest, HELP.format(version=__version__)))
            sys.exit(0)
        if command not in PARSERS:
            _leave(_run_task(command, rest))
        config = PARSERS[command](rest)
        module = import_module(f"mixkd.tasks.{command}")
        result = (module.list_items if command == "list" else getattr(module, command))(config)
        text, status = result if isinstance(result, tuple) else (result, 0)
        tell(text)
        sys.exit(status)
    except UserError as error:
        from mixkd.launchers.job import explain

        tell(explain(command, error), sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"mixkd {command}: interrupted; the same command continues it", file=sys.stderr)
        _leave(130)


def _leave(status: int) -> NoReturn:
    """Exit; who has asked to stop, and asks again, gets no traceback of how Python ends."""
    if status == 130:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def _run_task(command: str, arguments: list[str]) -> int:
    """Run a job, each job of a sweep, or what else Hydra is asked for; return the exit status."""
    from mixkd.config.arguments import read_arguments
    from mixkd.config.commands import PARSERS
    from mixkd.config.tasks import SCHEMAS

    if command not in SCHEMAS:
        commands = (*SCHEMAS, *PARSERS)
        text = f"got {command!r}{nearest(command, commands)}; takes {', '.join(commands)}"
        raise UserError.of("command", text)
    asked = read_arguments(arguments)
    overrides, sweep = asked.overrides, asked.sweep
    if asked.printing:
        if sweep:
            raise UserError.of("options", f"got -m with {asked.printing[0]}, which runs no job")
        _print(command, asked.printing, overrides)
        return 0
    if command == "export":
        if sweep:
            raise UserError.of("options", "got -m; `mixkd export` takes one run")
        from mixkd.request import accept_export, compose

        export = import_module("mixkd.tasks.export").export
        tell(export(accept_export(compose("export", overrides))))
        return 0
    if sweep and any(o.startswith("run.dir=") and "," not in o for o in overrides):
        raise UserError.of("run.dir", "one directory cannot hold a sweep; take run.root=DIR")
    if sweep and any(o.startswith("sweep.trials=") for o in overrides):
        from mixkd.launchers.search import run_search

        return run_search(command, overrides)
    if sweep:
        from mixkd.launchers.sweep import run_sweep

        return run_sweep(command, overrides)
    return _run_single(command, overrides)


def _run_single(command: str, overrides: list[str]) -> int:
    """Run one job: here, on a cluster, or where it is of several devices in as many processes."""
    from omegaconf import OmegaConf

    from mixkd.console import is_leader, on_signal
    from mixkd.launchers.job import run_job
    from mixkd.request import compose

    cfg = compose(command, overrides)
    if OmegaConf.select(cfg, "launcher.name") == "slurm":
        from mixkd.launchers.sweep import run_sweep

        return run_sweep(command, overrides)  # it is queued as a sweep of one
    for override in overrides:
        if (key := override.partition("=")[0]) in ("launcher.parallel", "sweep.trials"):
            raise UserError.of(key, "is of a sweep; add -m")
    devices = OmegaConf.select(cfg, "trainer.devices")
    several = isinstance(devices, int) and 1 < devices <= 1024 and not cfg.get("logits")
    if several and "LOCAL_RANK" not in os.environ:  # else torchrun has started them
        from mixkd.launchers.sweep import run_one

        outcome = run_one(command, overrides)
    else:
        # Also before and after Lightning listens; of several processes torchrun ends them all.
        signals = [] if "LOCAL_RANK" in os.environ else [signal.SIGTERM]
        with on_signal(signal.default_int_handler, *signals):
            outcome = run_job(command, overrides)
    if outcome.text or is_leader():
        outcome.show()
    return outcome.status


def _print(command: str, options: list[str], overrides: list[str]) -> None:
    """Let Hydra print what its own options ask for, such as `--cfg job`."""
    import hydra

    from mixkd.config.compose import REFUSALS, expand
    from mixkd.config.shipped import config_dir
    from mixkd.request import refused

    def nothing(cfg: DictConfig) -> None:
        raise AssertionError(f"Hydra is to print by {options}, and to run nothing")

    # Hydra reads sys.argv, and with this variable raises what it would otherwise print.
    of_a_job = [] if "--hydra-help" in options else expand(command, overrides)
    sys.argv = [sys.argv[0], *of_a_job, *options]
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(str(config_dir()), command, version_base="1.3")(nothing)()
    except REFUSALS as error:
        raise refused(command, overrides, error) from error
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before

"""`-m sweep.trials=N`: Optuna chooses the jobs, for several objectives on the held-out images.

`KEY=interval(a,b)` is searched between a and b (`tag(log,interval(a,b))` by its logarithm,
`int(interval(a,b))` over whole numbers), `KEY=a,b,c` and ranges over their values.
"""

import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.errors import HydraException
from tabulate import tabulate

from mixkd.config.compose import expand
from mixkd.config.tasks import TRAININGS
from mixkd.console import tell
from mixkd.data.contents import listed_once
from mixkd.errors import UserError
from mixkd.files.writing import write_csv
from mixkd.launchers.job import Outcome
from mixkd.launchers.sweep import carry_out, held, plan_jobs, settings_of, sweep_name, worst
from mixkd.request import refused

DIRECTIONS = {"accuracy": "maximize", "ece": "minimize", "nll": "minimize", "brier": "minimize"}


@listed_once()
def run_search(command: str, overrides: Sequence[str]) -> int:
    """Run trials until there are as many as asked for; print them; return the worst exit status.

    Trials are kept beside the sweep, so that the same command continues.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        text = "Optuna is not installed; pip install 'mixkd[optuna]'"
        raise UserError.of("sweep.trials", text) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if command not in TRAININGS:
        raise UserError.of("sweep.trials", f"`mixkd {command}` trains nothing; leave it out")
    fixed, searched = space_of(command, overrides)
    lowest = [f"{key}={values_of(space)[0]}" for key, space in searched.items()]
    settings = settings_of(command, [(*fixed, *lowest)])
    name, folder = sweep_name(command, overrides), Path(settings.run.root) / ".sweep"
    objectives, trials = settings.sweep.objectives, settings.sweep.trials
    assert trials is not None
    at_once = settings.launcher.parallel  # what Optuna has not heard of it cannot learn from
    outcomes: list[Outcome | None] = []
    with held(Path(settings.run.root), name):
        study = open_study(folder / f"{name}.log", name, objectives)
        # Failed ones do not count, but are no reason to try for ever.
        while (done := len(completed(study))) < trials and len(outcomes) < 2 * trials:
            batch = next_batch(study, searched, at_once, trials - done)
            chosen = [(*fixed, *(f"{k}={v}" for k, v in trial.params.items())) for trial in batch]
            again = partial(plan_jobs, command, chosen, name, done, trials)
            rows = carry_out(again(), settings, again)
            for trial, (_, outcome) in zip(batch, rows, strict=True):
                outcomes.append(outcome)
                if outcome is None or outcome.state == "interrupted":
                    continue  # it is continued when the search is
                values = [outcome.metrics.get(f"val/{objective}") for objective in objectives]
                if not outcome.status and None not in values:
                    trial.set_user_attr("run", outcome.path)
                    study.tell(trial, values)
                else:
                    study.tell(trial, state=optuna.trial.TrialState.FAIL)
            if any(outcome is None or outcome.state == "interrupted" for _, outcome in rows):
                break
    if trial_rows := table_of(study, objectives, searched):
        write_csv(folder / f"{name}.csv", trial_rows)
        cells = [
            [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row.values()]
            for row in trial_rows
        ]
        tell(tabulate(cells, list(trial_rows[0]), "plain", disable_numparse=True), sys.stderr)
        tell(f"{folder / name}.csv")
    return worst(outcomes)


def open_study(journal: Path, name: str, objectives: Sequence[str]) -> Any:
    """Return the search that a journal holds: no trials where there is none.

    Who holds the sweep is the journal's only writer: it takes no lock of Optuna's, which would
    outlive a process that is killed. A line that one was killed in the middle of is taken out.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if journal.is_file() and (written := journal.read_bytes()) and not written.endswith(b"\n"):
        os.truncate(journal, written.rfind(b"\n") + 1)
    try:
        directions: Any = [DIRECTIONS[objective] for objective in objectives]
        unlocked: Any = SimpleNamespace(acquire=lambda: True, release=lambda: None)
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal), unlocked))
        return optuna.create_study(
            study_name=name, storage=storage, directions=directions, load_if_exists=True
        )
    except (ValueError, LookupError, TypeError) as error:
        text = f"{journal} is damaged ({error}); take it away: its runs are found again"
        raise UserError.of("sweep.trials", text) from error


def next_batch(study: Any, searched: dict[str, Any], at_once: int, most: int) -> list[Any]:
    """Return the trials to run next, `most` of them at most: those begun, and new ones.

    Trials are in batches of `at_once` by their numbers; what a trial tries depends on its number
    and on the trials of the batches before, however often the search was interrupted between.
    """
    import optuna

    running = optuna.trial.TrialState.RUNNING
    begun = study.get_trials(states=[running])[:most]
    while len(begun) < most:
        number = len(study.trials)
        first = number - number % at_once
        if begun and begun[0].number < first:
            break  # the next batch learns from this one
        earlier: Any = optuna.create_study(
            directions=study.directions, sampler=optuna.samplers.TPESampler(seed=number)
        )
        earlier.add_trials([trial for trial in completed(study) if trial.number < first])
        params = earlier.ask(searched).params
        new_trial = optuna.create_trial(state=running, params=params, distributions=searched)
        study.add_trial(new_trial)
        begun.append(study.trials[number])
    return [optuna.Trial(study, trial._trial_id) for trial in begun]


def completed(study: Any) -> list[Any]:
    """Return the trials that have their values."""
    return [trial for trial in study.trials if trial.values is not None]


def space_of(command: str, overrides: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the overrides that all trials share, and Optuna's distribution of the other keys."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    fixed: list[str] = []
    searched: dict[str, Any] = {}
    parser = OverridesParser.create()
    for override in overrides:
        try:
            parsed = parser.parse_override(expand(command, [override], sweep=True)[0])
            if not parsed.is_sweep_override():
                fixed.append(override)
                continue
            key, value = override.partition("=")[0], parsed.value()
            if not isinstance(value, IntervalSweep):
                searched[key] = CategoricalDistribution(list(parsed.sweep_string_iterator()))
                continue
            low, high, log = value.start, value.end, "log" in value.tags
            assert low is not None
            assert high is not None
            if isinstance(low, int) and isinstance(high, int):
                searched[key] = IntDistribution(low, high, log=log)
            else:
                searched[key] = FloatDistribution(low, high, log=log)
        except HydraException as error:
            raise refused(command, overrides, error) from error
        except ValueError as error:
            raise UserError.of(override.partition("=")[0], f"got {override}; {error}") from error
    if not searched:
        raise UserError.of("sweep.trials", "nothing is searched; take KEY=interval(a,b) or KEY=a,b")
    return fixed, searched


def values_of(distribution: Any) -> list[Any]:
    """Return values of a distribution, its ends or its choices."""
    choices = getattr(distribution, "choices", None)
    return [distribution.low, distribution.high] if choices is None else list(choices)


def table_of(
    study: Any, objectives: Sequence[str], searched: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a row a trial: `front` (none is better in all objectives), objectives, keys, run."""
    front = {trial.number for trial in study.best_trials}
    return [
        {
            "trial": number,
            "front": "*" if trial.number in front else "",
            **{f"val/{name}": v for name, v in zip(objectives, trial.values, strict=True)},
            **{key: trial.params.get(key, "") for key in searched},
            "run": trial.user_attrs.get("run", ""),
        }
        for number, trial in enumerate(completed(study), start=1)
    ]

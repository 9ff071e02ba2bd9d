"""The paper's networks and evaluations at one scale, as runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mixkd.report.cells import Subject
from mixkd.reproduction.scale import Scale
from mixkd.reproduction.study import StudyRun, merged


@dataclass(frozen=True)
class PaperStudy:
    """Makes the runs of a paper's networks at one scale.

    Attributes:
        scale: what stands for the paper's data, networks and lengths.
        more: the user's own overrides, by command; they count last.
    """

    scale: Scale
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def teacher(self, dataset: str, name: str, method: str = "erm") -> StudyRun:
        """Return the run of a teacher: one, of the first seed.

        Args:
            dataset: as the paper names it.
            name: of the teacher, as the paper names it.
            method: how it is trained: erm, or mixup.
        """
        network, seed = self.teacher_overrides(dataset, name), self.scale.seeds[0]
        subject = Subject(dataset, "teacher", name, method)
        if not _brings_weights(network):
            overrides = [*self.scale.training_overrides(dataset), *network, f"method={method}"]
            return self._run("finetune", overrides, subject=subject, seed=seed)
        overrides = [*_of_network(network), *self.dataset_overrides(dataset)]
        overrides += [o for o in self.more.get("finetune", ()) if o.startswith("data")]
        return self._run("evaluate", overrides, subject=subject, seed=seed)

    def has_mixup_teacher(self, dataset: str, name: str) -> bool:
        """Return whether a teacher can be trained with mixup: not if it comes with its weights."""
        return not _brings_weights(self.teacher_overrides(dataset, name))

    def from_labels(self, dataset: str, method: str) -> list[StudyRun]:
        """Return the runs of a student that learns from labels alone, one a seed.

        Args:
            dataset: as the paper names it.
            method: erm or mixup.
        """
        overrides = [
            *self.scale.training_overrides(dataset),
            *self.student_overrides("network"),
            *self.scale.settings.baseline,
            f"method={method}",
        ]
        subject = Subject(dataset, "student", "", method)
        return [
            self._run("finetune", overrides, subject=subject, seed=seed)
            for seed in self.scale.seeds
        ]

    def distilled(
        self,
        dataset: str,
        teacher: str,
        method: str = "kd_mixup",
        temperature: str = "2",
        teacher_method: str = "erm",
        losses: Sequence[str] = (),
    ) -> list[StudyRun]:
        """Return the runs of a student that learns a teacher's answers, one a seed.

        Args:
            dataset: as the paper names it.
            teacher: as the paper names it.
            method: kd or kd_mixup.
            temperature: a number or sigma, as text.
            teacher_method: how the teacher was trained: erm, or mixup.
            losses: overrides that choose a divergence or a hint, and weigh them.
        """
        network = self.teacher_overrides(dataset, teacher)
        uses: tuple[tuple[str, StudyRun], ...] = ()
        overrides = [
            *self.scale.training_overrides(dataset), *self.student_overrides("student")
        ]  # fmt: skip
        if _brings_weights(network):
            overrides += [o.replace("network", "teacher", 1) for o in _of_network(network)]
        else:
            uses = (("teacher.run", self.teacher(dataset, teacher, teacher_method)),)
        overrides += [
            *self.scale.dataset(dataset).distill, f"method={method}", f"temperature={temperature}",
            *losses,
        ]  # fmt: skip
        name = teacher + ("+mixup" if teacher_method == "mixup" else "")
        subject = Subject(dataset, "student", name, with_losses(method, losses), temperature)
        return [
            self._run("distill", overrides, uses, subject=subject, seed=seed)
            for seed in self.scale.seeds
        ]

    def evaluated_at_once(
        self, network: StudyRun, kinds: Sequence[str], teacher: StudyRun
    ) -> list[StudyRun]:
        """Return one evaluation by several analyses, once for each that it stands for."""
        runs = [self.evaluated(network, kind, teacher) for kind in kinds]
        overrides = merged([override for run in runs for override in run.overrides])
        return [replace(run, overrides=overrides) for run in runs]

    def evaluated(
        self,
        network: StudyRun,
        kind: str,
        teacher: StudyRun | None = None,
        baselines: Mapping[str, StudyRun] | None = None,
    ) -> StudyRun:
        """Return the run that measures more of a network than its training did.

        Args:
            network: whose run.
            kind: the name of an analysis.
            teacher: the teacher beside which it is asked.
            baselines: networks to compare it with, by name.
        """
        overrides, uses = [*self.scale.settings.of_analysis(kind), f"{kind}=true"], []
        named = {f"baselines.{name}": run for name, run in (baselines or {}).items()}
        for key, used in {"network": network, "teacher": teacher, **named}.items():
            if used is None:
                continue
            if used.command == "evaluate":  # a public network, known by its weights
                of_network = _of_network(used.overrides)
                overrides += [o.replace("network", key, 1) for o in of_network]
                if key == "network":
                    overrides += [o for o in used.overrides if o not in of_network]
            else:
                uses.append((key if "." in key else f"{key}.run", used))
        return StudyRun(
            "evaluate", self._with_more("evaluate", overrides), tuple(uses),
            subject=network.subject, seed=network.seed, kind=kind,
        )  # fmt: skip

    def dataset_overrides(self, dataset: str) -> list[str]:
        """Return what chooses the data, for an evaluation without a run."""
        return [word for word in self.scale.dataset(dataset).words if word.startswith("data")]

    def teacher_overrides(self, dataset: str, name: str) -> list[str]:
        """Return what a teacher's training has beside that of every training on a data set."""
        of_data = self.scale.dataset(dataset).teachers
        of_scale = self.scale.teacher(name)
        return [*self.scale.settings.teaching, *of_data.get(name, of_scale.words)]

    def student_overrides(self, key: str) -> list[str]:
        """Return what a student's training has, its network under a key: network or student."""
        student = self.scale.settings.student
        network = [f"{key}={student.network}", *(f"{key}.{word}" for word in student.words)]
        return [*network, *self.scale.settings.learning]

    def _run(
        self,
        command: str,
        overrides: Sequence[str],
        uses: tuple[tuple[str, StudyRun], ...] = (),
        *,
        subject: Subject,
        seed: int,
    ) -> StudyRun:
        if command != "evaluate":
            overrides = [*overrides, f"seed={seed}"]
        everything = self._with_more(command, overrides)
        return StudyRun(command, everything, uses, subject=subject, seed=seed)

    def _with_more(self, command: str, overrides: Sequence[str]) -> tuple[str, ...]:
        return merged([*overrides, *self.more.get(command, ())])


def with_losses(method: str, losses: Sequence[str]) -> str:
    """Return a method with the divergence and the hint that overrides choose, as runs name it."""
    chosen = [override.split("=") for override in losses]
    return method + "".join(f"+{name}" for key, name in chosen if key in ("divergence", "hint"))


def for_seed(runs: Sequence[StudyRun], seed: int) -> StudyRun:
    """Return the run of a seed; of the first one where there is none of that seed."""
    return next((run for run in runs if run.seed == seed), runs[0])


def _of_network(overrides: Sequence[str]) -> list[str]:
    return [override for override in overrides if override.startswith("network")]


def _brings_weights(overrides: Sequence[str]) -> bool:
    return any(override.startswith("network.weights=") for override in overrides)

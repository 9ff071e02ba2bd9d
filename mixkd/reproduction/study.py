"""A study at one scale: the runs of its networks and evaluations, as Hydra overrides."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mixkd.report.cells import Subject
from mixkd.reproduction.scale import Scale


@dataclass(frozen=True)
class Wanted:
    """A run that an artefact needs.

    Attributes:
        command: finetune, distill or evaluate.
        words: its overrides, but for those that name other runs.
        uses: which runs come first, by the key that names them: teacher.run, network.run ...
        subject: whose it is.
        seed: of the network.
        kind: what it is for, training or the name of an analysis; a public network's first
            evaluation stands for its training.
    """

    command: str
    words: tuple[str, ...]
    uses: tuple[tuple[str, "Wanted"], ...] = ()
    subject: Subject = field(default_factory=lambda: Subject("", ""), kw_only=True)
    seed: int = field(default=0, kw_only=True)
    kind: str = field(default="training", kw_only=True)

    @property
    def job(self) -> tuple[Any, ...]:
        """What is to be run, whatever it is for: equal for equal runs."""
        return (self.command, self.words, tuple((key, used.job) for key, used in self.uses))

    @property
    def depth(self) -> int:
        """How many runs have to come before it, one after another."""
        return max((used.depth + 1 for _, used in self.uses), default=0)

    def with_those_before(self) -> Iterator["Wanted"]:
        """Yield the runs that it uses, those that they use, and itself."""
        for _, used in self.uses:
            yield from used.with_those_before()
        yield self


@dataclass(frozen=True)
class Study:
    """Makes the runs of a paper's networks at one scale.

    Attributes:
        scale: what stands for the paper's data, networks and lengths.
        more: the user's own overrides, by command; they count last.
    """

    scale: Scale
    more: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def teacher(self, dataset: str, name: str, method: str = "erm") -> Wanted:
        """Return the run of a teacher: one, of the first seed.

        Args:
            dataset: as the paper names it.
            name: of the teacher, as the paper names it.
            method: how it is trained: erm, or mixup.
        """
        own, seed = self.scale.teacher_words(dataset, name), self.scale.seeds[0]
        subject = Subject(dataset, "teacher", name, method)
        if _weights(own) is None:
            words = [*self.scale.training_words(dataset), *own, f"method={method}", f"seed={seed}"]
            return self._wanted("finetune", words, subject=subject, seed=seed)
        words = [w for w in own if w.startswith("network")] + self.scale.dataset_words(dataset)
        words += [w for w in self.more.get("finetune", ()) if w.startswith("data")]
        return self._wanted("evaluate", words, subject=subject, seed=seed)

    def has_mixup_teacher(self, dataset: str, name: str) -> bool:
        """Return whether a teacher can be trained with mixup: not if it comes with its weights."""
        return _weights(self.scale.teacher_words(dataset, name)) is None

    def from_labels(self, dataset: str, method: str) -> list[Wanted]:
        """Return the runs of a student that learns from labels alone, one a seed.

        Args:
            dataset: as the paper names it.
            method: erm or mixup.
        """
        return [
            self._wanted(
                "finetune",
                [
                    *self.scale.training_words(dataset),
                    *self.scale.student_words("network"),
                    *self.scale.baseline_words,
                    f"method={method}",
                    f"seed={seed}",
                ],
                subject=Subject(dataset, "student", "", method),
                seed=seed,
            )
            for seed in self.scale.seeds
        ]

    def distilled(
        self,
        dataset: str,
        teacher: str,
        method: str = "kd_mixup",
        temperature: str = "2",
        teacher_method: str = "erm",
    ) -> list[Wanted]:
        """Return the runs of a student that learns a teacher's answers, one a seed.

        Args:
            dataset: as the paper names it.
            teacher: as the paper names it.
            method: kd or kd_mixup.
            temperature: a number or sigma, as text.
            teacher_method: how the teacher was trained: erm, or mixup.
        """
        master = self.teacher(dataset, teacher, teacher_method)
        own = self.scale.teacher_words(dataset, teacher)
        uses: tuple[tuple[str, Wanted], ...] = (("teacher.run", master),)
        words = [*self.scale.training_words(dataset), *self.scale.student_words("student")]
        if _weights(own) is not None:
            uses = ()
            words += [w.replace("network", "teacher", 1) for w in own if w.startswith("network")]
        name = teacher + ("+mixup" if teacher_method == "mixup" else "")
        subject = Subject(dataset, "student", name, method, temperature)
        words += [
            *self.scale.distill_words(dataset), f"method={method}", f"temperature={temperature}"
        ]  # fmt: skip
        return [
            self._wanted("distill", [*words, f"seed={seed}"], uses, subject=subject, seed=seed)
            for seed in self.scale.seeds
        ]

    def evaluated(
        self,
        network: Wanted,
        kind: str,
        teacher: Wanted | None = None,
        baselines: Mapping[str, Wanted] | None = None,
    ) -> Wanted:
        """Return the run that measures more of a network than its training did.

        Args:
            network: whose run.
            kind: the name of an analysis.
            teacher: the teacher beside which it is asked.
            baselines: networks to compare it with, by name.
        """
        words, uses = [*self.scale.settings.of_analysis(kind), f"{kind}=true"], []
        for key, used in (
            ("network", network),
            ("teacher", teacher),
            *((f"baselines.{name}", each) for name, each in (baselines or {}).items()),
        ):
            if used is None:
                continue
            if used.command == "evaluate":  # a public network, known by its weights
                own = [w for w in used.words if w.startswith("network")]
                words += [w.replace("network", key, 1) for w in own]
                words += [w for w in used.words if w not in own] if key == "network" else []
            else:
                uses.append((key if "." in key else f"{key}.run", used))
        return self._wanted(
            "evaluate", words, tuple(uses), subject=network.subject, seed=network.seed, kind=kind
        )

    def beside_teacher(self, dataset: str, teacher: str) -> list[Wanted]:
        """Return vicinal analyses of mixup students at T = 2, one a seed.

        Each is asked beside its teacher, and beside the students of its seed that learned from
        labels alone (`erm`) and without mixing (`kd`).

        Args:
            dataset: as the paper names it.
            teacher: as the paper names it.
        """
        plain = self.from_labels(dataset, "erm")
        distilled = self.distilled(dataset, teacher, "kd")
        return [
            self.evaluated(
                student,
                "vicinal",
                self.teacher(dataset, teacher),
                {"erm": for_seed(plain, student.seed), "kd": for_seed(distilled, student.seed)},
            )
            for student in self.distilled(dataset, teacher, "kd_mixup", "2")
        ]

    def _wanted(
        self,
        command: str,
        words: Sequence[str],
        uses: tuple[tuple[str, Wanted], ...] = (),
        **about: Any,
    ) -> Wanted:
        return Wanted(
            command,
            merged([*words, *self.more.get(command, ())]),
            uses,
            **about,
        )


def for_seed(runs: Sequence[Wanted], seed: int) -> Wanted:
    """Return the run of a seed; of the first one where there is none of that seed."""
    return next((run for run in runs if run.seed == seed), runs[0])


def merged(words: Sequence[str]) -> tuple[str, ...]:
    """Return overrides, of those with one key the last one, where the first one stood."""
    return tuple({word.partition("=")[0]: word for word in words}.values())


def _weights(words: Sequence[str]) -> str | None:
    return next((w for w in words if w.startswith("network.weights=")), None)

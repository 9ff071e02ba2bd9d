"""The rule of each claim: from numbers, printed or measured, to the items that decide it."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import combinations, pairwise
from statistics import fmean

from mixkd.data.corruption_names import PAPER, SEVERITIES
from mixkd.report.cells import Cell, Key, Subject

from .evidence import (
    LEFT_OUT,
    LEVEL,
    MISSING,
    Decision,
    Item,
    Quantity,
    Ranked,
    Sign,
    combined,
    constant,
    correlation,
    decide,
    given,
    ranking,
    together,
    unless_few,
    within,
)
from .reference import Claim, Reference

ACCURACY, CONFIDENCE, ECE = "test/accuracy", "test/confidence", "test/ece"
VICINAL = "vicinal/train"
CIFAR100 = "cifar100"  # the data set of all but Tables 2 and 4


class View:
    """One evaluation's numbers, as rules ask for them.

    Args:
        reference: what the paper calls things.
        cells: one cell a quantity.
        is_printed: whether they are printed; else they are measured.
        infeasible: what is wrong with networks whose ECE cannot be right.
        names: networks and data sets for people, where not the paper's.
        goes_without: whether a network was left out on purpose.
        level: of confidence, of the interval of each measured comparison.

    Attributes:
        read: the keys that were asked for.
    """

    def __init__(
        self,
        reference: Reference,
        cells: Mapping[Key, Cell],
        is_printed: bool,
        infeasible: Mapping[Subject, str],
        names: Mapping[str, str],
        goes_without: Callable[[Subject], bool] = lambda subject: False,
        level: float = LEVEL,
    ) -> None:
        self.reference, self.cells, self.is_printed = reference, cells, is_printed
        self.infeasible, self.names, self.goes_without = infeasible, names, goes_without
        self.level = level
        self.read: dict[Key, None] = {}

    def get(self, subject: Subject, metric: str, label: str = "") -> Quantity:
        """Return a quantity, with its standard error where METRIC_se is one.

        It has no values where there is no such number.
        """
        key = subject.key(metric)
        self.read[key] = None
        cell = self.cells.get(key)
        if cell is None:
            left_out = self.goes_without(subject)
            return Quantity(
                {}, "exact" if self.is_printed else "seeds", label=label, left_out=left_out
            )
        is_fixed = subject.role == "teacher" and len(cell.by_seed) == 1
        kind = "exact" if self.is_printed else "fixed" if is_fixed else "seeds"
        error = self.cells.get(subject.key(f"{metric}_se"))
        return Quantity(
            dict(cell.by_seed), kind, cell.digits, label,  # type: ignore[arg-type]
            errors=error.by_seed if error else {}, level=self.level,
        )  # fmt: skip

    def name(self, name: str) -> str:
        """Return a network or data set for people."""
        dataset = self.reference.datasets.get(name)
        return self.names.get(name, dataset.name if dataset else self.reference.name(name))

    def teachers(self, dataset: str) -> list[str]:
        """Return the paper's teachers, and any others of which there are numbers."""
        others = {
            key.teacher.removesuffix("+mixup"): None
            for key in self.cells
            if key.dataset == dataset and key.teacher
        }
        return list(dict.fromkeys([*self.reference.teachers, *others]))


def teacher(dataset: str, name: str, method: str = "erm") -> Subject:
    """Return a teacher."""
    return Subject(dataset, "teacher", name, method)


def student(dataset: str, of: str, temperature: str = "2", method: str = "kd_mixup") -> Subject:
    """Return the student of a teacher."""
    return Subject(dataset, "student", of, method, temperature)


def baseline(dataset: str, method: str = "erm") -> Subject:
    """Return the student that learns from labels."""
    return Subject(dataset, "student", "", method)


def mixup_helps(view: View, claim: Claim) -> list[Item]:
    """Mixup's accuracy against that of erm."""
    ours, other = (view.get(baseline(CIFAR100, m), ACCURACY) for m in ("mixup", "erm"))
    return [Item(f"mixup, {view.name(CIFAR100)}", (decide(ours, ">", other),))]


def kd_mixup_beats_both_baselines(view: View, claim: Claim) -> list[Item]:
    """An item a teacher and temperature: against mixup, and against kd of that teacher."""
    mixup = view.get(baseline(CIFAR100, "mixup"), ACCURACY, "of mixup")
    items = []
    for name, t in _swept(view):
        kd_mixup = view.get(student(CIFAR100, name, t), ACCURACY)
        kd = view.get(student(CIFAR100, name, method="kd"), ACCURACY, "of kd")
        items.append(
            Item(_at(view, name, t), (decide(kd_mixup, ">", mixup), decide(kd_mixup, ">", kd)))
        )
    return items


def kdmix_ece_below_kd_all_T(view: View, claim: Claim) -> list[Item]:
    """An item a teacher and temperature."""
    items = []
    for name, t in _swept(view):
        kd_mixup = view.get(student(CIFAR100, name, t), ECE)
        kd = view.get(student(CIFAR100, name, method="kd"), ECE, "of kd")
        items.append(Item(_at(view, name, t), (decide(kd_mixup, "<", kd),)))
    return items


def t2_best_acc(view: View, claim: Claim) -> list[Item]:
    """An item a teacher: T = 2 against each other temperature."""
    return _against_others(view, ACCURACY, "2", ">")


def tsigma_worst_ece(view: View, claim: Claim) -> list[Item]:
    """An item a teacher: sigma's ECE and confidence against those of each other temperature."""
    ece = _against_others(view, ECE, "sigma", ">", "ECE")
    confidence = _against_others(view, CONFIDENCE, "sigma", "<", "confidence")
    return [Item(a.label, a.decisions + b.decisions) for a, b in zip(ece, confidence, strict=True)]


def tsigma_slow_start(view: View, claim: Claim) -> list[Item]:
    """An item a teacher: sigma against each other temperature."""
    return _against_others(view, "curve/early_accuracy", "sigma", "<")


def t2_leads_throughout(view: View, claim: Claim) -> list[Item]:
    """An item a teacher and part of the training: T = 2 against each other temperature."""
    return [
        Item(f"{item.label}, {part}", item.decisions)
        for part in ("early", "middle", "late")
        for item in _against_others(view, f"curve/{part}_accuracy", "2", ">")
    ]


def acc_monotone_in_T(view: View, claim: Claim) -> list[Item]:
    """An item a teacher: each temperature against the next."""
    return _falls(view, claim, ACCURACY)


def ece_monotone_in_T(view: View, claim: Claim) -> list[Item]:
    """An item a teacher: each temperature against the next."""
    return _falls(view, claim, ECE)


def high_t_converge(view: View, claim: Claim) -> list[Item]:
    """Final accuracies at temperatures above 4 lie within a narrow range.

    An item a teacher: each two of its students are at most so far apart. Nearer than the range that
    is printed is narrow too. The range itself, a largest less a smallest, only grows with noise:
    differences of two do not.
    """
    most, items = float(claim.values["most"]), []
    for name in view.reference.teachers:
        decisions = []
        for low, high in combinations(claim.values["temperatures"], 2):
            values = (view.get(student(CIFAR100, name, t), ACCURACY) for t in (low, high))
            apart = combined(_minus, *values, label=f"at {low} less at {high}")
            decisions.append(within(apart, -most, most))
        items.append(Item(view.name(name), tuple(decisions)))
    return items


def order_of_magnitude_ece(view: View, claim: Claim) -> list[Item]:
    """An item a data set and teacher; one that is void where the baseline's row cannot be right."""
    ratio, items = constant(float(claim.values["ratio"])), []
    for dataset in view.reference.datasets:
        erm = baseline(dataset)
        if erm in view.infeasible:
            decision = Decision("void", f"the baseline's {view.infeasible[erm]}")
            items.append(Item(view.name(dataset), (decision,)))
            continue
        for name in view.reference.teachers:
            before, after = (view.get(who, ECE) for who in (erm, student(dataset, name)))
            times = combined(_share, before, after, digits=2, label="times the student's")
            items.append(Item(_in(view, dataset, name), (decide(times, ">=", ratio),)))
    return items


def consistent_accuracy_gain(view: View, claim: Claim) -> list[Item]:
    """An item a data set and teacher: its student against erm."""
    items = []
    for dataset, name in _everywhere(view):
        after, before = (
            view.get(student(dataset, name), ACCURACY),
            view.get(baseline(dataset), ACCURACY),
        )
        items.append(Item(_in(view, dataset, name), (decide(after, ">", before),)))
    return items


def student_beats_teacher_when_close(view: View, claim: Claim) -> list[Item]:
    """Accuracy and ECE of one student against its teacher's."""
    name = claim.values["network"]
    signs: dict[str, Sign] = {ACCURACY: ">", ECE: "<"}
    return [
        Item(
            f"{view.name(name)}, {metric.removeprefix('test/')}",
            (
                decide(
                    view.get(student(CIFAR100, name), metric),
                    sign,
                    view.get(teacher(CIFAR100, name), metric, "of the teacher"),
                ),
            ),
        )
        for metric, sign in signs.items()
    ]


def calibration_propagates(view: View, claim: Claim) -> list[Item]:
    """Better calibrated teachers have better calibrated students.

    An item a data set and pair of teachers, unless both have one ECE. It is of how networks rank.
    """
    items = []
    networks: set[Subject] = set()
    for dataset in view.reference.datasets:
        for pair in combinations(view.reference.teachers, 2):
            ece = {name: view.get(teacher(dataset, name), ECE) for name in pair}
            better, worse = sorted(pair, key=lambda name, ece=ece: ece[name].mean)  # type: ignore[misc]
            teachers = decide(ece[better], "<", ece[worse]).called("teachers")
            students = decide(
                view.get(student(dataset, better), ECE), "<", view.get(student(dataset, worse), ECE)
            ).called("students")
            if teachers.state != "fails":
                label = f"{view.name(dataset)}, {view.name(better)} before {view.name(worse)}"
                decision = given(teachers, students)
                items.append(Item(label, (decision,)))
                if decision.state not in ("missing", "left out"):
                    networks |= {teacher(dataset, name) for name in pair}
    return unless_few(items, len(networks))


def student_gap_sign_follows_teacher(view: View, claim: Claim) -> list[Item]:
    """Students of underconfident teachers are so too, and those of overconfident ones are that.

    An item a data set and teacher with a gap: the sign of confidence minus accuracy. Where all
    teachers are of one kind, one half of the sentence is open: its students may always be so.
    """
    items = []
    names: dict[Sign, str] = {"<": "underconfident", ">": "overconfident"}
    signs: set[Sign] = set()
    for dataset, name in _everywhere(view):
        of_teacher, of_student = (
            combined(_minus, view.get(who, CONFIDENCE), view.get(who, ACCURACY))
            for who in (teacher(dataset, name), student(dataset, name))
        )
        sign: Sign = ">" if of_teacher.mean > 0 else "<"
        teachers = decide(of_teacher, sign, constant(0)).called("teacher")
        students = decide(of_student, sign, constant(0)).called("student")
        if teachers.state != "fails":
            decision = given(teachers, students)
            items.append(Item(_in(view, dataset, name), (decision,)))
            signs |= {sign} if decision.state not in ("missing", "left out") else set()
    if signs:
        for sign in names.keys() - signs:
            items.append(Item(f"{names[sign]} teachers", (Decision("undecided", "none"),)))
    return items


def nl_tracks_ece(view: View, claim: Claim) -> list[Item]:
    """Teachers that are less linear tend to be worse calibrated: NL over lambda, and ECE."""
    rows = [
        Ranked(
            view.name(name),
            view.get(teacher(CIFAR100, name), f"{VICINAL}/nl_global"),
            view.get(teacher(CIFAR100, name), ECE),
        )
        for name in view.teachers(CIFAR100)
        if name not in claim.values["without"]
    ]
    return correlation("teachers", rows, "NL", "ECE")


def delta_lin_positive(view: View, claim: Claim) -> list[Item]:
    """The gain is above 0 at all lambdas between 0 and 1, for all teachers.

    An item a teacher: the gain's mean over lambda, and at the lambdas of which it is measured. Its
    peak says nothing: at lambda 0 and 1 the gain is 0, and a maximum is no less.
    """
    items = []
    for name in view.reference.teachers:
        gains = [
            view.get(student(CIFAR100, name), f"{VICINAL}/delta_lin_{which}", label)
            for which, label in (
                ("global", "over lambda"),
                *((f"at_{lam}", f"at lambda {lam}") for lam in claim.values["lambdas"]),
            )
        ]
        measured = [gain for gain in gains if gain.by_seed] or gains[:1]
        if not view.is_printed:
            measured = [gain if gain.errors else _without_error(gain) for gain in measured]
        items.append(Item(view.name(name), tuple(decide(q, ">", constant(0)) for q in measured)))
    return items


def delta_lin_order_follows_nl(view: View, claim: Claim) -> list[Item]:
    """Teachers rank by NL over lambda as by what their students gain in linearity."""
    rows = [
        Ranked(
            view.name(name),
            view.get(teacher(CIFAR100, name), f"{VICINAL}/nl_global"),
            _linearity_gained(view, name),
        )
        for name in view.teachers(CIFAR100)
    ]
    return [ranking("teachers", rows, "NL", "linearity gained")]


def fourfold_kl(view: View, claim: Claim) -> list[Item]:
    """An item a teacher: the ratio of both divergences."""
    least, most = (float(claim.values[end]) for end in ("least", "most"))
    items = []
    for name in view.reference.teachers:
        mixed, real = (
            view.get(student(CIFAR100, name), f"{VICINAL}/kl_{which}")
            for which in ("mixed", "real")
        )
        ratio = combined(_share, mixed, real, digits=1, label="times")
        items.append(Item(view.name(name), (within(ratio, least, most),)))
    return items


def vit_lowest_kl_real(view: View, claim: Claim) -> list[Item]:
    """One student has the lowest KL on real images, yet the largest growth of it on mixed ones.

    An item a teacher but that student's own.
    """
    extreme = claim.values["network"]
    signs: dict[str, Sign] = {"kl_real": ">", "independent_response": "<"}
    items = []
    for name in view.reference.teachers:
        decisions = (
            decide(
                view.get(student(CIFAR100, name), f"{VICINAL}/{metric}"),
                sign,
                view.get(
                    student(CIFAR100, extreme), f"{VICINAL}/{metric}", f"of {view.name(extreme)}"
                ),
            ).called(metric)
            for metric, sign in signs.items()
        )
        if name != extreme:
            items.append(Item(view.name(name), tuple(decisions)))
    return items


def dominance_gt_1(view: View, claim: Claim) -> list[Item]:
    """Half-way between images every teacher's NL exceeds its entropy: an item a teacher.

    Printed curves have no numbers; what follows from others counts (`_dominance_in_print`).
    """
    items = []
    for name in view.reference.teachers:
        half = view.get(teacher(CIFAR100, name), f"{VICINAL}/dominance_half")
        decision = decide(half, ">", constant(1))
        if view.is_printed and decision.state == "missing":
            decision = _dominance_in_print(view, name)
        items.append(Item(view.name(name), (decision,)))
    return items


def _dominance_in_print(view: View, name: str) -> Decision:
    """Return what printed numbers other than the dominance say of it half-way between images.

    An NL above ln(classes), the largest entropy, exceeds any. NL and entropy as means over lambda:
    NL is 0 at both ends, so that its part is largest in the middle; a ratio above 1 there is one
    half-way, a ratio below 1 is open. Either breaks eq. 11, by which NL is at most the entropy.
    """
    most = math.log(view.reference.datasets[CIFAR100].classes)
    peak, mean, entropy = (
        view.get(teacher(CIFAR100, name), f"{VICINAL}/{metric}")
        for metric in ("nl_peak", "nl_global", "entropy_global")
    )
    broken = "which eq. 11 rules out"
    above = decide(peak, ">", constant(most, 3, "= ln(classes)"))
    if above.state == "holds":
        return Decision("holds", f"peak NL {above.text} >= entropy, {broken}", above.margin)
    if not (mean.by_seed and entropy.by_seed):
        return LEFT_OUT
    ratio = combined(_share, mean, entropy, digits=2, label=f"= {mean} / {entropy}")
    means = decide(ratio, ">", constant(1)).called("means over lambda")
    if means.state == "holds":
        return replace(means, text=f"{means.text}, {broken}")
    return replace(means, state="undecided")


def robustness_follows_delta_lin(view: View, claim: Claim) -> list[Item]:
    """Students rank by linearity gained as by the mean accuracy gained over all corruptions."""
    every = [(name, s) for name in PAPER for s in range(1, SEVERITIES + 1)]
    rows = [
        Ranked(
            view.name(name),
            _linearity_gained(view, name),
            _mean_gain(view, name, every),
        )
        for name in view.teachers(CIFAR100)
    ]
    return [ranking("students", rows, "linearity gained", "accuracy gained")]


def smooth_corruptions_benefit_most(view: View, claim: Claim) -> list[Item]:
    """An item a teacher and corruption: whether at most one other brings a larger gain."""
    items = []
    for name in view.reference.teachers:
        gains = {
            corruption: _mean_gain(view, name, [(corruption, s) for s in range(1, SEVERITIES + 1)])
            for corruption in PAPER
        }
        for smooth in claim.values["corruptions"]:
            decision = _among_two(smooth, gains)
            items.append(Item(f"{view.name(name)}, {smooth}", (decision,)))
    return items


def pixelate_onset(view: View, claim: Claim) -> list[Item]:
    """A student is below the baseline from its severity on, and above it before.

    An item a teacher and severity. A printed number that is another teacher's at that severity, to
    each digit, is one case with it: one of both is a copy.
    """
    names: dict[tuple[int, Sign, float | str], list[str]] = {}
    decisions: dict[tuple[int, Sign, float | str], Decision] = {}
    for name, onset in claim.values["onset"].items():
        for severity in range(1, SEVERITIES + 1):
            metric = f"corruption/pixelate/{severity}/accuracy"
            accuracy, erm = (
                view.get(who, metric) for who in (student(CIFAR100, name), baseline(CIFAR100))
            )
            sign: Sign = "<" if severity >= int(onset) else ">"
            case = severity, sign, accuracy.mean if view.is_printed and accuracy.by_seed else name
            names.setdefault(case, []).append(view.name(name))
            decisions[case] = decide(accuracy, sign, erm)
    return [
        Item(f"{' and '.join(sharing)}, severity {case[0]}", (decisions[case],), len(sharing) > 1)
        for case, sharing in names.items()
    ]


def noise_gain_falls_with_severity(view: View, claim: Claim) -> list[Item]:
    """The gain under noise is smaller than under smooth corruptions, and falls with severity.

    Two items a teacher: the mean gain against that under each of the smooth corruptions, and the
    gain at the highest severity against that at the lowest.
    """
    items = []
    severities = range(1, SEVERITIES + 1)
    for name in view.reference.teachers:
        noise, *smooth = (
            _mean_gain(view, name, [(corruption, s) for s in severities], f"under {corruption}")
            for corruption in ("gaussian_noise", *claim.values["smooth"])
        )
        last, first = (
            _mean_gain(view, name, [("gaussian_noise", s)], f"at severity {s}")
            for s in (SEVERITIES, 1)
        )
        smaller = tuple(decide(noise, "<", gain) for gain in smooth)
        items.append(Item(f"{view.name(name)}, smaller", smaller))
        items.append(Item(f"{view.name(name)}, falling", (decide(last, "<", first),)))
    return items


def mixup_teacher_hurts_student(view: View, claim: Claim) -> list[Item]:
    """An item a teacher: its student's accuracy where the teacher had mixup, and where not."""
    return [
        Item(
            view.name(name),
            (
                decide(
                    view.get(student(CIFAR100, f"{name}+mixup"), ACCURACY),
                    "<",
                    view.get(student(CIFAR100, name), ACCURACY),
                ),
            ),
        )
        for name in claim.values["networks"]
    ]


def mixup_lowers_vscore_raises_accuracy(view: View, claim: Claim) -> list[Item]:
    """An item a network: mixup against erm in V-measure and accuracy."""
    items = []
    for name in claim.values["networks"]:
        mixup, erm = (_network(view, name, method) for method in ("mixup", "erm"))
        decision = together(
            _between(view, mixup, "<", erm, "features/v_measure").called("V-measure"),
            _between(view, mixup, ">", erm, ACCURACY).called("accuracy"),
        )
        items.append(Item(view.name(name), (decision,)))
    return items


def vscore_rises_with_capacity(view: View, claim: Claim) -> list[Item]:
    """Networks by their order of size and by their V-measure under erm."""
    order = view.reference.capacity
    rows = [
        Ranked(
            view.name(name),
            constant(len(order) - place),
            view.get(_network(view, name, "erm"), "features/v_measure"),
        )
        for place, name in enumerate(order)
    ]
    return [ranking("networks", rows, "size (rank)", "V-measure")]


Rule = Callable[[View, Claim], list[Item]]

RULES: Mapping[str, Rule] = {
    rule.__name__: rule
    for rule in (
        mixup_helps, kd_mixup_beats_both_baselines, t2_best_acc, acc_monotone_in_T,
        ece_monotone_in_T, kdmix_ece_below_kd_all_T, tsigma_worst_ece, order_of_magnitude_ece,
        consistent_accuracy_gain, nl_tracks_ece, delta_lin_positive, delta_lin_order_follows_nl,
        fourfold_kl, vit_lowest_kl_real, robustness_follows_delta_lin,
        smooth_corruptions_benefit_most, pixelate_onset, dominance_gt_1,
        mixup_teacher_hurts_student, mixup_lowers_vscore_raises_accuracy, calibration_propagates,
        student_gap_sign_follows_teacher, student_beats_teacher_when_close, tsigma_slow_start,
        t2_leads_throughout, high_t_converge, vscore_rises_with_capacity,
        noise_gain_falls_with_severity,
    )
}  # fmt: skip


def _minus(left: float, right: float) -> float:
    return left - right


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.inf


def _swept(view: View) -> Iterable[tuple[str, str]]:
    """Yield each teacher with each temperature."""
    return ((name, t) for name in view.reference.teachers for t in view.reference.temperatures)


def _everywhere(view: View) -> Iterable[tuple[str, str]]:
    """Yield each data set with each teacher."""
    return ((d, name) for d in view.reference.datasets for name in view.reference.teachers)


def _at(view: View, name: str, temperature: str) -> str:
    return f"{view.name(name)}, T = {temperature}"


def _in(view: View, dataset: str, name: str) -> str:
    return f"{view.name(dataset)}, {view.name(name)}"


def _network(view: View, name: str, method: str) -> Subject:
    """Return a network that learns from labels: the student, or one of the teachers."""
    if name == view.reference.student:
        return baseline(CIFAR100, method)
    return teacher(CIFAR100, name, method)


def _between(view: View, left: Subject, sign: Sign, right: Subject, metric: str) -> Decision:
    return decide(view.get(left, metric), sign, view.get(right, metric))


def _against_others(
    view: View, metric: str, temperature: str, sign: Sign, name: str = ""
) -> list[Item]:
    """Return an item a teacher: one temperature against each of the others."""
    items = []
    for of in view.reference.teachers:
        chosen = view.get(student(CIFAR100, of, temperature), metric)
        decisions = [
            decide(chosen, sign, view.get(student(CIFAR100, of, t), metric, f"at {t}"))
            for t in view.reference.temperatures
            if t != temperature
        ]
        named = (decision.called(name) if name else decision for decision in decisions)
        items.append(Item(view.name(of), tuple(named)))
    return items


def _falls(view: View, claim: Claim, metric: str) -> list[Item]:
    """Return an item a teacher: each of the claim's temperatures against the next."""
    items = []
    for name in view.reference.teachers:
        values = [
            view.get(student(CIFAR100, name, t), metric, f"at {t}")
            for t in claim.values["temperatures"]
        ]
        decisions = tuple(decide(a, ">", b) for a, b in pairwise(values))
        items.append(Item(view.name(name), decisions))
    return items


def _linearity_gained(view: View, name: str) -> Quantity:
    """Return a student's gain in linearity over its teacher, by which students rank.

    It is the mean over lambda. Print has peaks alone, of which the paper's sentence is.
    """
    which = "peak" if view.is_printed else "global"
    return view.get(student(CIFAR100, name), f"{VICINAL}/delta_lin_{which}")


def _without_error(gain: Quantity) -> Quantity:
    """Return what was measured before gains had standard errors, which its label says."""
    return replace(gain, label=f"{gain.label} (no standard error: measured before)")


def _mean_gain(view: View, name: str, sets: Iterable[tuple[str, int]], label: str = "") -> Quantity:
    """Return the mean gain in accuracy of a student over erm, on sets of corrupted images."""
    gains = []
    for corruption, severity in sets:
        metric = f"corruption/{corruption}/{severity}/accuracy"
        after, before = (
            view.get(who, metric) for who in (student(CIFAR100, name), baseline(CIFAR100))
        )
        gains.append(combined(_minus, after, before))
    return combined(lambda *values: fmean(values), *gains, label=label)


def _among_two(name: str, gains: Mapping[str, Quantity]) -> Decision:
    """Return whether at most one of the other gains is larger than that of `name`."""
    others = {
        other: decide(gain, ">", gains[name]) for other, gain in gains.items() if other != name
    }
    states = [decision.state for decision in others.values()]
    for absent in (LEFT_OUT, MISSING):
        if absent.state in states:
            return absent
    larger, smaller = states.count("holds"), states.count("fails")
    tests = sum(decision.tests for decision in others.values())
    text = f"{gains[name]}"
    if ahead := [f"{other} {gains[other]}" for other, f in others.items() if f.state == "holds"]:
        text += f" behind {', '.join(ahead)}"
    elif smaller == len(others):
        text += ", the largest"
    if open_ := [f"{other} {f.text}" for other, f in others.items() if f.state == "undecided"]:
        text += f"; undecided: {', '.join(open_)}"
    if larger >= 2:
        return Decision("fails", text, tests=tests)
    return Decision("holds" if smaller >= len(others) - 1 else "undecided", text, tests=tests)

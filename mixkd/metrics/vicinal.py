"""How a network answers between images: equations 10 to 15 of the paper, in float64 from logits.

A pair of images i, j is mixed to x~ = lam * x_i + (1 - lam) * x_j. What a linear model would answer
is lam * p(x_i) + (1 - lam) * p(x_j).
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.integrate import trapezoid
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from mixkd.errors import NotFinite, check_known, check_positive, shown
from mixkd.metrics import standard_error
from mixkd.vicinal import mix

PAIR = ("teacher", "student")  # networks of these names are compared with each other
FIXED_LAMBDAS = (0.25, 0.5, 0.75)  # chosen before any number was seen, unlike that of a peak


def check_pairs(first: Tensor, second: Tensor, shape: str) -> None:
    """Raise a ValueError unless two tensors are of one shape, and floats."""
    if first.shape != second.shape or not all(x.is_floating_point() for x in (first, second)):
        got = ", ".join(f"{x.dtype} {list(x.shape)}" for x in (first, second))
        raise ValueError(f"got {got}; takes floats {shape} of both images of each pair")


def check_grid(lambdas: Sequence[float]) -> None:
    """Raise a ValueError unless lambdas rise from 0 to 1."""
    steps = np.diff(lambdas)
    if len(lambdas) < 2 or not (steps > 0).all() or (lambdas[0], lambdas[-1]) != (0, 1):
        raise ValueError(f"lambdas: got {shown(list(lambdas))}; takes numbers rising from 0 to 1")


def entropy(log_p: Tensor) -> Tensor:
    """Return -sum p log p in nats, shape [b], of log-probabilities [b, classes]."""
    return -(log_p.exp() * log_p).sum(dim=1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) in nats, shape [b], of log-probabilities [b, classes]."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


class Line:
    """What a linear model would answer between the images i and j of pairs, in float64.

    Args:
        first: logits of the images i, shape [b, classes], any floating dtype.
        second: logits of the images j.

    Examples:
        >>> import torch
        >>> sure = torch.tensor([[1.0, 1e-6]]).log()
        >>> line = Line(sure, sure.flip(1))  # one image of each class
        >>> p, log_p = line.at(0.25)
        >>> [round(x, 3) for x in p[0].tolist()]
        [0.25, 0.75]
    """

    def __init__(self, first: Tensor, second: Tensor) -> None:
        check_pairs(first, second, "[b, classes]")
        self.shape = first.shape
        self._logs = [x.double().log_softmax(dim=1) for x in (first, second)]
        self._probabilities = [log_p.exp() for log_p in self._logs]
        self._entropies = [entropy(log_p) for log_p in self._logs]

    def at(self, lam: float) -> tuple[Tensor, Tensor]:
        """Return the answers and their logarithms, shape [b, classes], at a weight of i."""
        if not 0 <= lam <= 1:
            raise ValueError(f"lam: got {lam}; takes a number from 0 to 1")
        if lam in (0, 1):
            end = 0 if lam else 1
            return self._probabilities[end], self._logs[end]
        (p_i, p_j), (log_i, log_j) = self._probabilities, self._logs
        p = torch.lerp(p_j, p_i, lam)
        # `logaddexp` is finite where the probability is too small for a number. It takes a CPU
        # eight times as long as `log`; an accelerator would wait for the answer of this question.
        if p.device.type == "cpu" and p.min() > torch.finfo(p.dtype).tiny:
            return p, p.log()
        return p, torch.logaddexp(log_i + math.log(lam), log_j + math.log1p(-lam))

    def clean_entropy(self, lam: float) -> Tensor:
        """Return the mean of both answers' entropies with weights lam and 1 - lam, shape [b]."""
        return lam * self._entropies[0] + (1 - lam) * self._entropies[1]


def pair_values(line: Line, mixed: Tensor, lam: float) -> dict[str, Tensor]:
    """Return how a network answers between the images of each pair, at one lambda.

    Args:
        line: between the answers to its images.
        mixed: logits of the mixed images, shape [b, classes]; at lam 1 and 0 those of i and j.
        lam: in [0, 1].

    Returns:
        float64, shape [b], in nats: `nl`, the KL from the linear answer to the given one (eq. 12);
        `entropy`, of the given answer; `linear_entropy`, of the linear one; `clean_entropy`, the
        mean of the clean answers' entropies with weights lam and 1 - lam.

    Examples:
        >>> import torch
        >>> sure = torch.tensor([[1.0, 1e-6]]).log()
        >>> line = Line(sure, sure.flip(1))
        >>> values = pair_values(line, torch.zeros(1, 2), lam=0.5)  # halfway, and unsure: linear
        >>> round(values["nl"].item(), 4), round(values["entropy"].item(), 4)
        (0.0, 0.6931)
    """
    if mixed.shape != line.shape:
        raise ValueError(f"mixed: got {list(mixed.shape)}; takes {list(line.shape)}, as the line")
    log_m = mixed.double().log_softmax(dim=1)
    p, log_p = line.at(lam)
    return {
        "nl": (p * (log_p - log_m)).sum(dim=1),
        "entropy": entropy(log_m),
        "linear_entropy": -(p * log_p).sum(dim=1),
        "clean_entropy": line.clean_entropy(lam),
    }


def answers_between(
    networks: Mapping[str, Callable[[Tensor], Tensor]],
    first: Tensor,
    second: Tensor,
    lambdas: Sequence[float],
) -> Iterator[dict[str, Tensor]]:
    """Ask networks about a batch of pairs of views, over a grid of lambda.

    A pair costs a network one forward pass a lambda: at 0 and 1 the answers are the clean ones.

    Args:
        networks: by name, from views to logits.
        first: the images i, float [b, 3, h, w].
        second: the images j.
        lambdas: the grid on [0, 1], both ends included.

    Yields:
        Logits [b, classes] by network: of the images i, of the images j, and then of the images
        mixed at each lambda between 0 and 1.

    Examples:
        >>> import torch
        >>> views = torch.rand(4, 2), torch.rand(4, 2)
        >>> answers = answers_between({"network": torch.nn.Linear(2, 3)}, *views, [0.0, 0.5, 1.0])
        >>> [list(logits["network"].shape) for logits in answers]
        [[4, 3], [4, 3], [4, 3]]
    """
    check_pairs(first, second, "[b, ...]")
    check_grid(lambdas)
    return _answers(networks, first, second, lambdas)


def _answers(
    networks: Mapping[str, Callable[[Tensor], Tensor]],
    first: Tensor,
    second: Tensor,
    lambdas: Sequence[float],
) -> Iterator[dict[str, Tensor]]:
    yield {name: network(first) for name, network in networks.items()}
    yield {name: network(second) for name, network in networks.items()}
    for lam in lambdas:
        if 0 < lam < 1:
            mixed = mix(first, second, torch.full((len(first),), lam, device=first.device))
            yield {name: network(mixed) for name, network in networks.items()}


class VicinalLinearity(Metric):
    """How networks answer between pairs of images: equations 10 to 15 of the paper.

    `update(answers, position)` takes what `answers_between` yields of a batch of pairs, and where
    they are among all pairs, int64 [b]. `compute()` returns what `summary` does, over all
    processes. The state is some float64 values for each network, pair and lambda: medians, and
    standard errors of paired differences, need every pair. It does not depend on their order.

    Args:
        networks: their names; `teacher` and `student` are also compared with each other.
        lambdas: the grid on [0, 1], both ends included.
        temperatures: of the networks for which nl is also found with scaled logits.

    Examples:
        >>> import torch
        >>> network = torch.nn.Linear(2, 3)
        >>> views = torch.rand(4, 2), torch.rand(4, 2)
        >>> metric = VicinalLinearity(["network"], [0.0, 0.5, 1.0])
        >>> answers = answers_between({"network": network}, *views, [0.0, 0.5, 1.0])
        >>> metric.update(answers, torch.arange(4))
        >>> rows, metrics = metric.compute()
        >>> [row["lam"] for row in rows["network"]], rows["network"][0]["nl"]
        ([0.0, 0.5, 1.0], 0.0)
    """

    full_state_update = False
    position: list[Tensor]
    teacher_sum: list[Tensor]  # of its probabilities over pairs: at most one, [lambdas, classes]

    def __init__(
        self,
        networks: Sequence[str],
        lambdas: Sequence[float],
        temperatures: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_grid(lambdas)
        if isinstance(networks, str) or not networks or len({*networks}) < len(networks):
            raise ValueError(f"networks: got {shown(networks)}; takes their names, each once")
        for name, temperature in (temperatures or {}).items():
            check_known("temperatures", name, networks)
            check_positive(f"temperatures of {name}", temperature)
        self.networks, self.lambdas = tuple(networks), tuple(lambdas)
        self.temperatures = dict(temperatures or {})
        self.has_pair = {*PAIR} <= {*networks}
        self.names = {
            name: (
                *("nl", "entropy", "linear_entropy", "clean_entropy"),
                *(["nl_scaled"] if name in self.temperatures else []),
                *(["kl"] if name == "student" and self.has_pair else []),
            )
            for name in self.networks
        }
        # `values_of_<network>` holds float64 [b, names, lambdas] a batch.
        for state in ("position", "teacher_sum", *(f"values_of_{name}" for name in self.networks)):
            self.add_state(state, [], dist_reduce_fx="cat")

    def update(self, answers: Iterable[Mapping[str, Tensor]], position: Tensor) -> None:
        """Count a batch of pairs."""
        between = iter(answers)
        first, second = next(between), next(between)
        lines = {name: Line(first[name], second[name]) for name in self.networks}
        scaled = {
            name: Line(first[name].double() / t, second[name].double() / t)
            for name, t in self.temperatures.items()
        }
        columns: dict[str, list[Tensor]] = {name: [] for name in self.networks}
        teacher: list[Tensor] = []
        for lam in self.lambdas:
            logits = next(between) if 0 < lam < 1 else first if lam else second
            for name, line in lines.items():
                values = pair_values(line, logits[name], lam)
                if name in scaled:
                    divided = logits[name].double() / self.temperatures[name]
                    values["nl_scaled"] = pair_values(scaled[name], divided, lam)["nl"]
                if "kl" in self.names[name]:
                    log_t, log_s = (logits[n].double().log_softmax(1) for n in PAIR)
                    values["kl"] = kl(log_t, log_s)
                    teacher.append(log_t.exp().sum(dim=0))
                columns[name].append(torch.stack([values[key] for key in self.names[name]], dim=1))
        self.position.append(position)
        for name, values_at_lambdas in columns.items():
            getattr(self, f"values_of_{name}").append(torch.stack(values_at_lambdas, dim=2))
        if teacher:
            self.teacher_sum = [sum(self.teacher_sum, torch.stack(teacher))]

    def compute(self) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
        """Return the rows of vicinal.csv by network, and the headline figures.

        Raises:
            NotFinite: if a network's logits were not finite.
        """
        if not len(self.position):
            raise ValueError("no pairs were counted")
        position = dim_zero_cat(self.position)
        order = position.argsort()
        values: dict[str, dict[str, np.ndarray]] = {}
        for name, keys in self.names.items():
            state = dim_zero_cat(getattr(self, f"values_of_{name}"))[order]
            if not state[:, [key != "kl" for key in keys]].isfinite().all():
                raise NotFinite(f"the logits of {name} are not finite")
            columns = state.transpose(0, 1).contiguous().cpu().numpy()
            values[name] = dict(zip(keys, columns, strict=True))
        mean_teacher = None
        if self.has_pair:
            sums = torch.stack(torch.split(dim_zero_cat(self.teacher_sum), len(self.lambdas)))
            mean_teacher = (sums.sum(dim=0) / len(position)).cpu().numpy()
        return linearity_summary(values, mean_teacher, self.lambdas)


def linearity_summary(
    values: Mapping[str, Mapping[str, np.ndarray]],
    mean_teacher: np.ndarray | None,
    lambdas: Sequence[float],
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, float]]:
    """Return the rows of vicinal.csv by network, and the headline figures.

    The figures are `<network>/nl_global` and so on; of a pair also what `alignment_metrics` and
    `gain_metrics` return, and of a lone network or a student its gains over the baselines, which
    at each lambda are columns of its rows.

    Args:
        values: by network and name, float64 [pairs, lambdas]: what `pair_values` returns,
            `nl_scaled` of networks with a temperature, and the student's `kl` from its teacher.
        mean_teacher: the teacher's mean probabilities, [lambdas, classes]; None without a teacher.
        lambdas: the grid.
    """
    rows = {name: network_rows(of_network, lambdas) for name, of_network in values.items()}
    metrics: dict[str, float] = {}
    for name, curve in rows.items():
        metrics |= {f"{name}/{key}": value for key, value in curve_metrics(curve).items()}
    if mean_teacher is not None:
        aligned = alignment_rows(
            values["student"]["kl"], values["teacher"]["entropy"], mean_teacher
        )
        for row, columns in zip(rows["student"], aligned, strict=True):
            row.update(columns)
        metrics |= alignment_metrics(aligned, lambdas)
    learner = "student" if "student" in rows else "network"
    for name in [name for name in rows if name != learner]:
        against = "" if name == "teacher" else name
        gains, figures = gain_metrics(values[name], values[learner], lambdas, against)
        for row, gain in zip(rows[learner], gains, strict=True):
            row.update(gain)
        metrics |= figures
    return rows, dict(sorted(metrics.items()))


def network_rows(
    values: Mapping[str, np.ndarray], lambdas: Sequence[float]
) -> list[dict[str, Any]]:
    """Return a row a lambda of a network's `pair_values`, by name, float64 [pairs, lambdas] each.

    Its columns are those of vicinal.csv, in nats but for dominance: `nl` with its standard error
    (eq. 12), `entropy`, `dominance`, the ratio of the two means (eq. 13), the median of the pairs'
    ratios, `linearity_information` (eq. 14), and `entropy_gap`, H(p(x~)) - H(p(x)), which eq. 11
    takes for nl.
    """
    rows = []
    for k, lam in enumerate(lambdas):
        column = {name: array[:, k] for name, array in values.items()}
        nl, h = column["nl"], column["entropy"]
        row = {
            "lam": float(lam),
            "nl": nl.mean(),
            "nl_se": standard_error(nl),
            "entropy": h.mean(),
            "entropy_se": standard_error(h),
            "dominance": ratio(nl.mean(), h.mean()),
            "dominance_median": np.median(ratio(nl, h)),
            "linearity_information": (column["linear_entropy"] - nl).mean(),
            "entropy_gap": (h - column["clean_entropy"]).mean(),
        }
        if "nl_scaled" in column:
            row["nl_scaled"] = column["nl_scaled"].mean()
            row["nl_scaled_se"] = standard_error(column["nl_scaled"])
        rows.append({name: float(value) for name, value in row.items()} | {"n_pairs": len(nl)})
    return rows


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole; 0 where there is no part, and infinity where only the whole is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(part == 0, 0.0, np.divide(part, np.abs(whole)))  # -0.0 is 0


def over_lambda(values: Sequence[float], lambdas: Sequence[float]) -> float:
    """Return the mean under lambda ~ U(0, 1), by the trapezoid rule on the grid."""
    return float(trapezoid(values, lambdas))


def curve_metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return a network's headline figures: global (over lambda) and peak (the grid's maximum).

    Those that are not finite, as the dominance of a network without any entropy, are left out.
    """
    lambdas = [row["lam"] for row in rows]
    metrics = {}
    for name in ("nl", "nl_scaled", "entropy", "linearity_information", "entropy_gap"):
        if name in rows[0]:
            metrics[f"{name}_global"] = over_lambda([row[name] for row in rows], lambdas)
    peak = max(rows, key=lambda row: row["nl"])
    metrics |= {"nl_peak": peak["nl"], "nl_peak_se": peak["nl_se"], "nl_peak_lam": peak["lam"]}
    if "nl_scaled" in rows[0]:
        metrics["nl_scaled_peak"] = max(row["nl_scaled"] for row in rows)
    metrics["dominance_peak"] = max(row["dominance"] for row in rows)
    metrics["dominance_global"] = float(
        ratio(np.array(metrics["nl_global"]), np.array(metrics["entropy_global"]))
    )
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def alignment_rows(
    divergence: np.ndarray, teacher_entropy: np.ndarray, mean_teacher: np.ndarray
) -> list[dict[str, float]]:
    """Return, for each lambda, how a student follows its teacher.

    Args:
        divergence: KL(p_t || p_s) in nats, shape [pairs, lambdas].
        teacher_entropy: H(p_t), shape [pairs, lambdas].
        mean_teacher: the teacher's mean probabilities, shape [lambdas, classes].

    Returns:
        `kl_teacher_student`, its `kl_se`, and `mi_bound` = H(E[p_t]) - E[CE(p_t, p_s)] (eq. 10 with
        the entropy of the mean answer, which makes it a bound: Barber and Agakov 2003). With the
        mean of the entropies, as the paper writes it, it would be -KL.
    """
    rows = []
    for d, h, p in zip(divergence.T, teacher_entropy.T, mean_teacher, strict=True):
        entropy_of_mean = float(-(p[p > 0] * np.log(p[p > 0])).sum())
        mi_bound = entropy_of_mean - float((d + h).mean())
        row = {"kl_teacher_student": float(d.mean()), "kl_se": standard_error(d)}
        rows.append(row | {"mi_bound": mi_bound})
    return rows


def alignment_metrics(
    rows: Sequence[Mapping[str, float]], lambdas: Sequence[float]
) -> dict[str, float]:
    """Return Table 6's alignment: on real images (both ends), mixed ones, and their difference."""
    divergence = [row["kl_teacher_student"] for row in rows]
    bound = [row["mi_bound"] for row in rows]
    real, mixed = (divergence[0] + divergence[-1]) / 2, over_lambda(divergence, lambdas)
    return {
        "kl_real": real,
        "kl_mixed": mixed,
        "independent_response": mixed - real,
        "mi_bound_real": (bound[0] + bound[-1]) / 2,
        "mi_bound_mixed": over_lambda(bound, lambdas),
        "mi_paper_real": -real,
        "mi_paper_mixed": -mixed,
    }


def gain_metrics(
    other: Mapping[str, np.ndarray],
    network: Mapping[str, np.ndarray],
    lambdas: Sequence[float],
    against: str = "",
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Return the linearity gain NL_other - NL_network (eq. 15) with its standard errors, in nats.

    Both networks answer between the same pairs, so that the errors are of the paired differences:
    their sample standard deviation over sqrt(n). They count which pairs were drawn, not the fit of
    the temperatures, nor other seeds of training.

    Args:
        other: `nl` of the teacher or of a baseline, float64 [pairs, lambdas]; where there is
            `nl_scaled` too, of logits over the fitted temperatures, so is its gain.
        network: the same of the student, over the same pairs.
        lambdas: the grid.
        against: the baseline's name; empty for the teacher.

    Returns:
        A row a lambda of `delta_lin` and `delta_lin_se`; and figures by that name with `_global`,
        the mean over lambda, with `_at_0.25`, `_at_0.5` and `_at_0.75`, where the grid has it, each
        with its `_se`; and `_peak`, `_peak_se` and `_peak_lam`: the grid's maximum, its error and
        place. A maximum over noisy values is biased upwards, and never below the 0 of lambda 0 and
        1: to say whether there is a gain, take the mean or a fixed lambda. The name is
        `delta_lin_<against>` of a baseline, `delta_lin_scaled...` of scaled logits.

    Examples:
        >>> teacher = {"nl": np.array([[0.0, 3.0, 0.0], [0.0, 5.0, 0.0]])}
        >>> student = {"nl": np.array([[0.0, 1.0, 0.0], [0.0, 2.0, 0.0]])}
        >>> rows, metrics = gain_metrics(teacher, student, [0.0, 0.5, 1.0])
        >>> rows[1]  # differences 2 and 3
        {'delta_lin': 2.5, 'delta_lin_se': 0.5}
        >>> metrics["delta_lin_global"], metrics["delta_lin_global_se"]
        (1.25, 0.25)
    """
    rows: list[dict[str, float]] = [{} for _ in lambdas]
    metrics: dict[str, float] = {}
    for name in ("nl", "nl_scaled"):
        if name not in network or name not in other:
            continue
        key = "delta_lin" + name[2:] + (f"_{against}" if against else "")
        pairs = other[name] - network[name]
        # As the difference of the two curves, to the last digit.
        columns = zip(other[name].T, network[name].T, strict=True)
        gain = [float(before.mean() - after.mean()) for before, after in columns]
        errors = [standard_error(column) for column in pairs.T]
        for row, value, error in zip(rows, gain, errors, strict=True):
            row |= {key: value, f"{key}_se": error}
        peak = int(np.argmax(gain))
        metrics |= {
            f"{key}_global": over_lambda(gain, lambdas),
            f"{key}_global_se": standard_error(trapezoid(pairs, lambdas, axis=1)),
            f"{key}_peak": gain[peak],
            f"{key}_peak_se": errors[peak],
            f"{key}_peak_lam": float(lambdas[peak]),
        }
        for fixed in FIXED_LAMBDAS:
            nearest = int(np.argmin(np.abs(np.array(lambdas) - fixed)))
            if math.isclose(lambdas[nearest], fixed):
                metrics[f"{key}_at_{fixed}"] = gain[nearest]
                metrics[f"{key}_at_{fixed}_se"] = errors[nearest]
    return rows, {name: value for name, value in metrics.items() if math.isfinite(value)}

"""Vicinal analysis: the whole of it, L forward passes, and one curve point at a time."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from experiments.bench.parts import configured, random_splits, timm_network
from experiments.bench.timing import Figure, in_turn, ratios, timed
from mixkd.data.batches import PairBatch
from mixkd.data.images import Images
from mixkd.data.module import ImageDataModule
from mixkd.data.pairs import draw_pairs
from mixkd.evaluation.one_pass import run_pass
from mixkd.metrics.vicinal import Line, VicinalLinearity, answers_between, pair_values
from mixkd.training.fit import make_trainer
from mixkd.vicinal import mix

PAIRS, LAMBDAS, BATCH = 256, 21, 128


def figures(repeats: int) -> Iterator[Figure]:
    """Yield what the analysis costs of L forward passes, and what it would cost naively."""
    for classes, naively in ((10, False), (1000, True)):
        times = compared(classes, naively, repeats)
        yield Figure(
            f"vicinal analysis, MobileNetV2, {classes:,} classes: time / {LAMBDAS} forward passes",
            ratios(times["analysis"], times["passes"]),
            "The answers to both images of a pair are those at lambda 0 and 1, and serve all "
            "others; mixing, float64 entropies and divergences, and their sums come on top.",
            ("at most", 1.1),
        )
    yield Figure(
        f"the same, both images asked for again at every lambda: time / {LAMBDAS} forward passes",
        ratios(times["naive"], times["passes"]),
        "What a loop over lambda costs that follows equation 12 term by term.",
    )


def compared(classes: int, naively: bool, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of the `analysis`, of L `passes`, and if asked of a `naive` loop."""
    splits = random_splits(2 * PAIRS, 32, classes)
    cfg = configured(f"data.eval_batch_size={BATCH}")
    network = timm_network("mobilenetv2_100", classes).eval()
    pairs = draw_pairs(len(splits.train), PAIRS, seed=0)
    assert isinstance(splits.train, Images)
    pixels = splits.train.pixels
    first, second = ((pixels[torch.from_numpy(at)] / 255).chunk(PAIRS // BATCH) for at in pairs)
    grid = np.linspace(0, 1, LAMBDAS).tolist()

    def analysis() -> None:
        data = ImageDataModule(splits, cfg.data)
        data.tested, data.pairs = "train", pairs
        metric = VicinalLinearity(["network"], grid)

        def update(batch: PairBatch) -> None:
            answers = answers_between({"network": network}, batch.first, batch.second, grid)
            metric.update(answers, batch.position)

        run_pass(make_trainer(cfg.trainer), data, [network, metric], update, metric.compute)

    def answer(views: Tensor) -> Tensor:
        with torch.inference_mode():
            logits: Tensor = network(views)
        return logits

    def passes() -> None:
        for views in first:
            for _ in grid:
                answer(views)

    def naive() -> None:
        for one, other in zip(first, second, strict=True):
            for lam in grid:
                mixed = mix(one, other, torch.full((len(one),), lam))
                pair_values(Line(answer(one), answer(other)), answer(mixed), lam)

    works = {"analysis": timed(analysis), "passes": timed(passes)}
    return in_turn(works | ({"naive": timed(naive)} if naively else {}), repeats)

"""`mixkd evaluate`: measure any trained network, or a student beside its teacher."""

from dataclasses import replace

import numpy as np

from mixkd.callbacks.loggers import log_results, open_loggers
from mixkd.config.tasks import EvaluateConfig, EvaluateLogitsConfig
from mixkd.console import say
from mixkd.data.batches import make_views
from mixkd.data.module import ImageDataModule, check_shares
from mixkd.data.splits import Splits, load_splits
from mixkd.errors import UserError
from mixkd.evaluation.analysis import Context, analyses_of
from mixkd.evaluation.batchnorm import BatchNormEstimation
from mixkd.evaluation.calibration import can_fit, measure
from mixkd.evaluation.logits import evaluate_logits
from mixkd.files.layout import METRICS
from mixkd.files.writing import write_json
from mixkd.modules.classifier import Classifier
from mixkd.networks.build import build_network
from mixkd.networks.leaks import UNKNOWN, leak, tell_seen_tests
from mixkd.networks.network import Network
from mixkd.networks.weights import weights_fingerprint
from mixkd.opening import open_run
from mixkd.runs.run import Metrics, Run
from mixkd.training.fit import describe_device, make_trainer, prepare


def evaluate(cfg: EvaluateConfig | EvaluateLogitsConfig, run: Run | None = None) -> Metrics:
    """Measure a network on the chosen splits and return `<split>/<metric>`, and what is asked for.

    Args:
        cfg: the configuration.
        run: its run, where that is open.

    Raises:
        UserError: if the data, a network or the run directory is not fit for use.
    """
    if isinstance(cfg, EvaluateLogitsConfig):
        return evaluate_logits(cfg, run)
    run = run or open_run(cfg)
    finished = run.finished_metrics()
    if finished is not None:
        return finished
    splits = load_splits(cfg.data)
    run.refuse_changed()
    shape = make_views(cfg.data, splits).shape
    fingerprints = dict(splits.fingerprints)
    networks: dict[str, Network] = {}
    fits: dict[str, bool] = {}  # whose temperature the held-out images are fit for
    own = "network" if cfg.teacher is None else "student"
    for name, key, section in (
        (own, "network", cfg.network),
        ("teacher", "teacher", cfg.teacher),
        *((name, f"baselines.{name}", baseline) for name, baseline in cfg.baselines.items()),
    ):
        if section is not None:
            networks[name] = network = build_network(section, splits.classes, key)
            fingerprints[key] = weights_fingerprint(network.core, section)
            prepare(cfg.trainer, network, len(splits.classes), shape, key)
            tell_seen_tests(key, section, splits)
            fits[name] = can_fit(splits, cfg.data)
            said = leak(section, cfg.data, run.images, splits) if fits[name] else ""
            if said:
                fits[name] = False
                say(f"{key}: no temperature scaling; it {said}")
            elif said is None:
                say(f"{key}: {UNKNOWN} the temperature that is fitted on those is too low")

    data = ImageDataModule(splits, cfg.data)
    shared: dict[str, int] = {name: len(splits[name]) for name in cfg.splits}
    if any(fits.values()):
        shared["val"] = len(splits.val)
    check_shares(shared, cfg.trainer.devices)
    analyses = analyses_of(cfg)
    for analysis in analyses:
        analysis.prepare(cfg, splits)
    trainer = make_trainer(cfg.trainer)
    estimation = None
    if cfg.reestimate_batchnorm:
        estimation = _batchnorm_estimation(networks[own])
    with (
        run.started(fingerprints, device=describe_device(trainer)),
        open_loggers(cfg, run) as loggers,
    ):
        say(f"evaluate: {run.path}")
        if estimation is not None:
            # In batches of a training step, however many processes and whatever evaluation's are.
            batch = cfg.data.batch_size
            shuffled = _shuffled(splits, batch, cfg.trainer.devices)
            clean = ImageDataModule(
                shuffled, cfg.data.model_copy(update={"eval_batch_size": batch})
            )
            clean.tested = "train"
            trainer.test(estimation, clean, verbose=False)
        classifier = Classifier(networks[own], cfg.save_logits)
        metrics = measure(trainer, classifier, data, cfg.splits, run, fits=fits[own])
        temperatures = {}
        for name, network in networks.items():
            other = classifier if name == own else Classifier(network)
            if name != own and fits[name]:
                other.fit_temperature(trainer, data)
            if other.scaling is not None:
                temperatures[name] = other.scaling
        context = Context(cfg, trainer, networks, temperatures, data, run)
        for analysis in analyses:
            metrics |= analysis.measure(context)
        if trainer.is_global_zero:
            write_json(run.path / METRICS, metrics)
        log_results(loggers, run, metrics, step=0)
    return metrics


def _shuffled(splits: Splits, batch: int, devices: int) -> Splits:
    """Return the training images in a random order, as many as make whole batches.

    In the order of a folder a batch would hold a class or two, and show none of the variance.
    """
    n = len(splits.train)
    whole = n // (batch * devices) * (batch * devices)
    order = np.random.default_rng(0).permutation(n)[: whole or n]
    return replace(splits, train=splits.train.take(order))


def _batchnorm_estimation(network: Network) -> BatchNormEstimation:
    try:
        return BatchNormEstimation(network)
    except ValueError as error:
        raise UserError.of("reestimate_batchnorm", f"got true; {error}") from error

"""`mixkd evaluate`: measure any trained network, or a student beside its teacher."""

from mixkd.callbacks.loggers import log_results, open_loggers
from mixkd.config.tasks import EvaluateConfig, EvaluateLogitsConfig
from mixkd.console import say
from mixkd.data.batches import make_views
from mixkd.data.module import ImageDataModule, check_shares
from mixkd.data.splits import load_splits
from mixkd.evaluation.analysis import Context, analyses_of
from mixkd.evaluation.batchnorm import batch_norms, reestimate, training_batches
from mixkd.evaluation.calibration import can_fit, measure_splits, val_temperature
from mixkd.evaluation.logits import evaluate_logits
from mixkd.files.layout import METRICS
from mixkd.files.writing import write_json
from mixkd.metrics.parts import make_metrics
from mixkd.networks.build import build_network
from mixkd.networks.network import Network
from mixkd.networks.weights import weights_fingerprint
from mixkd.runs.leaks import UNKNOWN, leak, tell_seen_tests
from mixkd.runs.run import Metrics, Run
from mixkd.task import task
from mixkd.training.fit import describe_device, make_trainer, prepare


@task
def evaluate(cfg: EvaluateConfig | EvaluateLogitsConfig, run: Run) -> Metrics:
    """Measure a network on the chosen splits and return `<split>/<metric>`, and what is asked for.

    Raises:
        UserError: if the data, a network or the run directory is not fit for use.
    """
    if isinstance(cfg, EvaluateLogitsConfig):
        return evaluate_logits(cfg, run)
    splits = load_splits(cfg.data)
    run.refuse_changed()
    shape = make_views(cfg.data, splits).shape
    fingerprints = dict(splits.fingerprints)
    networks: dict[str, Network] = {}
    fits: dict[str, bool] = {}  # whose temperature the held-out images are fit for
    evaluated = "network" if cfg.teacher is None else "student"
    for name, key, section in (
        (evaluated, "network", cfg.network),
        ("teacher", "teacher", cfg.teacher),
        *((name, f"baselines.{name}", baseline) for name, baseline in cfg.baselines.items()),
    ):
        if section is not None:
            networks[name] = network = build_network(section, splits.classes, key)
            fingerprints[key] = weights_fingerprint(network.core, section)
            prepare(cfg.trainer, network, len(splits.classes), shape, key)
            tell_seen_tests(key, section, splits)
            fits[name] = can_fit(splits, cfg.data)
            warning = leak(section, cfg.data, run.images, splits) if fits[name] else ""
            if warning:
                fits[name] = False
                say(f"{key}: no temperature scaling; it {warning}")
            elif warning is None:
                say(f"{key}: {UNKNOWN} the temperature that is fitted on those is too low")

    data = ImageDataModule(splits, cfg.data)
    shared: dict[str, int] = {name: len(splits[name]) for name in cfg.splits}
    if any(fits.values()):
        shared["val"] = len(splits.val)
    check_shares(shared, cfg.trainer.devices)
    analyses = analyses_of(cfg)
    for analysis in analyses:
        analysis.prepare(cfg, splits)
    own_metrics = make_metrics(cfg.metrics, len(splits.classes))
    trainer = make_trainer(cfg.trainer)
    norms = batch_norms(networks[evaluated]) if cfg.reestimate_batchnorm else []
    with (
        run.started(fingerprints, device=describe_device(trainer)),
        open_loggers(cfg, run) as loggers,
    ):
        say(f"evaluate: {run.path}")
        if norms:
            reestimate(trainer, networks[evaluated], norms, training_batches(splits, cfg))
        temperatures = {
            name: temperature
            for name, network in networks.items()
            if fits[name] and (temperature := val_temperature(trainer, network, data)) is not None
        }
        metrics = measure_splits(
            trainer, networks[evaluated], data, cfg.splits, run,
            temperature=temperatures.get(evaluated), save_logits=cfg.save_logits,
            metrics=own_metrics,
        )  # fmt: skip
        context = Context(cfg, trainer, networks, temperatures, data, run)
        for analysis in analyses:
            metrics |= analysis.measure(context)
        if trainer.is_global_zero:
            write_json(run.path / METRICS, metrics)
        log_results(loggers, run, metrics, step=0)
    return metrics

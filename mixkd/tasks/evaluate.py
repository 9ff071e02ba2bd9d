"""`mixkd evaluate`: measure any trained network."""

from mixkd import config
from mixkd.console import say
from mixkd.data.datamodule import ImageDataModule, load_splits, make_views
from mixkd.files import write_json
from mixkd.modules.classifier import Classifier
from mixkd.networks import build_network, check_logits, weights_fingerprint
from mixkd.run import Metrics, Run
from mixkd.tasks.fit import describe_device, make_trainer, prepare
from mixkd.tasks.measure import measure


def evaluate(cfg: config.Evaluate) -> Metrics:
    """Measure one network on the chosen splits and return `<split>/<metric>`.

    Raises:
        UserError: if the data, the network or the run directory is not fit for use.
    """
    run = Run(cfg)
    finished = run.finished_metrics()
    if finished is not None:
        return finished
    splits = load_splits(cfg.data)
    network = build_network(cfg.network, splits.classes, "network")
    check_logits(network, len(splits.classes), make_views(cfg.data, splits).shape, "network")
    prepare(cfg.trainer, network)

    data = ImageDataModule(splits, cfg.data)
    trainer = make_trainer(cfg.trainer)
    fingerprints = {
        "data": splits.fingerprint,
        "network": weights_fingerprint(network.core, cfg.network),
    }
    with run.started(fingerprints, device=describe_device(trainer)):
        say(f"evaluate: {run.path}")
        classifier = Classifier(network, cfg.save_logits)
        metrics = measure(trainer, classifier, data, cfg.splits, run)
        if trainer.is_global_zero:
            write_json(run.path / "metrics.json", metrics)
    return metrics

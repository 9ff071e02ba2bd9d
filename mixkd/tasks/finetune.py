"""`mixkd finetune`: a network learns from labels, with or without mixup."""

from functools import partial

import torch

from mixkd import config
from mixkd.data.datamodule import ImageDataModule, load_splits, make_stream
from mixkd.fingerprints import file_fingerprint
from mixkd.modules.supervised import Supervised
from mixkd.networks import build_network, check_logits
from mixkd.optimization import make_optimizer, make_schedule
from mixkd.provenance import stream_seed
from mixkd.run import Metrics, Run
from mixkd.tasks.fit import fit


def finetune(cfg: config.Finetune) -> Metrics:
    """Train one network from labels and return its metrics.

    Raises:
        UserError: if the data, the network or the run directory is not fit for use.
    """
    run = Run(cfg)
    finished = run.finished_metrics()
    if finished is not None:
        return finished
    splits = load_splits(cfg.data)
    stream = make_stream(cfg.data, splits, cfg.method.mix, stream_seed(cfg))

    torch.manual_seed(cfg.seed)
    network = build_network(cfg.network, splits.classes, "network")
    check_logits(network, len(splits.classes), splits.train.pixels.shape[-1], "network")

    learner = Supervised(
        network,
        label_smoothing=cfg.method.label_smoothing,
        optimizer=partial(make_optimizer, cfg.optimizer),
        schedule=make_schedule(cfg.schedule, cfg.optimizer.lr, cfg.trainer.max_epochs),
        seed=cfg.seed,
    )
    data = ImageDataModule(splits, cfg.data, stream)
    fingerprints = {"data": splits.fingerprint}
    if cfg.network.weights is not None:
        fingerprints["start"] = file_fingerprint(cfg.network.weights)
    return fit(cfg, run, learner, data, fingerprints)

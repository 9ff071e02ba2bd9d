"""`mixkd finetune`: a network learns from labels, with or without mixup."""

from functools import partial

import torch

from mixkd.config.tasks import FinetuneConfig
from mixkd.config.training import LabelMethodConfig
from mixkd.data.batches import make_stream, make_views, mixing_of
from mixkd.data.splits import load_splits
from mixkd.errors import UserError
from mixkd.losses.labels import LabelLoss, label_loss_of
from mixkd.metrics.parts import make_metrics
from mixkd.modules.optimization import optimization
from mixkd.modules.supervised import Supervised
from mixkd.networks.build import build_network
from mixkd.parts import named_arguments
from mixkd.runs.leaks import refuse_leaks
from mixkd.runs.run import Metrics, Run
from mixkd.task import task
from mixkd.training.fit import fit, make_learner, prepare


@task
def finetune(cfg: FinetuneConfig, run: Run) -> Metrics:
    """Train one network from labels and return its metrics.

    Raises:
        UserError: if the data, the network or the run directory is not fit for use.
    """
    loss = _loss(cfg.method)
    splits = load_splits(cfg.data)
    run.refuse_changed()
    run.trained_on = refuse_leaks({"network": cfg.network}, cfg.data, run.images, splits)
    # Which is refused here if a batch is too large for the data.
    make_stream(cfg.data, splits, cfg.method.mix, cfg.stream_seed, devices=cfg.trainer.devices)
    shape = make_views(cfg.data, splits).shape

    torch.manual_seed(cfg.seed)
    network = build_network(cfg.network, splits.classes, "network")
    prepare(cfg.trainer, network, len(splits.classes), shape, "network", cfg.images_at_a_time)

    own_metrics = make_metrics(cfg.metrics, len(splits.classes))
    learner = make_learner(
        cfg.method,
        partial(Supervised, loss=loss),
        network,
        label_smoothing=cfg.method.label_smoothing,
        mixing=mixing_of(cfg.method.mix),
        metrics=own_metrics,
        **optimization(cfg, network),
    )
    return fit(cfg, run, learner, splits, fingerprints={}, own_metrics=own_metrics)


def _loss(method: LabelMethodConfig) -> LabelLoss | None:
    """Return the loss of a method with its arguments; None: the cross-entropy.

    Raises:
        UserError: if it does not take them.
    """
    if method.loss is None:
        return None
    function = label_loss_of(method.loss)
    named_arguments(function, method.loss, method.args, "method", positional=4)
    loss = partial(function, **method.args)
    try:  # now: what is wrong with them is told before anything starts
        loss(torch.zeros(1, 2), torch.tensor([0]), torch.tensor([1]), torch.ones(1))
    except (TypeError, ValueError) as error:
        raise UserError.of("method.args", str(error)) from error
    return loss

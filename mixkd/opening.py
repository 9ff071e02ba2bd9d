"""A run, once its data are there."""

from mixkd.config.data import CorruptedDataConfig
from mixkd.config.tasks import Config, EvaluateConfig, EvaluateLogitsConfig
from mixkd.runs.identity import lacks_data
from mixkd.runs.run import Run


def open_run(cfg: Config) -> Run:
    """Return the run of a configuration; first fetch or unpack the data that name it.

    Raises:
        UserError: if they cannot be.
    """
    if lacks_data(cfg):
        _make_data(cfg)
    return Run(cfg)


def _make_data(cfg: Config) -> None:
    from mixkd.data.corrupted import make_arrays  # these take seconds to import
    from mixkd.data.sources import unpack_imagenet
    from mixkd.data.splits import load_splits
    from mixkd.evaluation.analysis import analyses_of

    assert not isinstance(cfg, EvaluateLogitsConfig)
    if isinstance(cfg.data, CorruptedDataConfig):
        make_arrays(cfg.data)
    elif cfg.data.source == "imagenet":
        unpack_imagenet(cfg.data)
    if isinstance(cfg, EvaluateConfig) and lacks_data(cfg):
        splits = load_splits(cfg.data)
        for analysis in analyses_of(cfg):  # which refuse those of other classes first
            if any(analysis.section.further_data(cfg.data)):
                analysis.prepare(cfg, splits)

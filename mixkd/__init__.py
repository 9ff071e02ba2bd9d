"""mixkd: mixup-based knowledge distillation, and whether its confidence can be trusted.

As a library it works on any PyTorch model, without configurations or run directories:

- losses, on logits: `distillation_kl`, `mixed_cross_entropy`, `distillation`, `soften`,
  `divergence_of` and `label_loss_of` a name
- the vicinal stream: `VicinalStream`, `Mixing`, `vicinal_batches`, `VicinalBatch`, `mix`
- data for a Lightning `Trainer`: `CIFAR10`, `CIFAR100`, `ImageNet`, `ImageFolder`, the corrupted
  `CIFAR10C` and `CIFAR100C`, and `ImageDataModule.of` arrays or any torch `Dataset`
- LightningModules of any network: `Supervised`, `Distillation`, and for your own `Learner`; rates
  of each step: `FixedSchedule`, `SteppedSchedule`, `PlateauSchedule`
- metrics, streamed: `Calibration`, `ClasswiseECE`, `TemperatureFit`; between images
  `VicinalLinearity` of `answers_between`, and its parts `Line` and `pair_values`
- analysis of a model on images: `measure_calibration`, `fit_temperature`, `measure_linearity`,
  `Linearity`; and pictures of it, `plot_reliability`, `plot_linearity`
- callbacks for any Lightning `Trainer`: `CalibrationMonitor`, `LinearityMonitor` and
  `CorruptionMonitor` watch the validation images
- the commands as functions: `finetune`, `distill`, `evaluate`, `compare`, `report`, `FinishedRun`
- networks of `mixkd export`, from a folder or the Hugging Face Hub: `load_network`

They are imported when they are first asked for, so that `import mixkd` takes no time.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

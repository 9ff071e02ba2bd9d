"""What `import mixkd` offers, and where it is."""

__version__: str

from .callbacks.monitors import CalibrationMonitor as CalibrationMonitor
from .callbacks.monitors import CorruptionMonitor as CorruptionMonitor
from .callbacks.monitors import LinearityMonitor as LinearityMonitor
from .data.batches import vicinal_batches as vicinal_batches
from .data.module import CIFAR10 as CIFAR10
from .data.module import CIFAR10C as CIFAR10C
from .data.module import CIFAR100 as CIFAR100
from .data.module import CIFAR100C as CIFAR100C
from .data.module import ImageDataModule as ImageDataModule
from .data.module import ImageFolder as ImageFolder
from .data.module import ImageNet as ImageNet
from .evaluation.library import Linearity as Linearity
from .evaluation.library import fit_temperature as fit_temperature
from .evaluation.library import measure_calibration as measure_calibration
from .evaluation.library import measure_linearity as measure_linearity
from .evaluation.plotting import plot_linearity as plot_linearity
from .evaluation.plotting import plot_reliability as plot_reliability
from .export.load import load_network as load_network
from .losses.distillation import distillation as distillation
from .losses.distillation import distillation_kl as distillation_kl
from .losses.distillation import mixed_cross_entropy as mixed_cross_entropy
from .losses.distillation import soften as soften
from .losses.divergences import divergence_of as divergence_of
from .metrics.calibration import Calibration as Calibration
from .metrics.calibration import ClasswiseECE as ClasswiseECE
from .metrics.calibration import TemperatureFit as TemperatureFit
from .metrics.vicinal import Line as Line
from .metrics.vicinal import VicinalLinearity as VicinalLinearity
from .metrics.vicinal import answers_between as answers_between
from .metrics.vicinal import pair_values as pair_values
from .modules.distillation import Distillation as Distillation
from .modules.learner import Learner as Learner
from .modules.supervised import Supervised as Supervised
from .notebook import FinishedRun as FinishedRun
from .notebook import compare as compare
from .notebook import distill as distill
from .notebook import evaluate as evaluate
from .notebook import finetune as finetune
from .notebook import report as report
from .vicinal import Mixing as Mixing
from .vicinal import VicinalBatch as VicinalBatch
from .vicinal import VicinalStream as VicinalStream
from .vicinal import mix as mix

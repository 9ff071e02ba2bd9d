"""The files of a run directory: each name is said here, once.

They stand in the lowest room, as what reads weights looks into run directories too. An analysis
says by itself which files it writes (`AnalysisConfig.files`).
"""

CONFIG = "config.yaml"
PROVENANCE = "provenance.json"
STATUS = "status.json"
METRICS = "metrics.json"
HISTORY = "history.csv"
STAGE1 = "stage1.csv"
CHECKPOINTS = "checkpoints"
WEIGHTS = "weights.safetensors"
TRAINED_ON = "trained_on.npy"
PREDICTIONS = "predictions"
TEST_PREDICTIONS = f"{PREDICTIONS}/test.npz"
RELIABILITY = "reliability.csv"
FIGURES = "figures"
LOGS = ("csv", "tensorboard", "wandb")
OWN_LOGS, OWN_CALLBACKS = "loggers", "callbacks"  # what those that users bring write
WANDB_ID = "wandb-id.txt"
LOCK = ".lock"

# What a run begins with, and by which its directory is known.
RECORDS = (CONFIG, PROVENANCE)
# What it then writes, besides the files of its analyses.
RESULTS = (STATUS, STAGE1, HISTORY, METRICS, CHECKPOINTS, WEIGHTS, TRAINED_ON, PREDICTIONS,
           RELIABILITY, FIGURES, *LOGS, OWN_LOGS, OWN_CALLBACKS, WANDB_ID)  # fmt: skip

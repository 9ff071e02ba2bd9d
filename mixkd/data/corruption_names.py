"""Names of corruptions: Hendrycks and Dietterich (2019), Table 7 of the paper."""

from pathlib import Path

SEVERITIES = 5

# In this order for good: a name's position seeds its random numbers.
STANDARD = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip

# Those on which the paper reports.
PAPER = ("gaussian_noise", "motion_blur", "fog", "jpeg_compression", "contrast", "pixelate")

# The folder in the published archive of each set.
FOLDERS = {"cifar10_c": "CIFAR-10-C", "cifar100_c": "CIFAR-100-C"}


def arrays_folder(source: str, root: str | None) -> Path | None:
    """Return the folder of a published set's arrays: the one in its root, or the root itself."""
    folder = Path(root or "")
    return next((f for f in (folder / FOLDERS[source], folder) if any(f.glob("*.npy"))), None)

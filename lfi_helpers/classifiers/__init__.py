"""Classifiers as likelihood ratios: losses, the ratio of two samples, calibration.

Imports networks, training and run; must never know the simulator the samples come from.
"""

from lfi_helpers.classifiers.calibration import Calibrator, calibrate
from lfi_helpers.classifiers.losses import carl_loss, focal_loss, nre_loss
from lfi_helpers.classifiers.ratio import LogRatio, fit_log_ratio

__all__ = [
    "Calibrator",
    "LogRatio",
    "calibrate",
    "carl_loss",
    "fit_log_ratio",
    "focal_loss",
    "nre_loss",
]

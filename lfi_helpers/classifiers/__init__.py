"""Classifiers as likelihood ratios: losses, the ratio of two samples, calibration.

Imports networks, training and run; must never know the simulator the samples come from.
"""

from lfi_helpers.classifiers.adversary import (
    MixtureDensity,
    distance_correlation,
    fresh_adversary,
    moving_cut,
)
from lfi_helpers.classifiers.calibration import Calibrator, calibrate
from lfi_helpers.classifiers.events import log_likelihood
from lfi_helpers.classifiers.losses import carl_loss, focal_loss, nre_loss
from lfi_helpers.classifiers.mined import (
    MinedRows,
    ScoreRatio,
    alice_loss,
    alices_loss,
    cascal_loss,
    mined_rows,
    rascal_loss,
    ratio_and_score,
    rolr_loss,
    sallino,
    sally_loss,
)
from lfi_helpers.classifiers.mixture import PairwiseRatios, fit_pairwise, mixture_log_ratio
from lfi_helpers.classifiers.parametrised import (
    ParametrisedRatio,
    ThetaNetwork,
    borrow_theta,
    fit_parametrised,
)
from lfi_helpers.classifiers.pivot import Pivot, fit_pivot
from lfi_helpers.classifiers.ratio import LogRatio, fit_log_ratio
from lfi_helpers.classifiers.weak import mixed_log_ratio, proportions_loss, pure_log_ratio

__all__ = [
    "Calibrator",
    "LogRatio",
    "MinedRows",
    "MixtureDensity",
    "PairwiseRatios",
    "ParametrisedRatio",
    "Pivot",
    "ScoreRatio",
    "ThetaNetwork",
    "alice_loss",
    "alices_loss",
    "borrow_theta",
    "calibrate",
    "carl_loss",
    "cascal_loss",
    "distance_correlation",
    "fit_log_ratio",
    "fit_pairwise",
    "fit_parametrised",
    "fit_pivot",
    "focal_loss",
    "fresh_adversary",
    "log_likelihood",
    "mined_rows",
    "mixed_log_ratio",
    "mixture_log_ratio",
    "moving_cut",
    "nre_loss",
    "proportions_loss",
    "pure_log_ratio",
    "rascal_loss",
    "ratio_and_score",
    "rolr_loss",
    "sallino",
    "sally_loss",
]

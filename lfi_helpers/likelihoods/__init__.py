"""Likelihoods that one can write down: HistFactory, and profiles of a nuisance.

Imports networks, training and run; must never import a simulator.
"""

from lfi_helpers.likelihoods.histfactory import Fit, HistFactory
from lfi_helpers.likelihoods.maximum import (
    Maximum,
    ProfileFit,
    gradient_maximum,
    grid_maximum,
    over_events,
    profile_fit,
)
from lfi_helpers.likelihoods.newton import FitFailed
from lfi_helpers.likelihoods.profile import extended_log_likelihood, profile
from lfi_helpers.likelihoods.search import Bump, bump_fit, counting_significance

__all__ = [
    "Bump",
    "Fit",
    "FitFailed",
    "HistFactory",
    "Maximum",
    "ProfileFit",
    "bump_fit",
    "counting_significance",
    "extended_log_likelihood",
    "gradient_maximum",
    "grid_maximum",
    "over_events",
    "profile",
    "profile_fit",
]

"""Likelihoods that one can write down: HistFactory, and profiles of a nuisance.

Imports networks, training and run; must never import a simulator.
"""

from lfi_helpers.likelihoods.histfactory import Fit, HistFactory
from lfi_helpers.likelihoods.newton import FitFailed
from lfi_helpers.likelihoods.profile import extended_log_likelihood, profile

__all__ = ["Fit", "FitFailed", "HistFactory", "extended_log_likelihood", "profile"]

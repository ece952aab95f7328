"""What to try next? Surrogates of expensive functions and choices made with them.

They see numbers and callables; must never import a simulator.
"""

from lfi_helpers.decisions.acquisition import (
    expected_improvement,
    log_expected_improvement,
    probability_of_improvement,
    upper_confidence_bound,
)
from lfi_helpers.decisions.bayesopt import BayesOpt, BayesOptResult, maximise
from lfi_helpers.decisions.gaussian_process import GaussianProcess

__all__ = [
    "BayesOpt",
    "BayesOptResult",
    "GaussianProcess",
    "expected_improvement",
    "log_expected_improvement",
    "maximise",
    "probability_of_improvement",
    "upper_confidence_bound",
]

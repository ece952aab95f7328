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
from lfi_helpers.decisions.campaign import belief, campaign
from lfi_helpers.decisions.design import InformationGain, expected_information_gain
from lfi_helpers.decisions.gaussian_process import GaussianProcess

__all__ = [
    "BayesOpt",
    "BayesOptResult",
    "GaussianProcess",
    "InformationGain",
    "belief",
    "campaign",
    "expected_improvement",
    "expected_information_gain",
    "log_expected_improvement",
    "maximise",
    "probability_of_improvement",
    "upper_confidence_bound",
]

"""Which theta, given x_obs? Posteriors learned from pairs (theta, x), programs turned round.

Imports flows, classifiers and the floor; must never import a simulator or a diagnostic.
"""

from lfi_helpers.inference.abc import ABCResult, mcmc_abc, rejection_abc
from lfi_helpers.inference.compilation import compile_program
from lfi_helpers.inference.errors import BudgetExceeded, NoAcceptedSamples, TooFewSimulations
from lfi_helpers.inference.fmpe import fmpe
from lfi_helpers.inference.mcmc import Chains, slice_sample
from lfi_helpers.inference.nle import nle
from lfi_helpers.inference.npe import npe
from lfi_helpers.inference.nre import nre
from lfi_helpers.inference.posterior import Posterior
from lfi_helpers.inference.programs import importance_program, metropolis_program
from lfi_helpers.inference.smc import smc_abc
from lfi_helpers.inference.tracing import Recorder
from lfi_helpers.inference.tsnpe import tsnpe

__all__ = [
    "ABCResult",
    "BudgetExceeded",
    "Chains",
    "NoAcceptedSamples",
    "Posterior",
    "Recorder",
    "TooFewSimulations",
    "compile_program",
    "fmpe",
    "importance_program",
    "mcmc_abc",
    "metropolis_program",
    "nle",
    "npe",
    "nre",
    "rejection_abc",
    "slice_sample",
    "smc_abc",
    "tsnpe",
]

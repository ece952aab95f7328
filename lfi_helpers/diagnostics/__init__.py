"""Is it true? Diagnostics of learned probabilities and densities.

They take arrays and callables; must never import a simulator or an estimator.
"""

from lfi_helpers.diagnostics.reliability import Reliability, reliability_curve

__all__ = ["Reliability", "reliability_curve"]

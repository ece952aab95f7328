"""Models that learn by imitation: distributions tuned until their samples pass for the data.

Imports networks, training, run; must never evaluate a likelihood or name a simulator.
"""

from lfi_helpers.generators.avo import AvoHistory, Proposal, fit_avo, score_gradient
from lfi_helpers.generators.critic import Critics

__all__ = ["AvoHistory", "Critics", "Proposal", "fit_avo", "score_gradient"]

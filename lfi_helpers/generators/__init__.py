"""Models that learn by imitation: distributions tuned until their samples pass for the data.

Imports networks, training, run; must never evaluate a likelihood or name a simulator.
"""

from lfi_helpers.generators.adversary import Adversary
from lfi_helpers.generators.avo import AvoHistory, Proposal, fit_avo, score_gradient
from lfi_helpers.generators.critic import Critics
from lfi_helpers.generators.gan import Gan, fit_critic, fit_gan

__all__ = [
    "Adversary",
    "AvoHistory",
    "Critics",
    "Gan",
    "Proposal",
    "fit_avo",
    "fit_critic",
    "fit_gan",
    "score_gradient",
]

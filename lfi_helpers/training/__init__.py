"""fit(): the one training loop of the course.

Imports run; must never know which network or loss it trains.
"""

from lfi_helpers.training.fit import fit
from lfi_helpers.training.history import History, TrainingDiverged

__all__ = ["History", "TrainingDiverged", "fit"]

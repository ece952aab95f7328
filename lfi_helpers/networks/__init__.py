"""Plain modules that know no physics task.

Imports run; must never import data, losses or another room.
"""

from lfi_helpers.networks.ensemble import Ensemble
from lfi_helpers.networks.mlp import Standardise, mlp
from lfi_helpers.networks.recurrent import Recurrent

__all__ = ["Ensemble", "Recurrent", "Standardise", "mlp"]

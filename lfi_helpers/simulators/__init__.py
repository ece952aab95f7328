"""One file, one simulator: prior, sample and its exact truth.

Imports run and arguments; must never import a method.

``load(name, **settings)`` builds one, ``names()`` lists them, ``simulate`` runs one over its
prior.
"""

from lfi_helpers.simulators.base import Gold, Simulator, load, names
from lfi_helpers.simulators.batches import simulate

__all__ = ["Gold", "Simulator", "load", "names", "simulate"]

"""Flows: bijections and the densities made of them, conditional on a context.

Imports run and arguments; must never know a simulator or an inference method.
"""

from lfi_helpers.flows.coordinates import BoxCoordinates, StandardCoordinates, prior_coordinates
from lfi_helpers.flows.distribution import FlowDistribution
from lfi_helpers.flows.flow import KINDS, Flow

__all__ = [
    "KINDS",
    "BoxCoordinates",
    "Flow",
    "FlowDistribution",
    "StandardCoordinates",
    "prior_coordinates",
]

"""Is it true? Diagnostics of learned probabilities and densities.

They take arrays and callables; must never import a simulator or an estimator.
"""

from lfi_helpers.diagnostics.c2st import c2st
from lfi_helpers.diagnostics.coverage import Coverage, expected_coverage
from lfi_helpers.diagnostics.draws import Amortised, draw_each
from lfi_helpers.diagnostics.lc2st import LC2ST, lc2st
from lfi_helpers.diagnostics.predictive import Predictive, predictive_check
from lfi_helpers.diagnostics.ratios import (
    ReferenceScan,
    Reweighting,
    reference_independence,
    reweighting_test,
)
from lfi_helpers.diagnostics.reliability import Reliability, reliability_curve
from lfi_helpers.diagnostics.sbc import SBC, Uniformity, sbc, sbc_ranks, uniformity
from lfi_helpers.diagnostics.scores import ScoreGap, score_gap
from lfi_helpers.diagnostics.tarp import Tarp, tarp

__all__ = [
    "LC2ST",
    "SBC",
    "Amortised",
    "Coverage",
    "Predictive",
    "ReferenceScan",
    "Reliability",
    "Reweighting",
    "ScoreGap",
    "Tarp",
    "Uniformity",
    "c2st",
    "draw_each",
    "expected_coverage",
    "lc2st",
    "predictive_check",
    "reference_independence",
    "reliability_curve",
    "reweighting_test",
    "sbc",
    "sbc_ranks",
    "score_gap",
    "tarp",
    "uniformity",
]

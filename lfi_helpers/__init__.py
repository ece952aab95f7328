"""Likelihood-free inference for physics: the thin package that the notebooks share.

Rooms: simulators, networks, training, classifiers, flows, inference, diagnostics, plots, course.
On the ground floor: records, run, arguments, checks.
This file imports nothing heavy: `import lfi_helpers` stays below 50 ms.
"""

__version__ = "0.1.0"

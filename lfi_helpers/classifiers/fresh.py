"""Were these rows trained on? Rows are compared by fingerprint; nothing is learned here."""

import numpy as np
import torch
from scipy.stats import binom
from torch import Tensor

ALARM = 1e-9  # chance that two independent samples are taken for one


def fingerprint(rows: Tensor) -> np.ndarray:
    """Return a 64-bit integer for each row of (N, L) floats; equal rows have equal ones."""
    bits = rows.detach().cpu().float().contiguous().view(torch.int32).long()
    odd = np.random.default_rng(0).integers(2**62, size=bits.shape[1]) * 2 + 1
    return (bits * torch.from_numpy(odd)).sum(1).numpy()  # wraps around: exact everywhere


def demand_fresh(name: str, rows: Tensor, trained: np.ndarray) -> None:
    """Raise if rows (N, L), or most of them, are among those with fingerprints ``trained``.

    Independent samples share rows too: floats collide, discrete events repeat. But take a row that
    occurs exactly twice in both samples together. If they are independent and have it at rates a
    and b, it occurs once in each in 2 a b / (a + b)^2 <= 1/2 of the cases. A larger share than
    chance allows (binomial, 1e-9) means copies. Fewer than 30 copies cannot be seen, nor copies of
    events that take few values.

    Raises:
        ValueError: naming the argument and how many rows are copies.
    """
    both = np.concatenate([fingerprint(rows), trained])
    _, place, count = np.unique(both, return_inverse=True, return_counts=True)
    here = np.bincount(place[: len(rows)], minlength=len(count))
    twice = count == 2
    copies = int((here[twice] == 1).sum())
    if binom.sf(copies - 1, int(twice.sum()), 0.5) < ALARM:
        raise ValueError(
            f"{name}: expected rows that were not trained on, got {copies} of {len(rows)} that "
            "were: calibrate on fresh simulations"
        )

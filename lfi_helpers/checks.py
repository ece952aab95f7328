"""check(): compare a number with its truth, print one line, emit a claim record.

Never computes the number itself.
"""

import math

from lfi_helpers.records import CLAIM_MIME, publish


class ClaimFailed(AssertionError):
    """A claim of a notebook does not hold: the message has the value and what was wanted."""


def check(
    claim: str,
    value: float,
    *,
    near: float | None = None,
    within: float | None = None,
    below: float | None = None,
    above: float | None = None,
) -> None:
    """Check one claim: ``abs(value - near) <= within``, ``value < below``, ``value > above``.

    Prints ``ok  <claim> = 1.012 (want 1.000 +- 0.050)`` and, in a notebook, emits the claim as a
    machine-readable record, also when it fails.

    Args:
        claim: what is claimed, in words: it identifies the claim in its notebook.
        value: the number measured: a Python, numpy or torch scalar.
        near: the truth; needs ``within``.
        within: the half width of the band around ``near``.
        below: strict upper bound.
        above: strict lower bound.

    Raises:
        ClaimFailed: if the value is outside its band or not finite.
        TypeError: if claim is not a text, or value or a bound is not one real number.
        ValueError: if no bound is given, ``near`` and ``within`` come singly, or the bounds admit
            nothing.

    >>> check("two and two", 2 + 2, near=4, within=0.5)
    ok  two and two = 4 (want 4 +- 0.5)
    """
    if not isinstance(claim, str) or not claim.strip():
        raise TypeError(f"claim: expected a text that says what is claimed, got {claim!r}")
    number = _number("value", value)
    bounds = {"near": near, "within": within, "below": below, "above": above}
    bounds = {key: None if b is None else _number(key, b) for key, b in bounds.items()}
    wanted = _wanted(**bounds)
    ok = _holds(number, **bounds)
    line = f"{'ok ' if ok else 'NOT'} {claim} = {number:.4g} (want {wanted})"
    record = {"value": number if math.isfinite(number) else repr(number), **bounds}
    record = {key: _six_digits(value) for key, value in record.items()}
    publish(CLAIM_MIME, {"claim": claim, **record, "ok": ok}, line)
    if not ok:
        raise ClaimFailed(line)


def _six_digits(value: object) -> object:
    """Round what is recorded: the last bits of linear algebra differ between two equal runs."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _number(name: str, value: object) -> float:
    if isinstance(value, bool | str) or value is None:
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        return float(value.detach() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, RuntimeError) as error:
        shape = tuple(getattr(value, "shape", ()))
        raise TypeError(
            f"{name}: expected one real number, got {type(value).__name__} {shape}"
        ) from error


def _wanted(near, within, below, above) -> str:
    """Say the bounds in words, after checking that they admit something."""
    if (near is None) != (within is None):
        raise ValueError(f"near and within: expected both or neither, got {near} and {within}")
    given = [b for b in (near, within, below, above) if b is not None]
    if not given:
        raise ValueError("bounds: expected near and within, below, or above, got none")
    if not all(map(math.isfinite, given)):
        raise ValueError(f"bounds: expected finite numbers, got {given}")
    if within is not None and within < 0:
        raise ValueError(f"within: expected a number >= 0, got {within}")
    if below is not None and above is not None and above >= below:
        raise ValueError(f"above and below: expected above < below, got {above} and {below}")
    words = [] if near is None else [f"{near:.4g} +- {within:.2g}"]
    words += [] if above is None else [f"> {above:.4g}"]
    words += [] if below is None else [f"< {below:.4g}"]
    return " and ".join(words)


def _holds(value, near, within, below, above) -> bool:
    return (
        math.isfinite(value)
        and (near is None or abs(value - near) <= within)
        and (below is None or value < below)
        and (above is None or value > above)
    )

"""The promise every simulator keeps, and the register of those that exist.

Knows no method and runs nothing.
"""

from importlib import import_module
from inspect import signature
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Uniform

from lfi_helpers.arguments import one_of

# name -> "module:Class": a simulator is imported when it is asked for, not before.
_REGISTER = {
    "bernoulli_glm": "bernoulli_glm:BernoulliGlm",
    "bumpers": "bumpers:Bumpers",
    "captcha": "captcha:Captcha",
    "carl5d": "carl5d:Carl5d",
    "carl_mixture": "carl_mixture:CarlMixture",
    "dimuon": "dimuon:Dimuon",
    "eft16": "eft16:Eft16",
    "galton": "galton:Galton",
    "gaussian": "gaussian:Gaussian",
    "gaussian_linear": "gaussians:GaussianLinear",
    "gaussian_linear_uniform": "gaussians:GaussianLinearUniform",
    "gaussian_mixture": "gaussians:GaussianMixture",
    "gaussian_pair": "gaussian_pair:GaussianPair",
    "gk": "gk:Gk",
    "h4l": "h4l:H4l",
    "lotka_volterra": "lotka_volterra:LotkaVolterra",
    "ma2": "ma2:Ma2",
    "mass_tagger": "mass_tagger:MassTagger",
    "mixed_sample": "mixed_sample:MixedSample",
    "pivot_toy": "pivot_toy:PivotToy",
    "resonance": "resonance:Resonance",
    "ring": "ring:Ring",
    "shower": "shower:Shower",
    "sir": "sir:Sir",
    "sir_ode": "sir_ode:SirOde",
    "slcp": "slcp:Slcp",
    "tau": "tau:Tau",
    "two_moons": "two_moons:TwoMoons",
    "weinberg": "weinberg:Weinberg",
    "zprime": "zprime:Zprime",
}


@runtime_checkable
class Simulator(Protocol):
    """Prior and sample; tractable ones add ``log_prob``, minable ones ``mine``."""

    name: str
    theta_dim: int
    x_dim: int
    prior: Distribution

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one x for each row of theta: (N, D) -> (N, L), on theta's device."""
        ...


class Gold(NamedTuple):
    """What the latent path z of a simulated event reveals, beside the event itself.

    (x, z) is drawn at ``theta``; to draw at the reference, exchange the two and change the sign.
    ``joint_log_ratio`` is log p(x, z | theta) / p(x, z | theta_ref), shape (N,);
    ``joint_score`` is the gradient of log p(x, z | theta) in theta, shape (N, D). Source:
    arXiv:1805.12244.
    """

    x: Tensor
    joint_log_ratio: Tensor
    joint_score: Tensor


def names() -> list[str]:
    """List the names that ``load`` knows."""
    return sorted(_REGISTER)


def load(name: str, **settings) -> Simulator:
    """Build the simulator of that name.

    >>> load("weinberg", sqrt_s=89.0).theta_dim
    1

    Raises:
        ValueError: if there is no such simulator (names the close ones).
        TypeError: if it does not take one of the settings (names those it takes).
    """
    one_of("name", name, names())
    module, class_name = _REGISTER[name].split(":")
    simulator = getattr(import_module(f"lfi_helpers.simulators.{module}"), class_name)
    known = list(signature(simulator).parameters)
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise TypeError(f"settings: {name} expected some of {known}, got {unknown}")
    return simulator(**settings)


def box_uniform(low: list[float], high: list[float]) -> Independent:
    """Return the uniform density on a box: event shape (D,); outside it ``log_prob`` is -inf."""
    low, high = (torch.tensor(side, dtype=torch.float32, device="cpu") for side in (low, high))
    return Independent(Uniform(low, high, validate_args=False), 1)

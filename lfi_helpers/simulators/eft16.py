"""Two couplings of an effective field theory in sixteen dimensions, with the exact likelihood.

Knows no method.
"""

from math import pi

import torch
from torch import Tensor

from lfi_helpers.arguments import batch, finite, same_length
from lfi_helpers.simulators.base import Gold, box_uniform

DIM = 16
ALPHA = (0.3, 0.2, 0.28, 0.25, *(0.12,) * 12)
BETA = (-0.1, 0.2, 0.0, 0.0, *(0.15,) * 6, *(-0.15,) * 6)
MIXED = 0.3  # of z_0 z_1 in a, and of z_2 z_3 in b
NOISE = 0.5  # standard deviation of the detector
SHRINK = 1 / (1 + NOISE**2)  # z given x, at theta = 0, has mean SHRINK x ...
SPREAD = NOISE**2 * SHRINK  # ... and this variance
MAX_ROUNDS = 1_000  # of rejection: each accepts a quarter


class Eft16:
    r"""Detector features x in 16 dimensions for theta, two couplings; theta = 0 is known physics.

    The amplitude of a parton configuration z in R^16 is linear in the couplings, so that the
    density has a known, an interference and a squared part, as in an effective field theory:

        p(z | theta) = N(z; 0, 1) M^2 / Z,   M = 1 + theta_1 a(z) + theta_2 b(z),
        a = alpha . z + 0.3 z_0 z_1,   b = beta . z + 0.3 z_2 z_3,
        Z = 1 + theta_1^2 E[a^2] + 2 theta_1 theta_2 E[a b] + theta_2^2 E[b^2].

    The detector adds noise, x = z + 0.5 n. Given x and theta = 0, z is Gaussian, so that the
    likelihood is a ratio of two quadratic forms in theta, exact. In real measurements z is latent
    and the integral over it cannot be done. The prior is uniform on [-0.5, 0.5]^2.
    """

    name = "eft16"
    theta_dim = 2
    x_dim = DIM

    def __init__(self):
        self.prior = box_uniform([-0.5, -0.5], [0.5, 0.5])

    def amplitudes(self, z: Tensor) -> Tensor:
        """Return a(z) and b(z): (N, 16) -> (N, 2)."""
        z = finite("z", batch("z", z, DIM))
        mixed = torch.stack([z[:, 0] * z[:, 1], z[:, 2] * z[:, 3]], 1)
        return z @ _directions(z).T + MIXED * mixed

    def latent(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        r"""Draw one z for each theta, exactly: (N, 2) -> (N, 16).

        M = 1 + L + Q_1 + Q_2 has four parts (constant, linear, two products) that are orthogonal
        under N(z): Z is the sum of their squared norms. So a part is chosen with its share of Z,
        z is drawn from N(z) times the square of that part, and accepted with probability
        M^2 / 4 (1 + L^2 + Q_1^2 + Q_2^2) <= 1 (Cauchy-Schwarz). A quarter is accepted at every
        theta.

        Raises:
            RuntimeError: if some rows are not accepted after 1000 rounds (chance 1e-125 each).
        """
        theta = _couplings("theta", theta)
        z, waiting = _empty(theta), torch.arange(len(theta), device=theta.device)
        for _ in range(MAX_ROUNDS):
            drawn, accepted = self._propose(theta[waiting], generator)
            z[waiting[accepted]] = drawn[accepted]
            waiting = waiting[~accepted]
            if not len(waiting):
                return z
        raise RuntimeError(f"latent: {len(waiting)} rows are left after {MAX_ROUNDS} rounds")

    def _propose(self, theta: Tensor, generator) -> tuple[Tensor, Tensor]:
        """Draw a candidate z for each theta, (N, 16), and whether it is accepted, (N,)."""
        n, options = len(theta), {"generator": generator, "device": theta.device}
        options["dtype"] = theta.dtype
        slope = theta @ _directions(theta)  # (N, 16) of the linear part L
        length = slope.norm(dim=1, keepdim=True)
        norms = torch.cat([torch.ones_like(length), length, MIXED * theta], 1).square()  # sum to Z
        u = torch.rand(n, 1, **options) * norms.sum(1, keepdim=True)
        part = (u >= norms.cumsum(1)[:, :3]).sum(1)  # (N,)
        z = torch.randn(n, DIM, **options)
        sign = torch.randint(0, 2, (n, 2), generator=generator, device=theta.device) * 2 - 1
        tilted = torch.randn(n, 2, 3, **options).norm(dim=2) * sign  # density t^2 N(t)
        unit = slope / length.clamp(min=1e-30)
        along = z + (tilted[:, :1] - (z * unit).sum(1, keepdim=True)) * unit
        z = torch.where((part == 1)[:, None], along, z)
        for k, first in ((2, 0), (3, 2)):
            z[:, first : first + 2] = torch.where(
                (part == k)[:, None], tilted, z[:, first : first + 2]
            )
        linear = (z * slope).sum(1)
        products = MIXED * theta * torch.stack([z[:, 0] * z[:, 1], z[:, 2] * z[:, 3]], 1)
        squares = 1 + linear.square() + products.square().sum(1)
        amplitude = 1 + linear + products.sum(1)
        accepted = torch.rand(n, **options) * 4 * squares < amplitude.square()
        return z, accepted

    def sample(self, theta: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one event for each theta: (N, 2) -> (N, 16)."""
        return self._detect(self.latent(theta, generator), generator)

    def _detect(self, z: Tensor, generator) -> Tensor:
        noise = torch.randn(z.shape, generator=generator, device=z.device, dtype=z.dtype)
        return z + NOISE * noise

    def mine(
        self, theta: Tensor, theta_ref: Tensor, generator: torch.Generator | None = None
    ) -> Gold:
        r"""Draw one event at each theta; log M^2 / Z and its derivative at its z are known.

        With theta_ref = 0 the joint ratio has a variance under theta_ref; elsewhere it has none,
        because M(z | theta_ref) vanishes on a surface.

        Args:
            theta: parameters at which events are drawn, (N, 2); numerator of r, place of t.
            theta_ref: parameters of the denominator, (N, 2).
        """
        theta, theta_ref = _couplings("theta", theta), _couplings("theta_ref", theta_ref)
        same_length(theta=theta, theta_ref=theta_ref)
        z = self.latent(theta, generator)
        parts = self.amplitudes(z)
        amplitude, reference = (1 + (parts * t).sum(1) for t in (theta, theta_ref))
        log_ratio = 2 * (amplitude.abs().log() - reference.abs().log())
        log_ratio += self.cross_section(theta_ref).log() - self.cross_section(theta).log()
        score = 2 * parts / amplitude[:, None] - self._slope(theta)
        return Gold(self._detect(z, generator), log_ratio, score)

    def cross_section(self, theta: Tensor) -> Tensor:
        """Return Z(theta), the total rate relative to theta = 0: (N, 2) -> (N,)."""
        theta = _couplings("theta", theta)
        return 1 + ((theta @ _second_moments(theta)) * theta).sum(1)

    def _slope(self, theta: Tensor) -> Tensor:
        """Return the gradient of log Z, (N, 2)."""
        return 2 * theta @ _second_moments(theta) / self.cross_section(theta)[:, None]

    def _given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean (N, 2) and covariance (N, 2, 2) of (a, b) given x at theta = 0."""
        m = SHRINK * finite("x", batch("x", x, DIM))
        gradient = _directions(m).expand(len(m), 2, DIM).clone()
        gradient[:, 0, :2] += MIXED * m[:, :2].flip(1)
        gradient[:, 1, 2:4] += MIXED * m[:, 2:4].flip(1)
        covariance = SPREAD * gradient @ gradient.transpose(1, 2)
        mixed = MIXED**2 * SPREAD**2 * torch.eye(2, device=m.device, dtype=m.dtype)
        return self.amplitudes(m), covariance + mixed

    def log_ratio(self, x: Tensor, theta: Tensor) -> Tensor:
        r"""Return the exact log p(x | theta) / p(x | 0) = log E[M^2 | x, theta = 0] / Z, (N,)."""
        theta = _couplings("theta", theta)
        same_length(x=x, theta=theta)
        mean, covariance = self._given(x)
        square = (1 + (mean * theta).sum(1)).square()
        square = square + torch.einsum("nd,nde,ne->n", theta, covariance, theta)
        return square.log() - self.cross_section(theta).log()

    def log_prob(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact log p(x | theta), (N,)."""
        log_ratio, variance = self.log_ratio(x, theta), 1 + NOISE**2
        known = -x.square().sum(1) / (2 * variance)
        constant = torch.tensor(2 * pi * variance, device=x.device, dtype=x.dtype).log()
        return log_ratio + known - DIM / 2 * constant

    def score(self, x: Tensor, theta: Tensor) -> Tensor:
        """Return the exact gradient of log p(x | theta) in theta, (N, 2)."""
        theta = _couplings("theta", theta)
        same_length(x=x, theta=theta)
        mean, covariance = self._given(x)
        amplitude = 1 + (mean * theta).sum(1, keepdim=True)
        spread = torch.einsum("nde,ne->nd", covariance, theta)
        square = amplitude[:, 0].square() + (theta * spread).sum(1)
        return 2 * (amplitude * mean + spread) / square[:, None] - self._slope(theta)

    def fisher_information(self, observed: str = "x") -> Tensor:
        """Return the exact information matrix at theta = 0 of one event, (2, 2) in float64.

        Args:
            observed: ``"x"``, the detector's features, or ``"z"``, everything.
        """
        if observed not in ("x", "z"):
            raise ValueError(f"observed: expected 'x' or 'z', got {observed!r}")
        like = torch.zeros(1, device="cpu", dtype=torch.float64)
        kept = SHRINK if observed == "x" else 1.0  # variance of the mean of z given what is seen
        linear = _directions(like) @ _directions(like).T
        mixed = MIXED**2 * torch.eye(2, device="cpu", dtype=torch.float64)
        return 4 * (kept * linear + kept**2 * mixed)

    def morphing_weights(self, theta: Tensor, basis: Tensor) -> Tensor:
        r"""Return w (N, 6) with p(x | theta) = sum_b w_b p(x | theta_b), exactly and for every x.

        Z p is quadratic in theta: six basis points fix it. Weights may be negative.

        Args:
            theta: where the density is wanted, (N, 2).
            basis: six couplings at which events are simulated, (6, 2).

        Raises:
            ValueError: if the basis is not six points that fix a quadratic form.
        """
        theta, basis = _couplings("theta", theta).double(), _couplings("basis", basis).double()
        if len(basis) != 6:
            raise ValueError(f"basis: expected shape (6, 2), got {tuple(basis.shape)}")
        at_basis = _monomials(basis)
        condition = torch.linalg.cond(at_basis)
        if not condition < 1e10:
            raise ValueError(
                "basis: expected six points that are on no common conic, got a matrix of "
                f"monomials with condition number {condition:.1e}"
            )
        rates = self.cross_section(basis) / self.cross_section(theta)[:, None]
        return torch.linalg.solve(at_basis.T, _monomials(theta).T).T * rates


def _couplings(name: str, theta: Tensor) -> Tensor:
    return finite(name, batch(name, theta, 2))


def _empty(theta: Tensor) -> Tensor:
    return torch.empty(len(theta), DIM, device=theta.device, dtype=theta.dtype)


def _directions(like: Tensor) -> Tensor:
    """Return alpha and beta, (2, 16), on like's device and of its type."""
    return torch.tensor([ALPHA, BETA], device=like.device, dtype=like.dtype)


def _second_moments(like: Tensor) -> Tensor:
    """Return E[(a, b) (a, b)^T] under N(z), (2, 2)."""
    directions = _directions(like)
    return directions @ directions.T + MIXED**2 * torch.eye(
        2, device=like.device, dtype=like.dtype
    )


def _monomials(theta: Tensor) -> Tensor:
    """Return 1, theta_1, theta_2, theta_1^2, theta_2^2, theta_1 theta_2: (N, 2) -> (N, 6)."""
    one, two = theta.T
    return torch.stack([torch.ones_like(one), one, two, one**2, two**2, one * two], 1)

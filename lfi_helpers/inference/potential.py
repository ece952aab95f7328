"""A posterior known up to a constant: learned log-likelihood of each event, added, plus log-prior.

Must never know a simulator, nor whether a flow or a classifier learned the log-likelihood.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from lfi_helpers.inference.errors import BudgetExceeded
from lfi_helpers.inference.importance import Weighted, importance_sample
from lfi_helpers.inference.mcmc import slice_sample
from lfi_helpers.inference.pairs import Seen, count, log_prior
from lfi_helpers.inference.posterior import CHUNK, Posterior
from lfi_helpers.run import draw, generator, spawn_seeds
from lfi_helpers.training import History

LOW_DIM = 3  # up to here importance sampling, with the evidence; above it Markov chains
CHAINS, MAX_R_HAT = 100, 1.05
WARMUP, LEAST = 30, 100  # steps for each dimension: before the draws, and at least during them
EVIDENCE_ESS = 10_000  # effective draws for the evidence: 1 % of error


@dataclass(frozen=True)
class Draws:
    """Draws of theta (n, D) and how good they are.

    ``ess`` (D,) is their effective number; ``r_hat`` (D,) and no evidence from Markov chains,
    ``log_evidence`` and its standard error from importance sampling.
    """

    theta: Tensor
    ess: Tensor
    r_hat: Tensor | None = None
    log_evidence: float | None = None
    log_evidence_error: float | None = None


class PotentialPosterior(Posterior):
    r"""p(theta | x_1 .. x_n) proportional to p(theta) times the product of exp f(theta, x_i).

    ``x_obs`` is one observation (L,), or a set of independent events (n, L): their
    log-likelihoods add. ``draws`` says how good the draws of ``sample`` are. Up to three
    dimensions ``log_prob`` is normalised (importance sampling estimates the evidence to about
    1 %); above, it is not: a constant that depends on x_obs is missing (``normalised``).

    Args:
        term: module (theta (N, D), x (N, L)) -> f, (N,).
        prior: event shape (D,).
    """

    def __init__(self, term: nn.Module, prior: Distribution, seen: Seen, history: History | None):
        super().__init__(prior, seen, history)
        self.term = term
        self.normalised = prior.event_shape[0] <= LOW_DIM
        self._evidence: tuple[bytes, float] | None = None

    def sample(self, n: int, x_obs: Tensor, seed: int = 0) -> Tensor:
        """Draw n values of theta, (n, D); warn if R-hat says that chains disagree.

        Raises:
            ValueError: if x_obs is not finite or has another width.
            BudgetExceeded: if minutes do not suffice (two for importance, five for chains).
        """
        return self._draws(count("n", n), self._seen.observations(x_obs), seed).theta

    def draws(self, n: int, x_obs: Tensor, seed: int = 0) -> Draws:
        """Draw n values of theta, with R-hat, effective size and evidence where they exist."""
        return self._draws(count("n", n), self._seen.observations(x_obs), seed)

    def log_prob(self, theta: Tensor, x_obs: Tensor) -> Tensor:
        """Return log p(theta | x_obs) of theta (n, D): (n,), up to a constant above three D."""
        x, theta = self._seen.observations(x_obs), self._theta(theta)
        value = self._log_joint(theta, x)
        return (value - self._log_evidence(x) if self.normalised else value).to(x.device)

    def sample_batch(self, n: int, x: Tensor, seed: int = 0) -> Tensor:
        """Draw n values of theta for each row of x (B, L), one after the other: (n, B, D)."""
        n, x = count("n", n), self._seen.observations(x, "x")
        seeds = spawn_seeds(seed, len(x))
        rows = [self._draws(n, x[b : b + 1], s).theta for b, s in enumerate(seeds)]
        return torch.stack(rows, 1)

    def _log_joint(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return log p(theta) + sum_i f(theta, x_i), (n,); f is asked inside the support only."""
        value = log_prior(self.prior, theta)
        inside = (value > -math.inf).nonzero()[:, 0]
        return value.index_add(0, inside, self._log_likelihood(theta[inside], x))

    @torch.no_grad()
    def _log_likelihood(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return sum_i f(theta, x_i), (n,), of theta (n, D) and x (k, L), on theta's device."""
        home = next(self.term.parameters()).device
        x, parts = x.to(home), []
        for rows in theta.split(max(1, CHUNK // len(x))):
            shape = (len(rows), len(x), -1)  # one event is not copied
            pairs = rows.to(home)[:, None].expand(*shape), x.expand(*shape)
            f = self.term(*(part.flatten(0, 1) for part in pairs))
            parts.append(f.view(shape[:2]).double().sum(1))
        return torch.cat(parts).to(theta) if parts else theta.new_empty(0)

    def _importance(self, x: Tensor, ess: float, seed: int) -> Weighted:
        def log_likelihood(theta):
            return self._log_likelihood(theta, x)

        return importance_sample(log_likelihood, self.prior, ess, seed=seed)

    def _log_evidence(self, x: Tensor) -> float:
        """Return the log-evidence of x, that of the latest x from memory."""
        key = x.cpu().numpy().tobytes()
        if self._evidence is None or self._evidence[0] != key:
            self._evidence = key, self._importance(x, EVIDENCE_ESS, seed=0).log_evidence
        return self._evidence[1]

    def _draws(self, n: int, x: Tensor, seed: int) -> Draws:
        if not self.normalised:
            return self._chains(n, x, seed)
        weighted = self._importance(x, 1.5 * n, seed)
        theta = weighted.resample(n, generator(seed, 1)).to(x.device)
        ess = torch.full(self.prior.event_shape, min(weighted.ess, n), device="cpu")
        error = weighted.log_evidence_error
        return Draws(theta, ess, None, weighted.log_evidence, error)

    def _chains(self, n: int, x: Tensor, seed: int) -> Draws:
        """Draw by Markov chains that start at prior draws resampled by their likelihood."""
        g, (seed,) = generator(seed, 1), spawn_seeds(seed, 1)
        pool = draw(self.prior, 20_000, g).float().cpu()
        height = self._log_likelihood(pool, x)
        if not torch.isfinite(height).any():
            raise BudgetExceeded(f"sample: no likelihood at any of {len(pool)} prior draws")
        start = _start(pool, height, g)
        dim = len(start[0])
        steps = max(-(-n // CHAINS), LEAST)
        chains = slice_sample(
            lambda theta: self._log_joint(theta, x),
            start,
            steps,
            warmup=WARMUP * dim,
            thin=dim,
            seed=seed,
        )
        worst = float(chains.r_hat.max())
        if not worst <= MAX_R_HAT:
            warnings.warn(
                f"sample: R-hat is {worst:.3f} (want <= {MAX_R_HAT}): the chains disagree, the "
                f"smallest effective size is {float(chains.ess.min()):.0f}",
                stacklevel=4,
            )
        theta = chains.theta.flatten(0, 1)
        keep = torch.randperm(len(theta), generator=g, device="cpu")[:n]
        return Draws(theta[keep].to(x.device), chains.ess, chains.r_hat)


def _start(pool: Tensor, height: Tensor, g: torch.Generator) -> Tensor:
    """Return CHAINS different starts: prior draws, the likelier the more often (tempered)."""
    gumbel = -torch.log(-torch.log(torch.rand(height.shape, generator=g, device="cpu")))
    scale = 1.0
    while Weighted(pool, scale * height).ess < CHAINS and scale > 1e-6:
        scale *= 0.7
    return pool[(scale * height + gumbel).topk(CHAINS).indices]

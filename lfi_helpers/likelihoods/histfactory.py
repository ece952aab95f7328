"""HistFactory: binned counts times constraints, from a pyhf workspace, in differentiable torch.

pyhf reads and judges the workspace; everything after that is computed here. It must never pick
its own order of parameters or data: pyhf's is everybody's.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lfi_helpers.arguments import finite
from lfi_helpers.likelihoods.asymptotics import cls_from_q, crossings
from lfi_helpers.likelihoods.constraints import Constraints, log_poisson, poisson_gain
from lfi_helpers.likelihoods.modifiers import Rates
from lfi_helpers.likelihoods.newton import derivatives, minimise
from lfi_helpers.likelihoods.workspace import read


class Fit(NamedTuple):
    """Maximum likelihood: ``parameters`` and ``errors`` (P,) or (B, P), ``twice_nll`` = -2 log L.

    Errors are square roots of the diagonal of the inverse Hessian of -log L; 0 for parameters that
    were held, NaN if the Hessian is not positive definite.
    """

    parameters: Tensor
    errors: Tensor
    twice_nll: Tensor


class HistFactory:
    r"""The likelihood of binned counts with nuisance parameters and their constraints.

    .. math::
        f(n, a \mid \theta) = \prod_{c, b} \mathrm{Pois}\Big(n_{cb} \Big| \sum_s \prod_\kappa
        \kappa(\theta)\, \big(\nu_{scb} + \sum_\Delta \Delta(\theta)\big)\Big)
        \prod_p f_p(a_p \mid \theta_p)

    All seven modifiers of pyhf with its default interpolations (normsys code 4, histosys code 4p).
    Everything is float64, batched over rows and differentiable. Build it with ``from_pyhf``.
    Source: CERN-OPEN-2012-016, arXiv:2103.12091.

    Attributes: ``names``, ``init``, ``bounds`` (P, 2), ``fixed`` of the parameters, ``poi`` (the
    number of the parameter of interest or None), ``auxdata``, and ``observed`` (main data, then
    auxiliary; None if the specification holds no observations).
    """

    def __init__(self, model, observed: list[float] | None, device: torch.device | str):
        config = model.config
        self.device = torch.device(device)
        self.rates = Rates(model.spec["channels"], config, self.device)
        self.constraints = Constraints(config, self.device)
        self.names, self.poi = list(config.par_names), config.poi_index
        self.init = self._double("init", config.suggested_init())
        self.bounds = self._double("bounds", config.suggested_bounds())
        self.fixed = list(config.suggested_fixed())
        self.auxdata = self._double("auxdata", list(config.auxdata))
        self.observed = None if observed is None else self._double("observed", observed)
        self.n_data = self.rates.n_bins + len(self.auxdata)

    @classmethod
    def from_pyhf(cls, spec: dict, device: torch.device | str = "cpu") -> "HistFactory":
        """Build the likelihood from a pyhf workspace (its first measurement) or model.

        Args:
            spec: the JSON as a dict; with nothing but ``channels`` and ``parameters`` it is a
                model, whose parameter of interest is called ``mu``.
            device: where to compute.

        Raises:
            pyhf.exceptions.InvalidSpecification: if the schema does not allow it, for instance an
                unknown modifier; pyhf's other errors for what the schema cannot see.
            ValueError: for a normsys factor that is not above 0, or a shapefactor shared by a
                channel with more bins than it has parameters.
        """
        return cls(*read(spec), device)

    def expected_data(self, parameters) -> Tensor:
        """Return the expected main and auxiliary data: (P,) or (B, P) -> (D,) or (B, D)."""
        parameters = self._check("parameters", parameters, len(self.names))
        rows = parameters.reshape(-1, len(self.names))
        expected = torch.cat([self.rates(rows), self.constraints.expected(rows)], 1)
        return expected.reshape(*parameters.shape[:-1], self.n_data)

    def logpdf(self, parameters, data) -> Tensor:
        """Return the log-density of data, main then auxiliary, given the parameters.

        Args:
            parameters: (P,) or (B, P), in the order of ``names``.
            data: (D,) or (B, D).

        Returns:
            A scalar if neither has rows, else (B,). NaN where a rate is negative, as in pyhf.

        Raises:
            ValueError: for another width, different numbers of rows, or numbers not finite.
        """
        return self._log(parameters, self._check("data", data, self.n_data), log_poisson)

    def _log(self, parameters, data: Tensor, counts) -> Tensor:
        """Return logpdf with ``counts`` as the logarithm of the Poisson probability."""
        expected = self.expected_data(parameters)
        _same_rows(parameters=expected, data=data)
        shape = torch.broadcast_shapes(expected.shape[:-1], data.shape[:-1])
        expected, data = (v.expand(*shape, -1).reshape(-1, self.n_data) for v in (expected, data))
        n = self.rates.n_bins
        main = counts(data[:, :n], expected[:, :n]).sum(1)
        aux = self.constraints.logpdf(expected[:, n:], data[:, n:], counts)
        return (main + aux).reshape(shape)

    def sample(self, parameters, generator: torch.Generator) -> Tensor:
        """Draw main and auxiliary data, one row for each row of parameters: (B, P) -> (B, D)."""
        expected = self.expected_data(parameters).detach().reshape(-1, self.n_data)
        n = self.rates.n_bins
        main = torch.poisson(expected[:, :n], generator=generator)
        return torch.cat([main, self.constraints.sample(expected[:, n:], generator)], 1)

    def fit(self, data, mu=None) -> Fit:
        """Maximise the likelihood, within the bounds, over all parameters that are not fixed.

        Args:
            data: (D,) or (B, D).
            mu: if given, a number or (B,): the parameter of interest is held there.

        Raises:
            ValueError: if mu lies outside its bounds, or the data have no density at the start.
            FitFailed: if a fit does not converge.
        """
        data = self._check("data", data, self.n_data)
        one = data.ndim == 1 and (mu is None or self._double("mu", mu).ndim == 0)
        rows, best, free = self._minimise(data, mu)
        everyone = torch.arange(len(best), device=self.device)
        _, _, hessian = derivatives(self._objective(rows), best, everyone, free)
        root, info = torch.linalg.cholesky_ex(hessian)
        root[info > 0] = torch.nan
        errors = torch.zeros_like(best)
        errors[:, free] = torch.cholesky_inverse(root).diagonal(dim1=1, dim2=2).sqrt()
        found = Fit(best, errors, -2 * self.logpdf(best, rows))
        return Fit(*(v[0] for v in found)) if one else found

    def hypotest(self, mu, data, return_expected_set: bool = False):
        r"""Return CLs of the signal strength mu: :math:`\tilde q_\mu`, asymptotic, as pyhf's.

        Small values exclude mu. Source: arXiv:1007.1727.

        Args:
            mu: a number or (B,).
            data: (D,) or (B, D).
            return_expected_set: also return the five values expected without signal, for
                fluctuations of -2, -1, 0, 1, 2 standard deviations, (5,) or (5, B).

        Raises:
            ValueError: if there is no parameter of interest, or mu lies outside its bounds.
            FitFailed: if a fit does not converge.
        """
        data, mu = self._check("data", data, self.n_data), self._double("mu", mu)
        one = mu.ndim == 0 and data.ndim == 1
        q, q_asimov = self._test_statistics(mu.reshape(-1), data.reshape(-1, self.n_data))
        observed, expected = cls_from_q(q, q_asimov)
        observed, expected = (observed[0], expected[:, 0]) if one else (observed, expected)
        return (observed, expected) if return_expected_set else observed

    def discovery(self, data) -> Tensor:
        """Return the p-value of the background alone, from q0, asymptotic: scalar or (B,)."""
        free, null = self.fit(data), self.fit(data, mu=0.0)
        q = (null.twice_nll - free.twice_nll).clamp(min=0)
        return torch.special.ndtr(-q.sqrt())

    def upper_limit(self, data, level: float = 0.05) -> tuple[Tensor, Tensor]:
        """Return the mu with CLs = level: observed, a scalar, and the five expected, (5,).

        The parameter of interest is sought between 0 and its upper bound. See ``crossings``.

        Raises:
            ValueError: if CLs is still above the level at the upper bound of mu.
        """
        data = self._check("data", data, self.n_data)

        def curves(mu):
            observed, expected = self.hypotest(mu, data, return_expected_set=True)
            return torch.cat([observed[None], expected])

        low, high = (v.clamp(min=0).repeat(6) for v in self.bounds[self._moving_poi()])
        limits = crossings(curves, low, high, level)
        return limits[0], limits[1:]

    def _test_statistics(self, mu: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return q-tilde at mu of the data and of the Asimov data without signal, (B,) each."""
        poi = self._moving_poi()
        _, free, _ = self._minimise(data)
        _, null, _ = self._minimise(data, 0.0)
        _, held, _ = self._minimise(data, mu)
        q = 2 * (self._log(free, data, poisson_gain) - self._log(held, data, poisson_gain))
        q = torch.where(free[:, poi] > mu, 0, q.clamp(min=0))
        asimov = self.expected_data(null)  # its best fit is known: the null itself
        _, held, _ = self._minimise(asimov, mu)
        gain = self._log(null, asimov, poisson_gain) - self._log(held, asimov, poisson_gain)
        return q, (2 * gain).clamp(min=0).expand(len(q))

    def _minimise(self, data: Tensor, mu=None) -> tuple[Tensor, Tensor, list[int]]:
        """Fit from the initial values; return data (B, D), best (B, P) and what moved."""
        data = data.reshape(-1, self.n_data)
        start = self.init.repeat(len(data), 1)
        free = [i for i, fixed in enumerate(self.fixed) if not fixed]
        if mu is not None:
            mu = finite("mu", self._double("mu", mu)).reshape(-1, 1)
            _same_rows(mu=mu, data=data)
            rows, poi = max(len(mu), len(data)), self._moving_poi()
            data, start = data.expand(rows, -1), self.init.repeat(rows, 1)
            start[:, poi] = mu[:, 0]
            free.remove(poi)
        low, high = self.bounds.T
        outside = ((start < low) | (start > high)).any(0).tolist()
        if any(outside):
            names = [name for name, out in zip(self.names, outside, strict=True) if out]
            raise ValueError(f"start: expected values within the bounds, got {names} outside")
        return data, minimise(self._objective(data), start, low, high, free), free

    def _objective(self, data: Tensor):
        return lambda parameters, rows: -self._log(parameters, data[rows], poisson_gain)

    def _moving_poi(self) -> int:
        if self.poi is None or self.fixed[self.poi]:
            raise ValueError("mu: expected a parameter of interest that is not fixed, got none")
        return self.poi

    def _check(self, name: str, value, width: int) -> Tensor:
        value = self._double(name, value)
        if value.ndim not in (1, 2) or value.shape[-1] != width:
            shape = tuple(value.shape)
            raise ValueError(f"{name}: expected shape ({width},) or (B, {width}), got {shape}")
        return finite(name, value)

    def _double(self, name: str, value) -> Tensor:
        try:
            return torch.as_tensor(value, dtype=torch.float64, device=self.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"{name}: expected numbers, got {type(value).__name__}") from error


def _same_rows(**values: Tensor) -> None:
    """Raise unless all that have rows, and not one only, have equally many."""
    rows = {name: len(v) if v.ndim == 2 else 1 for name, v in values.items()}
    if len(set(rows.values()) - {1}) > 1:
        raise ValueError(f"{' and '.join(rows)}: expected equally many rows, got {rows}")

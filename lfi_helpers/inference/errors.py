"""The errors of inference that have a name of their own. Computes nothing."""


class TooFewSimulations(ValueError):
    """There are too few simulations for the network that was asked for."""


class BudgetExceeded(RuntimeError):
    """Sampling reached its budget of steps or seconds; the message says how far it came."""


class NoAcceptedSamples(BudgetExceeded):
    """Not one simulation came within epsilon of the observation before the budget was spent.

    ``epsilon`` is the tolerance that was asked for, ``smallest`` the smallest distance seen,
    ``n_sim`` the number of simulations.
    """

    def __init__(self, epsilon: float, smallest: float, n_sim: int):
        super().__init__(
            f"epsilon: no simulation came within {epsilon:g} of x_obs; the smallest distance of "
            f"{n_sim} simulations is {smallest:g}"
        )
        self.epsilon, self.smallest, self.n_sim = epsilon, smallest, n_sim


class UntracedRandomness(ValueError):
    """A program draws from another generator than the one handed to it."""


class ObservationNotReached(ValueError):
    """A program makes fewer, or more, of the observed draws than there are observed values."""


class AddressChangedType(TypeError):
    """One place in a program draws from different families in different traces."""

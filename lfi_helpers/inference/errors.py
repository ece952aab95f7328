"""The errors of inference that have a name of their own. Computes nothing."""


class TooFewSimulations(ValueError):
    """There are too few simulations for the network that was asked for."""


class BudgetExceeded(RuntimeError):
    """Sampling reached its budget of steps or seconds; the message says how far it came."""

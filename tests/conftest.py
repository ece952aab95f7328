"""Fixtures that test files share: a poisoned default device, an undisturbed random state."""

import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # with two on two busy cores, small products take ten times longer


@pytest.fixture
def same_when_poisoned():
    """Return a function that demands equal results when the default device is ``meta``.

    An implicit device then gives a tensor without data. It need not raise: indexing a CPU
    tensor with a meta index returns garbage, so only equality tells.
    """

    def demand(compute):
        expected = compute()
        with torch.device("meta"):
            got = compute()
        torch.testing.assert_close(got, expected, rtol=0, atol=0)

    return demand


@pytest.fixture(autouse=True)
def random_state_untouched():
    """Fail any test whose code moves a global random state instead of using a generator."""
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    yield
    after = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0]), "torch's global random state was moved"
    assert before[1] == after[1], "numpy's global random state was moved"

"""The table of verdicts says what was seen, and how strongly: p-values in, cells out."""

import matplotlib.pyplot as plt
import numpy as np

from lfi_helpers import plots

P = {"exact": {"ranks": 0.3, "score": 0.2}, "prior": {"ranks": 0.9, "score": 0.0}}


def test_cells_say_what_lies_below_alpha():
    ax = plots.verdicts(P, alpha=1e-6, title="Who objects")
    assert [text.get_text() for text in ax.texts] == ["", "", "", "seen"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["ranks", "score"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["exact", "prior"]
    assert ax.get_title() == "Who objects"
    drawn = np.asarray(ax.collections[0].get_array()).ravel()
    np.testing.assert_allclose(drawn, [-np.log10(0.3), -np.log10(0.2), -np.log10(0.9), 30])
    plt.close("all")


def test_it_draws_where_it_is_told():
    ax = plt.subplots()[1]
    assert plots.verdicts(P, alpha=1e-6, title="", ax=ax) is ax
    plt.close("all")

"""Notebook 21: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "21_put_physics_in_a_gaussian_process.ipynb"
HALF_CIRCLE = ("/ (2 * np.pi) * np.exp(-(u**2)", "/ np.pi * np.exp(-(u**2)")  # both directions
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "mean minus closed form": (
        ["check-closed-form"],
        "0.4 * u + 0.1, 0.4 * v + 0.1",  # one length for both masses
        "0.4 * u + 0.1, 0.4 * u + 0.1",
    ),
    "deviation over closed form": (
        ["check-closed-form"],
        "np.diag(whole)[63:] + expected(t)",  # of the background, not of a new count
        "np.diag(whole)[63:]",
    ),
    "evidence over numpy's": (
        ["check-closed-form"],
        "np.linalg.slogdet(2 * np.pi * Sigma)",  # a constant forgotten
        "np.linalg.slogdet(Sigma)",
    ),
    "three parameters: chi2 per bin": (
        ["spectra", "check-headline"],
        "rng.poisson(truth,",  # a nature that has three parameters
        "rng.poisson(three_parameter_fit(truth),",
    ),
    "Gaussian process: chi2 per bin": (
        ["spectra", "check-headline"],
        "m + (spectra - m) @ H.T",  # theory, with nothing learned
        "m + 0 * spectra",
    ),
    "three parameters: rms distance from nature": (
        ["spectra", "check-headline"],
        "(fit - truth) ** 2 / truth",  # relative to the nearest smooth curve
        "(fit - fit.mean(0)) ** 2 / truth",
    ),
    "Gaussian process: rms distance from nature": (
        ["spectra", "check-headline"],
        "m + (spectra - m) @ H.T",  # the counts themselves
        "spectra",
    ),
    "score of size a in standard errors": (
        ["check-generating"],
        "toys[:500].T",  # waves twice as large
        "(toys + deviations)[:500].T",
    ),
    "score of slope b in standard errors": (
        ["check-generating"],
        "toys[:500].T",  # noise twice as large
        "(2 * toys - deviations)[:500].T",
    ),
    "pull of the energy scale: mean": (
        ["generate", "check-generating"],
        "epsilon = 0.01 * rng",  # a calibration that is off by half its error
        "epsilon = 0.005 + 0.01 * rng",
    ),
    "pull of the energy scale: width": (
        ["generate", "check-generating"],
        "np.sqrt(0.01**2 - 0.01**2 * pulling @ d)",  # the prior's error kept
        "0.01",
    ),
    "evidence of a signal minus closed form": (
        ["check-signal"],
        "- 0.5 * np.log(1 + A2q)",  # no price for the new freedom
        "",
    ),
    "share of the bump that the background absorbs": (
        ["fit", "search", "check-absorbed"],
        "process, (a, b) = given(learned.kernel_,",  # a length that is too short
        "process, (a, b) = given(noise + physics_kernel(0.058, 0.02),",
    ),
    "absorbed share minus formula": (
        ["check-absorbed"],
        "(s / m) @ (raised - plain) / (height * (s**2 / m).sum())",  # without the weights
        "s @ (raised - plain) / (height * (s**2).sum())",
    ),
    "too short: share that the background absorbs": (
        ["figure-absorbed", "check-break"],
        "physics_kernel(a, 0.02)",
        "physics_kernel(a, 0.4)",
    ),
    "local p at 2 TeV: KS distance from uniform, times root n": (
        ["global", "check-global"],
        "scan = significance(toys, background)",  # a background taken for known
        "scan = significance(toys, ConstantKernel(1e-9))",
    ),
    "crossings of z = 1 minus Rice, in standard errors": (
        ["check-global"],
        "(scan[:, :-1] < 1) & (scan[:, 1:] >= 1)",  # downwards as well
        "(scan[:, :-1] < 1) != (scan[:, 1:] < 1)",
    ),
    "normal toys: global p at z = 3 over formula": (["global", "check-global"], *HALF_CIRCLE),
    "counted toys: global p at z = 3 over formula": (
        ["global", "check-global"],
        "rng.poisson(np.maximum(m + deviations, 0))",  # the noise counted twice
        "rng.poisson(np.maximum(m + toys, 0))",
    ),
    "exercise 1: mean significance of the bump": (
        ["solution-1", "check-exercise-1"],
        "5 * np.sqrt(1 - absorbed_share(background))",  # a share of z, not of its square
        "5 * (1 - absorbed_share(background))",
    ),
    "exercise 2: chi2 per bin with so many events": (
        ["solution-2", "check-exercise-2"],
        "1.5 * 63 - 60",  # noise counted as misfit
        "1.5 * 63",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 21."""

    name = NOTEBOOK
    faults = FAULTS

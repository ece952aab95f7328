"""Notebook 11: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "11_reduce_sensors_to_one_number.ipynb"
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "mass of the true leptons, off by (GeV)": (
        ["check-closure"],
        "mass(leptons)",  # the detector's leptons
        "mass(z.measured.sum(1))",
    ),
    "their momentum, off by (GeV)": (
        ["check-closure"],
        "(leptons - higgs)",  # every boost reversed: all masses are right
        "(leptons * torch.tensor([1, -1, -1, -1]) - higgs)",
    ),
    "mean of the squared mass (in standard errors)": (
        ["check-closure"],
        "z.measured.sum(1)",  # one error for all four leptons
        "(z.measured[:, :1, :1] / z.leptons[:, :1, :1] * z.leptons).sum(1)",
    ),
    "mass error over its prediction, spread": (
        ["resolution", "check-resolution"],
        "w.square().sum(1).sqrt()",  # errors of four leptons added, not their squares
        "w.sum(1)",
    ),
    "information left, shares over spread": (
        ["resolution", "check-resolution"],
        "/ m4l[:, None] ** 2",  # shares of the energy in the laboratory
        "/ dot(seen, seen.sum(1, keepdim=True)) * (seen[..., 0] / seen[..., 0].sum(1)[:, None])",
    ),
    "width of the pulls of m_H": (
        ["fit", "check-headline"],
        "[:, 2, 2].sqrt()",  # the variance taken for the error
        "[:, 2, 2]",
    ),
    "mean of the fitted m_H (GeV)": (
        ["fit", "check-headline"],
        "share * m[..., None]",  # one percent of the events above the peak counted as signal
        "(share + 0.01 * real[..., None] * (m[..., None] > 125)) * m[..., None]",
    ),
    "largest gradient of log L at a fit": (["fit", "check-headline"], "range(80)", "range(5)"),
    "m_H fitted to the Asimov histogram (GeV)": (
        ["histogram-fit", "check-headline"],
        "means(truth, edges), torch",  # a histogram with fluctuations
        "torch.poisson(means(truth, edges), generator=this.generator(9)), torch",
    ),
    "Asimov error over scatter": (
        ["histogram-fit", "check-headline"],
        "torch.linalg.inv(information)[2, 2].sqrt()",  # two sigma
        "2 * torch.linalg.inv(information)[2, 2].sqrt()",
    ),
    "squared score over the integral: S": (
        ["information", "check-information"],
        "(50, m4l), (40, flat)",  # background forgotten
        "(50, m4l),",
    ),
    "squared score over the integral: m_H": (
        ["information", "check-information"],
        "* lambda_x[:, None, None]",  # the integral of a density, not of a rate
        "* (lambda_x / 90)[:, None, None]",
    ),
    "largest eigenvalue of all histograms": (
        ["means-at-centres", "information", "check-information"],
        "",  # the rate at a bin's centre, times its width, for the integral over the bin
        "",
    ),
    "kept by 1 GeV bins": (
        ["information", "check-information"],
        "inner = 125 + h *",  # bins of 2 GeV
        "inner = 125 + 2 * h *",
    ),
    "8 GeV bins, on an edge minus mid-bin": (
        ["information", "check-information"],
        ".double() + phase)",  # always on an edge
        ".double())",
    ),
    "error of histograms, four sensors": (
        ["curse", "check-curse"],
        "(counts**2).sum() / n**2",  # blur only: as if the cells were known
        "overlap / n",
    ),
    **{
        f"slope of the error, sensors: {d}": (
            ["curse", "check-curse"],
            "(bins / 8) ** d",  # the volume of a cell taken for its width
            "(bins / 8)",
        )
        for d in (2, 3, 4)
    },
    "slope of the error, sensors: 1": (
        ["curse", "check-curse"],
        "(one - two) / n",  # noise that falls like the error of a mean, not its square
        "(one - two) / n.sqrt()",
    ),
    "shift of m_H, not profiled (GeV)": (
        ["shift", "check-scale"],
        "experiments(1.005, 3)",  # the scale applied twice
        "experiments(1.005**2, 3)",
    ),
    "coverage at one sigma, scale ignored": (
        ["shift", "check-scale"],
        "experiments(1.005, 3)",  # nothing is shifted
        "experiments(1.0, 3)",
    ),
    "coverage at one sigma, scale profiled": (
        ["shift", "check-scale"],
        "+ (0.005 * m_hat) ** 2",  # the calibration's error forgotten
        "+ 0 * m_hat",
    ),
    "exercise 1: best resolution (GeV)": (
        ["solution-1", "check-exercise-1"],
        "width.min()",
        "width.mean()",
    ),
    "exercise 2: calibration that costs a tenth": (
        ["solution-2", "check-exercise-2"],
        "1.1 * asimov_error",  # errors added, not their squares
        "(1 + 0.1**2) * asimov_error",
    ),
}
CENTRES = """
def means(parameters, edges):
    centre = (edges[1:] + edges[:-1]) / 2
    return log_rate(parameters, centre).exp() * edges.diff()
"""


class TestClaims(NotebookClaims):
    """Notebook 11."""

    name = NOTEBOOK
    faults = FAULTS
    more = {"means-at-centres": CENTRES}

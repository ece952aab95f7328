"""Notebook 33: each of its claims fails under a wrong implementation that is named here."""

from notebook_claims import NotebookClaims

NOTEBOOK = "33_diagnose_a_ratio.ipynb"
SMALLER = {  # the notebook's own cells at sizes that a unit test can afford
    '"teaching": 400_000': '"teaching": 200_000',
    '"teaching": 50_000': '"teaching": 20_000',
    '"teaching": 60_000': '"teaching": 24_000',
    "[:10_000], x_ref[:10_000], log_r[:10_000]": "[:4000], x_ref[:4000], log_r[:4000]",
}
PLANT = ["plant", "table", "check-blind"]
CURVES = ["plant", "curves", "check-blind"]
ONLY_CURVES = """
first = {fault: planted_scan(fault, 0.1) for fault in to_curves}
shift = {fault: one.estimate.mean() - best[0].item() for fault, one in first.items()}
"""
# claim: (cells to run again, the right text in one of them, the wrong text)
FAULTS = {
    "composed log density minus the package's": (
        ["compose", "check-compose"],
        "dist.Normal(theta[1], 3.0)",  # the variance taken for the deviation
        "dist.Normal(theta[1], 9.0)",
    ),
    "fit by gradients minus the exact fit (sigma)": (
        ["fit", "check-compose"],
        '"max_iter": 200',  # stopped on the way
        '"max_iter": 2',
    ),
    "gradient of the mixture minus finite differences, relative": (
        ["fisher", "check-compose"],
        "/ 2e-5",  # one step taken for two
        "/ 1e-5",
    ),
    "mixture fit: chi2 of its distance": (
        ["fit-mixture", "check-compose"],
        "< 0.7",  # events of another mixture
        "< 0.76",
    ),
    "published fit: chi2": (
        ["fit-mixture", "check-compose"],
        "[0.98586, 0.68948]",  # the two parameters exchanged
        "[0.68948, 0.98586]",
    ),
    "good: spread of the three best alpha": (
        ["check-headline"],
        'scan["good"].spread',  # few calibration events at every point
        'scan["poorly calibrated"].spread',
    ),
    "good: AUC of the weighted test": (
        ["check-headline"],
        'auc["good"]',  # few training events
        'auc["poorly trained"]',
    ),
    "poorly trained: AUC of the weighted test": (
        ["check-headline"],
        'auc["poorly trained"]',  # many training events
        'auc["good"]',
    ),
    "poorly calibrated: largest difference of curves": (
        ["check-headline"],
        'scan["poorly calibrated"].difference',  # the same noise at every theta
        'scan["good"].difference',
    ),
    "poorly calibrated: AUC of the weighted test": (
        ["check-headline"],
        'auc["poorly calibrated"]',  # few training events
        'auc["poorly trained"]',
    ),
    "raw: AUC of the weighted test": (
        ["check-headline"],
        'auc["raw"]',
        'auc["poorly trained"]',
    ),
    "raw: best alpha minus the exact one (sigma)": (
        ["check-headline"],
        'scan["raw"].estimate',  # calibrated after all
        'scan["good"].estimate',
    ),
    "AUC without weights": (["check-headline"], ".unweighted", ".auc"),
    "shape: largest difference of curves": (
        CURVES,
        '"shape": z[:, 2].mean()',  # a shape that depends on theta
        '"shape": z[:, 2].mean() * noise',
    ),
    "tilt: largest difference of curves": (
        CURVES,
        "references[:, :1].double()",  # not a difference of theta and theta_1
        "references[:, :1].double() * alpha.double()",
    ),
    "nature: largest difference of curves": (
        CURVES,
        "exact_scan(x + kappa * R[0])",  # other data for each reference
        "exact_scan(x) + N_DATA * kappa * noise",
    ),
    "offset: change of the AUC": (
        PLANT,
        '"offset": noise[0, 6]',  # an offset that depends on x
        '"offset": z_ref[:, 1]',
    ),
    "tilt: change of the AUC": (PLANT, '"tilt": 1.0', '"tilt": z_ref[:, 0]'),
    "tilt: best alpha off by": (
        CURVES,
        "rows + N_DATA * kappa",  # added once, not for every event
        "rows + kappa",
    ),
    "nature: best alpha off by": (CURVES, "kappa * R[0]", "kappa * R[1]"),  # another feature moves
    "shape, strongest: AUC above a half, in its errors": (
        ["power", "check-blind"],
        '"shape", k',  # a fault that the test cannot see
        '"offset", k',
    ),
    "offset, strength 0.1: largest difference of curves": (
        ["check-blind"],
        'first["offset"].difference, above',
        'first["nature"].difference, above',
    ),
    "tilt: mean weight over the exact one": (
        ["check-blind"],
        'second["nature"].mean_weight',
        'second["tilt"].mean_weight',
    ),
    "exercise 1: share of the events that is left": (
        ["solution-1", "check-exercise-1"],
        "(z_many - 0.5)",  # weighted over twice the distance
        "(2 * z_many - 2)",
    ),
    "exercise 2: best alpha after the repair, off by": (
        ["solution-2", "check-exercise-2"],
        "0.1 - measured",
        "0.1 + measured",
    ),
}


class TestClaims(NotebookClaims):
    """Notebook 33."""

    name = NOTEBOOK
    faults = FAULTS
    smaller = SMALLER
    left_out = ("figure-power",)
    more = {"curves": ONLY_CURVES}

"""Workspaces for the HistFactory tests: known ones with published numbers, and random ones."""

import numpy as np

LUMI = {"name": "lumi", "auxdata": [1.0], "bounds": [[0.0, 10.0]], "inits": [1.0]}


def modifier(kind, name, data=None):
    return {"type": kind, "name": name, "data": data}


def sample(name, data, *modifiers):
    return {"name": name, "data": data, "modifiers": list(modifiers)}


MU = modifier("normfactor", "mu")


def signal(data, *modifiers):
    return sample("signal", data, MU, *modifiers)


def workspace(channels, observed, parameters=()):
    """Return a workspace of {channel: samples} and {channel: counts}."""
    return {
        "channels": [{"name": n, "samples": s} for n, s in channels.items()],
        "observations": [{"name": n, "data": d} for n, d in observed.items()],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": list(parameters)}}],
        "version": "1.0.0",
    }


def uncorrelated(sig, bkg, width, observed):
    samples = [signal(sig), sample("background", bkg, modifier("shapesys", "gamma", width))]
    return workspace({"c": samples}, {"c": observed})


def _histosys(name, lo, hi):
    return modifier("histosys", name, {"lo_data": lo, "hi_data": hi})


def _normsys(name, lo, hi):
    return modifier("normsys", name, {"lo": lo, "hi": hi})


def _two_channels(first, second, observed):
    return workspace({"signal": first, "control": second}, observed)


def known():
    """Return {name: (workspace, CLs at mu = 1 as published by pyhf or HistFactory)}.

    None where the published number is not for q-tilde: with a deficit the two differ.
    """
    coupled = _normsys("syst", 0.9, 1.1)
    up_down = _histosys("syst", [90.0, 90.0], [110.0, 110.0])
    shape = modifier("shapefactor", "shape")
    lumi = modifier("lumi", "lumi")
    bkg = {"signal": [100.0, 150.0], "control": [200.0, 350.0]}
    widths = {"signal": [10.0, 10.0], "control": [5.0, 10.0]}
    gamma = {c: sample("bkg", bkg[c], modifier("shapesys", c, widths[c])) for c in bkg}
    return {
        "two bins": (uncorrelated([12.0, 11], [50.0, 52], [3.0, 7], [51, 48]), 0.05251497),
        "docs": (uncorrelated([5.0, 10], [50.0, 60], [5.0, 12], [50, 60]), 0.35998409),
        "shapesys": (uncorrelated([10.0], [50.0], [7.0], [55.0]), 0.4541865416),
        "lumi": (
            workspace(
                {"c": [signal([20.0]), sample("b1", [100.0], lumi), sample("b2", [0.0], lumi)]},
                {"c": [55.0]},
                [LUMI | {"sigmas": [0.1]}],
            ),
            None,
        ),
        "normsys": (
            workspace(
                {"c": [signal([30.0, 95]), sample("b", [100.0, 150], _normsys("n", 0.9, 1.1))]},
                {"c": [120.0, 180]},
            ),
            None,
        ),
        "histosys": (
            workspace(
                {
                    "c": [
                        signal([30.0, 95.0]),
                        sample("b", [100.0, 150.0], _histosys("h", [98.0, 100], [102.0, 190])),
                    ]
                },
                {"c": [120.0, 180.0]},
            ),
            None,
        ),
        "two channels": (
            _two_channels(
                [signal([10.0, 35.0]), gamma["signal"]],
                [gamma["control"]],
                {"signal": [110.0, 155.0], "control": [205.0, 345.0]},
            ),
            0.0563326211,
        ),
        "coupled normsys": (
            _two_channels(
                [
                    signal([10.0, 35.0]),
                    sample("b1", [100.0, 100.0], coupled),
                    sample("b2", [50.0, 100.0], _normsys("syst", 0.5, 1.5)),
                ],
                [sample("b", [100.0, 100.0], coupled)],
                {"signal": [105.0, 220.0], "control": [110.0, 105.0]},
            ),
            None,
        ),
        "coupled histosys": (
            _two_channels(
                [
                    signal([30.0, 35.0]),
                    sample("b1", [100.0, 100.0], up_down),
                    sample("b2", [50.0, 120.0], _histosys("syst", [45.0, 45], [55.0, 55])),
                ],
                [sample("b", [105.0, 100.0], _histosys("syst", [95.0, 90], [110.0, 115]))],
                {"signal": [170.0, 220.0], "control": [110.0, 105.0]},
            ),
            None,
        ),
        "coupled shapefactor": (
            _two_channels(
                [signal([20.0, 20.0]), sample("b", [100.0, 70.0], shape)],
                [sample("b", [100.0, 100.0], shape)],
                {"signal": [220.0, 230.0], "control": [200.0, 300.0]},
            ),
            0.5421679125,
        ),
    }


def random_workspace(seed):
    """Return a workspace of two or three channels in which all seven modifiers occur."""
    rng = np.random.default_rng(seed)
    bins = {f"region{k}": int(rng.integers(1, 3)) for k in range(rng.integers(1, 3))}
    bins["sideband"] = bins["region0"]  # shares its shapefactor with region0
    channels, observed = {}, {}
    for channel, n in bins.items():
        nominal = rng.uniform(20, 200, n)
        qcd = sample("qcd", nominal.tolist(), modifier("lumi", "lumi"))
        qcd["modifiers"] += _random_systematics(rng, nominal, channel)
        other = rng.uniform(20, 200, n)
        samples = [qcd, sample("other", other.tolist(), *_staterror(rng, channel, other))]
        qcd["modifiers"] += _staterror(rng, channel, nominal)
        if channel in ("region0", "sideband"):
            samples.append(sample("shaped", [50.0] * n, modifier("shapefactor", "shape")))
        total = sum(np.array(s["data"]) for s in samples)
        if channel != "sideband":
            strength = rng.uniform(0.1, 0.4, n) * np.sqrt(total) * 3
            samples.append(signal(strength.tolist(), modifier("lumi", "lumi")))
            samples[-1]["modifiers"].append(_normsys("theory", 0.93, rng.uniform(1.01, 1.2)))
            total = total + rng.uniform(0, 2) * strength
        channels[channel] = [samples[k] for k in rng.permutation(len(samples))]
        observed[channel] = rng.poisson(total).astype(float).tolist()
    return workspace(channels, observed, [LUMI | {"sigmas": [0.02]}])


def _random_systematics(rng, nominal, channel):
    lo, hi = (nominal * (1 + s * rng.uniform(0.01, 0.1, len(nominal))) for s in (-1, 1))
    return [
        _normsys("scale", float(rng.uniform(0.8, 0.99)), float(rng.uniform(1.01, 1.3))),
        _histosys("energy", lo.tolist(), hi.tolist()),
        _histosys(f"tail_{channel}", hi.tolist(), (hi * 1.05).tolist()),  # both sides up
        modifier("shapesys", f"gamma_{channel}", (nominal * rng.uniform(0, 0.1)).tolist()),
    ]


def _staterror(rng, channel, nominal):
    width = rng.uniform(0.5, 2, len(nominal)) * np.sqrt(nominal)
    return [modifier("staterror", f"stat_{channel}", width.tolist())]

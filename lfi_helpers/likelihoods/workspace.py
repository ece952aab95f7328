"""Reading a specification: pyhf judges it and builds its model. Nothing is computed here."""

import warnings


def read(spec: dict) -> tuple:
    """Return pyhf's model of a workspace or model, and the observed data if it holds any."""
    import pyhf  # takes as long to import as the rest of the room

    if not isinstance(spec, dict):
        raise TypeError(f"spec: expected a dict, got {type(spec).__name__}")
    with warnings.catch_warnings():
        obsolete = "jsonschema.RefResolver is deprecated"  # how pyhf 0.7.6 calls jsonschema
        warnings.filterwarnings("ignore", obsolete, DeprecationWarning)
        if set(spec) <= {"channels", "parameters"}:
            pyhf.schema.validate(spec, "model.json")
            _demand_positive_factors(spec)
            return pyhf.Model(spec), None
        workspace = pyhf.Workspace(spec)
        _demand_positive_factors(spec)
        model = workspace.model()
        return model, workspace.data(model)


def _demand_positive_factors(spec: dict) -> None:
    """Raise if a normsys has a factor whose logarithm does not exist: all rates would be NaN."""
    for channel in spec["channels"]:
        for modifier in (m for s in channel["samples"] for m in s["modifiers"]):
            data = modifier["data"]
            if modifier["type"] == "normsys" and not (data["lo"] > 0 and data["hi"] > 0):
                raise ValueError(f"normsys {modifier['name']}: expected lo and hi > 0, got {data}")

"""Write ``hpo_plugins/sagemaker/request_schema.json`` from the service model that botocore ships.

    python -m tests.sagemaker.generate_schema

A test compares the file with the installed botocore: run this when the test says that the service has changed.
"""

import json
from pathlib import Path

REQUEST = "CreateHyperParameterTuningJobRequest"
FILE = Path(__file__).parents[2] / "hpo_plugins" / "sagemaker" / "request_schema.json"
KEPT = ("type", "required", "enum", "min", "max", "pattern")

# Where the checked shapes differ from the model on purpose; everything else is the model's.
TAG = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"
OVERRIDES = {
    # The service's list of instance types grows every month, and none of them has a meaning here: check the form.
    "TrainingInstanceType": {"type": "string", "min": 1, "max": 64, "pattern": r"ml\.[a-z0-9-]+\.[a-z0-9-]+"},
}
PATTERNS = {
    # Java's classes for letters, separators and numbers of every script: (?u:...) lets \w go beyond ASCII.
    TAG: r"(?u:[\w\s.:/=+\-@]*)",
}


def generate():
    """The shapes that a request can reach, by name, without documentation."""
    from botocore.loaders import Loader

    model = Loader().load_service_model("sagemaker", "service-2")["shapes"]
    shapes, waiting = {}, [REQUEST]
    while waiting:
        name = waiting.pop()
        if name not in shapes:
            shapes[name] = OVERRIDES.get(name) or plain(model[name])
            waiting += references(shapes[name])
    return {"shapes": dict(sorted(shapes.items()))}


def plain(shape):
    """One shape of the model, its references as names."""
    found = {key: shape[key] for key in KEPT if key in shape}
    if found.get("pattern") in PATTERNS:
        found["pattern"] = PATTERNS[found["pattern"]]
    if "members" in shape:
        found["members"] = {name: member["shape"] for name, member in shape["members"].items()}
    return found | {key: shape[key]["shape"] for key in ("member", "key", "value") if key in shape}


def references(shape):
    """The names of the shapes that a shape refers to."""
    return [*shape.get("members", {}).values(), *(shape[key] for key in ("member", "key", "value") if key in shape)]


def text():
    """The file's content."""
    return json.dumps(generate(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")

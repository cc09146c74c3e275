"""The checked-in schema is the service's model, and checks agree with it on both sides of each limit."""

import json
import re

import pytest

import hpo_plugins as hpo
from hpo_plugins.sagemaker.parsing import parse_request
from hpo_plugins.sagemaker.schema import REQUEST, check, load_shapes

from . import generate_schema
from .examples import changed, load

INSTANCE_TYPE = "TrainingInstanceType"
SAMPLES = [
    "a", "0", "-", "s3://{}", "fs-{}", "alias/{}", "arn:aws:iam::123456789012:role/{}",
    "arn:aws:sagemaker:us-east-1:123456789012:training-plan/{}",
    "arn:aws:sagemaker:us-east-1:123456789012:hub-content/a/DataSet/{}",
]  # fmt: skip
UNSTRETCHABLE = {  # no sample can be longer than the limit and match
    "HubDataSetArn", "HyperParameterTuningJobName", "HyperParameterTrainingJobDefinitionName", "ArnOrName",
}  # fmt: skip


def shapes_of(service, *types):
    """The names and the model's metadata of the shapes of some types."""
    found = [(name, service.shape_for(name)) for name in load_shapes()]
    return [(name, shape) for name, shape in found if shape.type_name in types]


def pattern_of(theirs):
    pattern = theirs.metadata.get("pattern", r"[\S\s]*")
    return r"(?u:[\w\s.:/=+\-@]*)" if pattern == generate_schema.TAG else pattern


def accepts(name, value):
    try:
        checked = check(value, name, "some.path")
    except hpo.InvalidArgument as error:
        return "some.path" not in str(error)  # an error that does not name its path does not count
    return checked == value


def accepts_count(name, value):
    """Whether the number of members is accepted, whatever the members are."""
    try:
        check(value, name, "some.path")
    except hpo.InvalidArgument as error:
        return not str(error).startswith("some.path must have ")
    return True


def test_schema_is_generated_from_the_installed_botocore():
    pytest.importorskip("botocore")
    assert json.loads(generate_schema.FILE.read_text(encoding="utf-8")) == generate_schema.generate(), (
        "the service's model has changed: run python -m tests.sagemaker.generate_schema"
    )
    assert generate_schema.FILE.read_text(encoding="utf-8") == generate_schema.text()


def test_schema_has_every_shape_of_the_request(service):
    """Walks botocore's own objects, not the JSON that the generator reads."""
    seen = set()

    def walk(ours, theirs):
        if ours in seen:
            return
        seen.add(ours)
        shape = load_shapes()[ours]
        assert (ours, shape["type"]) == (theirs.name, theirs.type_name)
        assert shape.get("required", []) == theirs.required_members if theirs.type_name == "structure" else True
        if theirs.type_name == "structure":
            assert list(shape["members"]) == list(theirs.members), ours
            for name, member in theirs.members.items():
                walk(shape["members"][name], member)
        elif theirs.type_name == "list":
            walk(shape["member"], theirs.member)
        elif theirs.type_name == "map":
            walk(shape["key"], theirs.key)
            walk(shape["value"], theirs.value)
        if ours != INSTANCE_TYPE:
            limits = {key: theirs.metadata[key] for key in ("min", "max") if key in theirs.metadata}
            assert {key: shape[key] for key in ("min", "max") if key in shape} == limits, ours
            assert shape.get("enum", []) == list(getattr(theirs, "enum", [])), ours

    walk(REQUEST, service.operation_model("CreateHyperParameterTuningJob").input_shape)
    assert seen == set(load_shapes())
    assert len(seen) > 100


def test_instance_types_are_accepted_by_their_form(service):
    assert all(accepts(INSTANCE_TYPE, value) for value in service.shape_for(INSTANCE_TYPE).enum)
    assert not any(accepts(INSTANCE_TYPE, wrong) for wrong in ("", "p5.large", "ml.p5", "ml.P5.large", 1, None))


def test_integers_agree_on_both_sides_of_each_limit(service):
    for name, theirs in shapes_of(service, "integer", "long"):
        least, most = theirs.metadata.get("min"), theirs.metadata.get("max")
        if least is not None:
            assert accepts(name, least), name
            assert not accepts(name, least - 1), name
        if most is not None:
            assert accepts(name, most), name
            assert not accepts(name, most + 1), name
        assert not any(accepts(name, wrong) for wrong in ("1", 1.0, True, None, [1])), name


def test_enums_accept_exactly_their_values(service):
    for name, theirs in shapes_of(service, "string"):
        if theirs.enum and name != INSTANCE_TYPE:
            assert all(accepts(name, value) for value in theirs.enum), name
            assert not any(accepts(name, f"{value}x") for value in theirs.enum), name
            assert not any(accepts(name, value.swapcase()) for value in theirs.enum), name


def test_strings_agree_on_both_sides_of_each_limit(service):
    for name, theirs in shapes_of(service, "string"):
        if theirs.enum:
            continue
        least, most = theirs.metadata.get("min", 0), theirs.metadata["max"]
        for length in {least, most, least + 1, most - 1}:
            text = sample(pattern_of(theirs), length)
            assert text is None or accepts(name, text), (name, length)
        longer, shorter = sample(pattern_of(theirs), most + 1), sample(pattern_of(theirs), least - 1)
        assert longer is None or not accepts(name, longer), name
        assert shorter is None or not accepts(name, shorter), name
        assert longer is not None or name in UNSTRETCHABLE, name
        for wrong in ("\n", "ä#", "a\nb", "§" * max(least, 1)):
            matches = re.fullmatch(pattern_of(theirs), wrong, re.ASCII) and least <= len(wrong) <= most
            assert accepts(name, wrong) == bool(matches), (name, wrong)
        assert not any(accepts(name, wrong) for wrong in (1, None, b"a", ["a"])), name


def sample(pattern, length):
    """A string of that length that matches, or None if none of the samples can be stretched to it."""
    if length < 0:
        return None
    for template in SAMPLES:
        filling = "0" * (length - len(template) + 2)
        text = template.format(filling) if "{}" in template else template * length
        if len(text) == length and re.fullmatch(pattern, text, re.ASCII):
            return text
    return None


def test_lists_agree_on_both_sides_of_each_limit(service):
    for name, theirs in shapes_of(service, "list"):
        least, most = theirs.metadata.get("min", 0), theirs.metadata["max"]
        for count, fine in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
            if count >= 0:
                assert accepts_count(name, [None] * count) is fine, name
        assert not any(accepts(name, wrong) for wrong in ("a", {}, 1, None)), name


def test_maps_agree_on_both_sides_of_their_limit(service):
    for name, theirs in shapes_of(service, "map"):
        most = theirs.metadata["max"]
        assert accepts(name, {f"k{index}": "v" for index in range(most)}), name
        assert not accepts(name, {f"k{index}": "v" for index in range(most + 1)}), name


def leaves(value, path=()):
    yield path, value
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from leaves(member, (*path, key))


def shown(path):
    text = ""
    for key in path:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


@pytest.mark.parametrize("name", ["everything", "several_definitions"])
def test_wrong_types_are_refused_with_their_path(name):
    request = load(name)
    for path, value in leaves(request):
        if not path:
            continue
        wrong = 5 if isinstance(value, str | dict | list) else "five"
        with pytest.raises(hpo.InvalidArgument) as raised:
            parse_request(changed(request, path, wrong))
        assert str(raised.value).startswith(f"{shown(path)} must be "), path


def test_unknown_members_suggest_the_nearest_name():
    request = load("everything")
    for path, value in leaves(request):
        if isinstance(value, dict) and path[-1:] not in (("StaticHyperParameters",), ("Environment",)):
            with pytest.raises(hpo.InvalidArgument) as raised:
                parse_request(changed(request, (*path, "Nonsense"), 1) if path else request | {"Nonsense": 1})
            assert str(raised.value).startswith(f"{shown((*path, 'Nonsense'))} is not known. "), path
    with pytest.raises(hpo.InvalidArgument, match="Stratgy is not known. Did you mean 'Strategy'"):
        parse_request(changed(request, ("HyperParameterTuningJobConfig", "Stratgy"), "Random"))


def test_missing_members_are_named_with_their_path():
    request = load("everything")
    del request["HyperParameterTuningJobConfig"]["ResourceLimits"]
    with pytest.raises(hpo.InvalidArgument, match="^HyperParameterTuningJobConfig.ResourceLimits must be given"):
        parse_request(request)
    with pytest.raises(hpo.InvalidArgument, match="^ResourceLimits must be given"):
        parse_request(request["HyperParameterTuningJobConfig"])
    for nothing in ({}, None, [], 1):
        with pytest.raises(
            hpo.InvalidArgument, match="request must be a dict|HyperParameterTuningJobName must be given"
        ):
            parse_request(nothing)

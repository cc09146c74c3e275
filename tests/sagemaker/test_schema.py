"""The request's schema against the service's model: generated from it, and the same on both sides of each limit."""

import re

import pytest

import hpo_plugins as hpo
from hpo_plugins.sagemaker import generate_schema
from hpo_plugins.sagemaker.parsing import parse
from hpo_plugins.sagemaker.schema import check, shapes

from .examples import changed, load

TAG = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"  # Java's classes, which Python's re lacks
SAMPLES = [
    "a", "0", "-", "s3://{}", "fs-{}", "alias/{}", "arn:aws:iam::123456789012:role/{}",
    "arn:aws:sagemaker:us-east-1:123456789012:training-plan/{}",
    "arn:aws:sagemaker:us-east-1:123456789012:hub-content/a/DataSet/{}",
]  # fmt: skip
BY_FORM = "TrainingInstanceType"
"""The one shape that is checked by its form, since the service's list grows."""


@pytest.fixture(scope="module")
def pairs(service):
    """Every shape of a request by name, beside the service's."""
    return {name: (name, service.shape_for(name)) for name in shapes()}


def pattern_of(theirs):
    pattern = theirs.metadata.get("pattern", r"[\S\s]*")
    return r"(?u:[\w\s.:/=+\-@]*)" if pattern == TAG else pattern


def accepts(shape, value):
    try:
        checked = check(value, shape, "some.path")
    except hpo.InvalidArgument as error:
        return "some.path" not in str(error)  # a refusal without its path is none
    return checked == value


def test_schema_is_generated_from_the_services_model(service):
    assert shapes() == generate_schema.generate()
    assert len(shapes()) > 60


def test_schema_has_every_shape_of_the_request(service):
    seen, pending = set(), [service.operation_model("CreateHyperParameterTuningJob").input_shape]
    while pending:
        shape = pending.pop()
        if shape.name not in seen:
            seen.add(shape.name)
            pending += list(getattr(shape, "members", {}).values())
            pending += [getattr(shape, part) for part in ("member", "key", "value") if hasattr(shape, part)]
    assert seen == set(shapes())


def test_instance_types_of_the_model_are_accepted(service):
    assert all(accepts(BY_FORM, value) for value in service.shape_for(BY_FORM).enum)


def of_type(pairs, *types):
    return [(name, theirs) for name, theirs in pairs.values() if theirs.type_name in types and name != BY_FORM]


def test_numbers_agree_on_both_sides(pairs):
    for name, theirs in of_type(pairs, "integer", "long"):
        least, most = theirs.metadata.get("min"), theirs.metadata.get("max")
        if least is not None:
            assert accepts(name, least), name
            assert not accepts(name, least - 1), name
        if most is not None:
            assert accepts(name, most), name
            assert not accepts(name, most + 1), name
        assert not any(accepts(name, wrong) for wrong in ("1", 1.0, True, None, [1])), name


def test_strings_agree_on_both_sides(pairs):
    for name, theirs in of_type(pairs, "string"):
        if theirs.enum:
            assert all(accepts(name, value) for value in theirs.enum), name
            assert not any(accepts(name, f"{value}x") for value in theirs.enum), name
            assert not any(accepts(name, value.swapcase()) for value in theirs.enum), name
            continue
        least, most = theirs.metadata.get("min", 0), theirs.metadata["max"]
        for length in {least, most, least + 1, most - 1}:
            text = sample(pattern_of(theirs), length)
            assert text is None or accepts(name, text), (name, length)
        longer, shorter = sample(pattern_of(theirs), most + 1), sample(pattern_of(theirs), least - 1)
        assert longer is None or not accepts(name, longer), name
        assert shorter is None or not accepts(name, shorter), name
        unstretchable = ("DatasetArn", "JobName", "DefinitionName", "AlgorithmName", "ArnOrName", "DataSetArn")
        assert longer is not None or name.endswith(unstretchable), name
        for wrong in ("\n", "ä#", "a\nb", "§" * max(least, 1)):
            matches = re.fullmatch(pattern_of(theirs), wrong, re.ASCII) and least <= len(wrong) <= most
            assert accepts(name, wrong) == bool(matches), (name, wrong)
        assert not any(accepts(name, wrong) for wrong in (1, None, b"a", ["a"])), name


def sample(pattern, length):
    """A string of that length that matches, None where none of the samples can be stretched to it."""
    if length < 0:
        return None
    for template in SAMPLES:
        filling = "0" * (length - len(template) + 2)
        text = template.format(filling) if "{}" in template else template * length
        if len(text) == length and re.fullmatch(pattern, text, re.ASCII):
            return text
    return None


def test_lists_and_maps_agree_on_both_sides(pairs, monkeypatch):
    for name, theirs in of_type(pairs, "list"):
        least, most = theirs.metadata.get("min", 0), theirs.metadata["max"]
        monkeypatch.setitem(shapes(), "one", {"type": "integer"})
        monkeypatch.setitem(shapes(), "ones", shapes()[name] | {"member": "one"})
        for count, fine in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
            if count >= 0:
                assert accepts("ones", [1] * count) is fine, name
        assert not any(accepts(name, wrong) for wrong in ("a", {}, 1, None)), name
    for name, theirs in of_type(pairs, "map"):
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
def test_whatever_has_another_type_is_refused_with_its_path(name):
    request = load(name)
    for path, value in leaves(request):
        if not path:
            continue
        wrong = 5 if isinstance(value, str | dict | list) else "five"
        with pytest.raises(hpo.InvalidArgument) as raised:
            parse(changed(request, path, wrong))
        assert str(raised.value).startswith(f"{shown(path)} must be "), path


def test_unknown_members_are_refused_with_the_nearest_name():
    request = load("everything")
    for path, value in leaves(request):
        if isinstance(value, dict) and path[-1:] not in (("StaticHyperParameters",), ("Environment",)):
            with pytest.raises(hpo.InvalidArgument) as raised:
                parse(changed(request, (*path, "Nonsense"), 1) if path else request | {"Nonsense": 1})
            assert str(raised.value).startswith(f"{shown((*path, 'Nonsense'))} is not known. "), path
    with pytest.raises(hpo.InvalidArgument, match="Stratgy is not known. Did you mean 'Strategy'"):
        parse(changed(request, ("HyperParameterTuningJobConfig", "Stratgy"), "Random"))


def test_missing_members_are_named_for_the_whole_and_for_a_configuration_alone():
    request = load("everything")
    del request["HyperParameterTuningJobConfig"]["ResourceLimits"]
    with pytest.raises(hpo.InvalidArgument, match="^HyperParameterTuningJobConfig.ResourceLimits must be given"):
        parse(request)
    with pytest.raises(hpo.InvalidArgument, match="^ResourceLimits must be given"):
        parse(request["HyperParameterTuningJobConfig"])
    for nothing in ({}, None, [], 1):
        with pytest.raises(
            hpo.InvalidArgument, match="request must be a dict|HyperParameterTuningJobName must be given"
        ):
            parse(nothing)

"""Our copy of the request's shape against the service's model: the same tree, the same on both sides of each limit."""

import re

import pytest

import hpo_plugins as hpo
from hpo_plugins.sagemaker.parsing import read
from hpo_plugins.sagemaker.request_shape import _INSTANCE_TYPE, REQUEST
from hpo_plugins.sagemaker.shapes import Choice, Flag, Listing, Real, Structure, Table, Text, Whole

from .examples import changed, load

TYPES = {
    "structure": Structure, "list": Listing, "map": Table, "integer": Whole, "long": Whole, "float": Real,
    "boolean": Flag,
}  # fmt: skip
TAG = r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)"  # Java's classes, which Python's re lacks
SAMPLES = [
    "a", "0", "-", "s3://{}", "fs-{}", "alias/{}", "arn:aws:iam::123456789012:role/{}",
    "arn:aws:sagemaker:us-east-1:123456789012:training-plan/{}",
    "arn:aws:sagemaker:us-east-1:123456789012:hub-content/a/DataSet/{}",
]  # fmt: skip


def pairs(service):
    """Every shape of the request beside ours, by path; a shape that comes twice is walked once."""
    found, seen = {}, set()

    def walk(ours, theirs, path):
        found[path] = ours, theirs
        if (id(ours), theirs.name) in seen:
            return
        seen.add((id(ours), theirs.name))
        if theirs.type_name == "structure":
            assert set(ours.members) == set(theirs.members), path
            for name, member in theirs.members.items():
                walk(ours.members[name], member, f"{path}.{name}")
        elif theirs.type_name == "list":
            walk(ours.member, theirs.member, f"{path}[]")
        elif theirs.type_name == "map":
            walk(ours.key, theirs.key, f"{path}.<key>")
            walk(ours.value, theirs.value, f"{path}.<value>")

    walk(REQUEST, service.operation_model("CreateHyperParameterTuningJob").input_shape, "")
    return found


def pattern_of(theirs):
    pattern = theirs.metadata.get("pattern", r"[\S\s]*")
    return r"(?u:[\w\s.:/=+\-@]*)" if pattern == TAG else pattern


def accepts(ours, value):
    try:
        checked = ours.check(value, "some.path")
    except hpo.InvalidArgument as error:
        return "some.path" not in str(error)  # a refusal without its path is none
    return checked == value


def test_every_shape_is_the_models(service):
    found = pairs(service)
    assert len(found) > 150
    for path, (ours, theirs) in found.items():
        data = theirs.metadata
        if theirs.type_name == "structure":
            assert set(ours.required) == set(theirs.required_members), path
        if theirs.type_name == "string":
            if ours is _INSTANCE_TYPE:
                assert all(accepts(ours, value) for value in theirs.enum)
            elif theirs.enum:
                assert set(ours.values) == set(theirs.enum), path
            else:
                assert (ours.least, ours.most) == (data.get("min", 0), data["max"]), path
                assert ours.pattern == pattern_of(theirs), path
        else:
            assert type(ours) is TYPES[theirs.type_name], path
        if theirs.type_name in ("integer", "long"):
            assert (ours.least, ours.most) == (data.get("min"), data.get("max")), path
        if theirs.type_name == "list":
            assert (ours.least, ours.most) == (data.get("min", 0), data["max"]), path
        if theirs.type_name == "map":
            assert ours.most == data["max"], path


def test_numbers_agree_on_both_sides(service):
    for path, (ours, theirs) in pairs(service).items():
        if isinstance(ours, Whole):
            least, most = theirs.metadata.get("min"), theirs.metadata.get("max")
            if least is not None:
                assert accepts(ours, least), path
                assert not accepts(ours, least - 1), path
            if most is not None:
                assert accepts(ours, most), path
                assert not accepts(ours, most + 1), path
            assert not any(accepts(ours, wrong) for wrong in ("1", 1.0, True, None, [1])), path


def test_strings_agree_on_both_sides(service):
    for path, (ours, theirs) in pairs(service).items():
        if isinstance(ours, Choice):
            assert all(accepts(ours, value) for value in theirs.enum), path
            assert not any(accepts(ours, f"{value}x") for value in theirs.enum), path
            assert not any(accepts(ours, value.swapcase()) for value in theirs.enum), path
        if not isinstance(ours, Text) or ours is _INSTANCE_TYPE:
            continue
        least, most = theirs.metadata.get("min", 0), theirs.metadata["max"]
        for length in {least, most, least + 1, most - 1}:
            text = sample(pattern_of(theirs), length)
            assert text is None or accepts(ours, text), (path, length)
        longer, shorter = sample(pattern_of(theirs), most + 1), sample(pattern_of(theirs), least - 1)
        assert longer is None or not accepts(ours, longer), path
        assert shorter is None or not accepts(ours, shorter), path
        assert longer is not None or path.endswith(("DatasetArn", "JobName", "DefinitionName", "AlgorithmName")), path
        for wrong in ("\n", "ä#", "a\nb", "§" * max(least, 1)):
            matches = re.fullmatch(pattern_of(theirs), wrong, re.ASCII) and least <= len(wrong) <= most
            assert accepts(ours, wrong) == bool(matches), (path, wrong)
        assert not any(accepts(ours, wrong) for wrong in (1, None, b"a", ["a"])), path


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


def test_lists_and_maps_agree_on_both_sides(service):
    for path, (ours, theirs) in pairs(service).items():
        if isinstance(ours, Listing):
            least, most = theirs.metadata.get("min", 0), theirs.metadata["max"]
            for count, fine in ((least, True), (most, True), (least - 1, False), (most + 1, False)):
                if count >= 0:
                    members = Listing(Whole(), ours.least, ours.most)
                    assert accepts(members, [1] * count) is fine, path
            assert not any(accepts(ours, wrong) for wrong in ("a", {}, 1, None)), path
        if isinstance(ours, Table):
            most = theirs.metadata["max"]
            assert accepts(ours, {f"k{index}": "v" for index in range(most)}), path
            assert not accepts(ours, {f"k{index}": "v" for index in range(most + 1)}), path


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
            read(changed(request, path, wrong))
        assert str(raised.value).startswith(f"{shown(path)} must be "), path


def test_unknown_members_are_refused_with_the_nearest_name():
    request = load("everything")
    for path, value in leaves(request):
        if isinstance(value, dict) and path[-1:] not in (("StaticHyperParameters",), ("Environment",)):
            with pytest.raises(hpo.InvalidArgument) as raised:
                read(changed(request, (*path, "Nonsense"), 1) if path else request | {"Nonsense": 1})
            assert str(raised.value).startswith(f"{shown((*path, 'Nonsense'))} is not known. "), path
    with pytest.raises(hpo.InvalidArgument, match="Stratgy is not known. Did you mean 'Strategy'"):
        read(changed(request, ("HyperParameterTuningJobConfig", "Stratgy"), "Random"))


def test_missing_members_are_named_for_the_whole_and_for_a_configuration_alone():
    request = load("everything")
    del request["HyperParameterTuningJobConfig"]["ResourceLimits"]
    with pytest.raises(hpo.InvalidArgument, match="^HyperParameterTuningJobConfig.ResourceLimits must be given"):
        read(request)
    with pytest.raises(hpo.InvalidArgument, match="^ResourceLimits must be given"):
        read(request["HyperParameterTuningJobConfig"])
    for nothing in ({}, None, [], 1):
        with pytest.raises(
            hpo.InvalidArgument, match="request must be a dict|HyperParameterTuningJobName must be given"
        ):
            read(nothing)

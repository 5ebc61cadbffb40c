"""Names: how they are read, what is said of those that are none, and which ones were meant."""

import pytest

from biosegment.client import names
from biosegment.client.errors import InvalidArgumentError
from biosegment.client.kinds import KINDS


def test_short_and_full_names_mean_the_same() -> None:
    full = "projects/p/models/m/versions/3"
    assert names.expand(names.VERSION, "m/3", "p") == full
    assert names.expand(names.VERSION, full, "other") == full
    assert names.expand(names.VERSION, "m/latest", "p") == "projects/p/models/m/versions/latest"
    assert names.expand(names.DATASET, "d", "p") == "projects/p/datasets/d"
    assert names.project_of(full) == "projects/p"
    assert names.parse_int(names.VERSION, full) == ("p/m", 3)


@pytest.mark.parametrize("pattern", KINDS)
def test_every_kind_can_be_named_as_its_example_says(pattern: str) -> None:
    if pattern == names.PROJECT:
        assert names.check_id(KINDS[pattern].example) == names.short("projects/lab")
        return
    for example in KINDS[pattern].example.split(" or "):
        assert names.short(names.expand(pattern, example, "p")) == example


@pytest.mark.parametrize(
    ("value", "fault", "better"),
    [
        ("Liver", 'capitals such as "L"', "liver"),
        ("Liver_1", 'capitals such as "L"', "liver_1"),
        ("liVER", 'capitals such as "V"', "liver"),
        ("my data", "spaces are not allowed", "my-data"),
        ("tab\there", "spaces are not allowed", "tab-here"),
        ("größe", '"ö" is not allowed', "grosse"),
        ("Éclair", 'capitals such as "É"', "eclair"),
        ("liver.tif", '"." is not allowed', "liver-tif"),
        ("50%", '"%" is not allowed', "50"),
        ("a\x1b[31m", "the control character U+001B", "a-31m"),
        ("-liver", 'it begins with "-" or "_"', "liver"),
        ("liver_", 'it ends with "-" or "_"', "liver"),
        ("a" * 64, "it has 64 characters", "a" * 63),
        ("", "it is empty", ""),
        ("…", '"…" is not allowed', ""),
        ("肝", '"肝" is not allowed', ""),
    ],
)
def test_an_illegal_name_hears_which_character_is_wrong(
    value: str, fault: str, better: str
) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        names.check_id(value, "data set")
    said = refused.value.message
    assert said.startswith(f'"{value[:80]}" cannot name a data set: {fault}')
    assert 'Use a-z, 0-9, "-" and "_"' in said
    assert (f'for example "{better}".' in said) == bool(better)
    if better:
        assert names.check_id(better) == better


@pytest.mark.parametrize(
    ("pattern", "value", "words"),
    [
        (names.DATASET, "Liver", ["cannot name a data set", '"liver"']),
        (names.DATASET, "projects/default/datasets/Liver", ["cannot name a data set", '"liver"']),
        (names.DATASET, "projects/Lab/datasets/liver", ["cannot name a project", '"lab"']),
        (names.DATASET, "liver/raw", ["does not name a data set", "like liver."]),
        (names.VOLUME, "a b", ["cannot name a volume", '"a-b"']),
        (names.SEGMENTATION, "liver/Mito", ["cannot name a segmentation", '"mito"']),
        (names.SEGMENTATION, "Liver/mito", ["cannot name a data set", '"liver"']),
        (names.SEGMENTATION, "mito", ["does not name a segmentation", "liver/mito-1"]),
        (names.VERSION, "Mito/latest", ["cannot name a model:", '"mito"']),
        (names.VERSION, "mito", ["does not name a model version", "mito/3 or mito/latest"]),
        (names.VERSION, "mito/Latest", ['"Latest" is not a number', "mito/latest"]),
        (names.VERSION, "mito/v3", ['"v3" is not a number', "mito/3"]),
        (names.VERSION, "mito/03", ['"03" is not a number without leading zeros']),
        (names.PROPOSAL, "c1/latest", ['"latest" is not a number', "c1/3"]),
        (names.ANNOTATION, "liver/-1", ['"-1" is not a number', "liver/7"]),
        (names.VERSION, "projects/p/models/m", ["projects/PROJECT/models/MODEL/versions/"]),
        (names.DATASET, "projects/p/models/m", ["projects/PROJECT/datasets/DATA-SET"]),
    ],
)
def test_a_reference_hears_which_part_is_wrong(pattern: str, value: str, words: list[str]) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        names.expand(pattern, value, "p")
    for word in words:
        assert word in refused.value.message


@pytest.mark.parametrize(
    "value", ["", "m", "m/3/4", "M/3", "m/", "../x", "projects/p/models/m", "m/3\n", "m /3"]
)
def test_names_that_fit_no_pattern_are_refused(value: str) -> None:
    with pytest.raises(InvalidArgumentError):
        names.expand(names.VERSION, value, "p")


@pytest.mark.parametrize("value", ["", "-a", "a-", "A", "a" * 64, "a/b", "a b", "é", ".."])
def test_ids_are_checked(value: str) -> None:
    with pytest.raises(InvalidArgumentError):
        names.check_id(value)


def test_what_is_not_there_brings_to_mind_what_is() -> None:
    there = [f"projects/default/datasets/{each}" for each in ("liver", "liver-2", "kidney")]
    error = names.not_found(names.DATASET, "projects/default/datasets/lver", there)
    assert error.message == (
        'There is no data set "lver" in the project "default". Did you mean liver or liver-2? '
        "`biosegment dataset list` shows those there are."
    )
    assert error.metadata["name"] == "projects/default/datasets/lver"
    other = names.not_found(names.DATASET, "projects/lab/datasets/x").message
    assert other.endswith("Make one with: biosegment --project lab import FILE --dataset NAME")
    assert names.not_found(names.PROJECT, "projects/lib", ["projects/lab"]).message == (
        'There is no project "lib". Did you mean lab? '
        "`biosegment project list` shows those there are."
    )
    version = names.not_found(names.VERSION, "projects/default/models/m/versions/9")
    assert "`biosegment model versions m` shows" in version.message


def test_a_command_names_the_project_where_it_is_not_the_usual_one() -> None:
    assert names.command("job retry", "projects/default/jobs/j") == "biosegment job retry j"
    assert (
        names.command("segment", "projects/lab/models/m/versions/3", "liver")
        == "biosegment --project lab segment m/3 liver"
    )


def test_people_read_short_names_in_a_sentence() -> None:
    said = (
        "projects/default/datasets/liver/segmentations/mito-1 and projects/default/volumes/a_b. "
        "projects/lab/volumes/x, /data/projects/default/volumes/y and projects/default stay."
    )
    assert names.shortened(said, "default") == (
        "liver/mito-1 and a_b. "
        "projects/lab/volumes/x, /data/projects/default/volumes/y and projects/default stay."
    )
    assert names.shortened("projects/default/models/m/versions/3 fits.", "default") == "m/3 fits."

"""What a home knows of its arrays, also after it was moved or copied."""

import shutil
from pathlib import Path

import pytest

from biosegment.cli.up.store_note import StoreNote
from biosegment.client.errors import FailedPreconditionError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    (folder / "store").mkdir(parents=True)
    return folder


def copied(home: Path) -> Path:
    return Path(shutil.copytree(home, home.parent / "copy", symlinks=True))


def test_a_home_keeps_to_the_store_that_its_record_is_about(tmp_path: Path) -> None:
    home = tmp_path / "h"
    home.mkdir()
    note = StoreNote(home)
    assert note.place(None) == str(home / "store")
    assert note.place("s3://lab/bio/") == "s3://lab/bio"
    note.keep_place("s3://lab/bio")
    assert note.place(None) == "s3://lab/bio"
    assert note.place("s3://lab/bio/") == "s3://lab/bio"
    with pytest.raises(FailedPreconditionError, match=r"about arrays in s3://lab/bio, not in"):
        note.place(str(tmp_path / "elsewhere"))
    moved = note.place(str(tmp_path / "elsewhere"), take=True)
    note.keep_place(moved)
    assert note.place(None) == str(tmp_path / "elsewhere")


def test_a_home_from_before_stores_could_be_elsewhere_has_its_arrays_within(home: Path) -> None:
    with pytest.raises(FailedPreconditionError, match="not in s3://lab/bio"):
        StoreNote(home).place("s3://lab/bio")
    assert StoreNote(home).place(str(home / "store")) == str(home / "store")


@pytest.mark.parametrize("given", ["store", "deep/arrays"])
def test_a_copied_home_has_its_own_arrays(home: Path, given: str) -> None:
    (home / given).mkdir(parents=True, exist_ok=True)
    StoreNote(home).keep_place(str(home / given))
    assert StoreNote(home).place(None) == str(home / given)
    copy = copied(home)
    assert StoreNote(copy).place(None) == str(copy / given)
    assert StoreNote(copy).place(str(copy / given)) == str(copy / given)
    with pytest.raises(FailedPreconditionError, match="not in"):
        StoreNote(copy).place(str(home / given))


def test_a_home_that_is_reached_by_a_link_notes_its_arrays_as_its_own(home: Path) -> None:
    link = home.parent / "link"
    link.symlink_to(home)
    StoreNote(link).keep_place(str(home / "store"))
    assert (home / "store-place").read_text() == "store\n"
    assert StoreNote(link).place(None) == str(link / "store")
    assert StoreNote(home).place(str(link / "store")) == str(link / "store")


def test_an_old_home_that_was_moved_finds_its_arrays(home: Path) -> None:
    (home / "store-place").write_text(f"{home / 'store'}\n")
    assert StoreNote(home).place(None) == str(home / "store")
    moved = home.rename(home.parent / "moved")
    assert StoreNote(moved).place(None) == str(moved / "store")


def test_an_old_home_that_was_copied_asks_which_arrays_are_its_own(home: Path) -> None:
    (home / "store-place").write_text(f"{home / 'store'}\n")
    note = StoreNote(copied(home))
    with pytest.raises(FailedPreconditionError, match="seems to be a copy") as caught:
        note.place(None)
    for place in (note.within, home / "store"):
        assert f"--store {place}" in caught.value.message
        assert note.place(str(place)) == str(place)
    with pytest.raises(FailedPreconditionError, match="about arrays in"):
        note.place("s3://lab/bio")
    note.keep_place(str(note.within))
    assert note.place(None) == str(note.within)


def test_an_old_home_with_arrays_elsewhere_goes_on(tmp_path: Path) -> None:
    home, arrays = tmp_path / "home", tmp_path / "arrays"
    home.mkdir()
    arrays.mkdir()
    (home / "store-place").write_text(f"{arrays}\n")
    assert StoreNote(home).place(None) == str(arrays)


def test_sessions_are_known_from_before_the_store_learns_of_them(tmp_path: Path) -> None:
    home, place = tmp_path / "home", "s3://lab/bio"
    home.mkdir()
    first, known = StoreNote(home).begin_session(place)
    assert known == ""
    # Neither of the two starts came to its end: the store may have either session.
    second, known = StoreNote(home).begin_session(place)
    assert known == first
    third, known = StoreNote(home).begin_session(place)
    assert known.split(",") == [first, second]
    StoreNote(home).keep_session(place, third)
    assert StoreNote(home).begin_session(place)[1] == third
    assert StoreNote(home).begin_session(place, take=True)[1] == "*"
    assert len({first, second, third}) == 3


def test_arrays_within_are_the_homes_whoever_had_them_before(home: Path) -> None:
    note = StoreNote(home)
    assert note.begin_session(str(note.within))[1] == "*"
    assert not (home / "store-sessions").exists()


def test_arrays_behind_a_link_are_elsewhere(home: Path) -> None:
    (home / "store").rmdir()
    disk = home.parent / "disk"
    disk.mkdir()
    (home / "store").symlink_to(disk)
    note = StoreNote(home)
    note.keep_place(str(note.within))
    session, _ = note.begin_session(note.place(None))
    note.keep_session(note.place(None), session)
    copy = StoreNote(copied(home))
    # A copy has the link as well: it must show that the arrays are still its own.
    assert copy.place(None) == str(home.parent / "copy" / "store")
    assert copy.begin_session(copy.place(None))[1] == session

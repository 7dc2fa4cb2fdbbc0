"""Names of data on disk, and how examples are shared out."""

from __future__ import annotations

from pathlib import Path

import pytest

from automl.errors import DataError
from automl.userdata.sources import (
    PicturePreparation,
    held_out,
    in_drawn_order,
    is_source,
    read_source,
    shared_out,
)


def test_a_name_says_where_and_how() -> None:
    found = read_source("folder:a b/photos?size=224x320&mean=0.4,0.5,0.6&std=0.2&crop=0.9")
    assert found.path == Path("a b/photos")
    wanted = PicturePreparation((224, 320), 0.9, (0.4, 0.5, 0.6), (0.2,))
    assert found.preparation == wanted
    assert read_source("x.npz").preparation == PicturePreparation()
    assert read_source("folder:x?channels=1&mean=0.5").preparation.channels == 1
    assert is_source("x.npz?mean=1")
    assert not is_source("mine.py:loaders")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("sise=224", r"no option 'sise' \(did you mean size\?\)"),
        ("size=big", "size is pixels, such as 224, or HEIGHTxWIDTH, found 'big'"),
        ("size=0", "found '0'"),
        ("mean=0.1,0.2", "mean has 2 numbers, expected 1 or 3"),
        ("std=a", "std is a number, found 'a'"),
        ("std=0", "std has to be above 0"),
        ("crop=1.5", "crop is a share of the picture"),
        ("channels=2", "channels is 1 or 3, found '2'"),
    ],
)
def test_what_cannot_be_is_refused(written: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_source(f"folder:photos?{written}")


def test_examples_are_shared_out_whole_and_by_name() -> None:
    names = [f"{number}.png" for number in range(23)]
    order = in_drawn_order(range(23), names)
    assert sorted(order) == list(range(23))
    assert order != sorted(order)
    assert in_drawn_order(range(3), names[:3]) == [each for each in order if each < 3]
    for share, sizes in ((shared_out, [15, 4, 4]), (held_out, [19, 4])):
        parts = share(order)
        assert [len(each) for each in parts.values()] == sizes
        assert sorted(each for part in parts.values() for each in part) == list(range(23))

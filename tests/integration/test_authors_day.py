"""The page of an author's day prints what its commands print."""

import shutil
from pathlib import Path

import pytest
from transcript import agree, run, steps

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(400)
def test_an_authors_day_goes_as_the_page_says(tmp_path):
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    told = steps((ROOT / "docs" / "authors-day.md").read_text("utf-8"))
    printed = run([command for command, _ in told], tmp_path / "policies", timeout=390)
    for (command, expected), output in zip(told, printed, strict=True):
        assert agree(expected, output), "\n".join([f"$ {command}", *output])


@pytest.mark.parametrize(
    ("told", "printed", "agreed"),
    [
        (["a"], ["a"], True),
        (["a"], ["b"], False),
        (["a"], [], False),
        ([], ["a"], False),
        (["..."], [], True),
        (["a", "...", "d"], ["a", "b", "c", "d"], True),
        (["a", "...", "d"], ["a", "b", "c"], False),
        (["47 passed in 0.27 s"], ["47 passed in 1.31 s"], True),
        (["47 passed in 0.27 s"], ["46 passed in 0.27 s"], False),
    ],
)
def test_what_is_told_is_compared_line_by_line(told, printed, agreed):
    assert agree(told, printed) is agreed

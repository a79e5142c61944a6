"""Finding and reading policy files."""

import os
import re
from pathlib import Path

import pytest

from authz.errors import ConfigError, PolicyError
from authz.stores.document_files import read_document
from authz.stores.policy_files import PolicyFiles, PolicySettings
from authz.stores.reading import UnreadableError, read_bytes, read_text


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "model.conf").write_text("model")
    (tmp_path / "rules").mkdir()
    for name in ("b.csv", "a.csv", "c.txt", ".hidden.csv"):
        (tmp_path / "rules" / name).write_text(f"rules of {name}")
    (tmp_path / "rules" / "inside.csv").mkdir()
    (tmp_path / "one.csv").write_text("one rule, größer\n")
    return tmp_path


def files(base: Path, *policies: str, **settings: object) -> PolicyFiles:
    return PolicyFiles(PolicySettings(model="model.conf", policies=policies, **settings), base)  # type: ignore[arg-type]


def test_files_directories_and_patterns_are_read_in_order(base: Path):
    found = files(base, "one.csv", "rules", "rules/*.txt").read()
    assert (found.model_file, found.model) == ("model.conf", "model")
    assert found.policies == (
        ("one.csv", "one rule, größer\n"),
        ("rules/a.csv", "rules of a.csv"),
        ("rules/b.csv", "rules of b.csv"),
        ("rules/c.txt", "rules of c.txt"),
    )


def test_a_file_that_is_named_twice_is_read_once(base: Path):
    assert [name for name, _ in files(base, "rules/b.csv", "rules", "rules/*.csv").read().policies] == [
        "rules/b.csv",
        "rules/a.csv",
    ]


def test_an_absolute_path_stays_one(base: Path, tmp_path: Path):
    assert files(base, str(base / "rules")).read().policies[0][0] == str(tmp_path / "rules" / "a.csv")


def test_what_is_watched_covers_files_that_are_not_there_yet(base: Path):
    watched = files(base, "one.csv", "missing.csv", "rules", "rules/*.txt").watched()
    assert {str(path.relative_to(base)) for path in watched} == {
        *("model.conf", "one.csv", "missing.csv", "rules", "rules/a.csv", "rules/b.csv", "rules/c.txt")
    }


@pytest.mark.parametrize(
    ("policy", "problem"),
    [
        ("missing.csv", "missing.csv: cannot be read: No such file or directory"),
        ("rules/*.yaml", "rules/*.yaml: gives no policy file"),
        ("nowhere/*.csv", "nowhere/*.csv: gives no policy file"),
        ("empty", "empty: gives no policy file; a directory is searched for *.csv"),
        ("*/a.csv", "*/a.csv: a pattern stands in the last part of a path only"),
        ("empty.csv", "empty.csv: the file is empty"),
        ("latin.csv", "latin.csv:2: not UTF-8"),
        ("large.csv", "large.csv: larger than max_file_bytes (2000)"),
        ("pipe.csv", "pipe.csv: not a regular file"),
        ("dangling.csv", "dangling.csv: cannot be read: No such file or directory"),
    ],
)
def test_a_policy_file_that_cannot_be_used_is_told_by_name(base: Path, policy: str, problem: str):
    (base / "empty").mkdir()
    (base / "empty.csv").touch()
    (base / "latin.csv").write_bytes(b"# fine\n# gr\xf6\xdfer\n")
    (base / "large.csv").write_text("#" * 2_001)
    os.mkfifo(base / "pipe.csv")
    (base / "dangling.csv").symlink_to("nowhere")
    with pytest.raises(PolicyError, match=re.escape(problem)):
        files(base, "one.csv", policy, max_file_bytes=2_000).read()


def test_a_missing_model_is_told_by_name(base: Path):
    (base / "model.conf").unlink()
    with pytest.raises(PolicyError, match=r"model.conf: cannot be read: No such file or directory"):
        files(base, "one.csv").read()


def test_the_number_of_files_is_limited(base: Path):
    with pytest.raises(PolicyError, match=r"more than max_files \(1\) files"):
        files(base, "rules", max_files=1).read()


def test_a_file_without_permission_is_not_readable(base: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # the tests may run as root, whom no permission stops
    with pytest.raises(UnreadableError, match="cannot be read: Permission denied"):
        read_text(base / "one.csv", 100)


def test_a_directory_is_no_file_and_leaves_no_descriptor_open(base: Path):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(UnreadableError, match="cannot be read: Is a directory"):
            read_bytes(base, 100)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_exactly_the_limit_is_read(base: Path):
    (base / "x").write_bytes(b"12345")
    assert read_bytes(base / "x", 5) == b"12345"
    with pytest.raises(UnreadableError, match=r"larger than max_file_bytes \(4\)"):
        read_bytes(base / "x", 4)


def test_toml_and_json_documents_are_read(base: Path):
    (base / "x.toml").write_text('[a]\nb = "c"\n')
    (base / "x.json").write_text('{"a": {"b": "c"}}')
    assert read_document(base / "x.toml", 100) == read_document(base / "x.json", 100) == {"a": {"b": "c"}}


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.toml", "a = \n", "x.toml: not TOML: Invalid value (at line 1, column 5)"),
        ("x.toml", "a = 1\na = 2\n", "x.toml: not TOML: Cannot overwrite a value (at line 2"),
        ("x.toml", "a = " + "[" * 5_000, "x.toml: not TOML"),
        ("x.json", '{"a": 1, "a": 2}', "x.json: not JSON: a key stands twice in one object"),
        ("x.json", "[1]", "x.json: not a JSON object"),
        ("x.json", '{"a": NaN}', "x.json: not JSON: NaN is not JSON"),
        ("x.json", "[" * 100_000, "x.json: not JSON"),
        ("x.json", "{", "x.json: not JSON: Expecting property name"),
        ("x.yaml", "a: 1", "x.yaml: the name of the file must end in .toml or .json"),
        ("x.toml", "", "x.toml: the file is empty"),
    ],
)
def test_a_document_that_is_broken_is_refused(base: Path, name: str, content: str, problem: str):
    (base / name).write_text(content)
    with pytest.raises(ConfigError, match=re.escape(problem)):
        read_document(base / name, 1_000_000)

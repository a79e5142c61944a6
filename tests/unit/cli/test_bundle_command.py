"""`authz bundle`: from a policy to a file that servers take, and every way in which it is refused."""

import json
import stat
from pathlib import Path

import pytest
from bundle_kit import MODEL
from click.testing import CliRunner, Result

from authz.cli.main import cli
from authz.errors import AuthzError


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.conf").write_text(MODEL)
    (tmp_path / "policy.csv").write_text("p, spiffe://td.example/a, /x\n")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["bundle", *arguments])


def build(*more: str, policy: str = "policy.csv", revision: str = "1", name: str = "demo") -> Result:
    fixed = ["--name", name, "--revision", revision, "--model", "model.conf", "--policy", policy, "-o", "b.tar.gz"]
    return run("build", *fixed, *more)


def refused(found: Result, text: str) -> None:
    assert isinstance(found.exception, AuthzError), found.output
    assert text in str(found.exception)


def test_from_keys_to_a_verified_bundle(place: Path):
    assert run("keygen", "release").exit_code == 0
    assert stat.S_IMODE((place / "release.key").stat().st_mode) == 0o600
    assert "not signed yet" in build().output
    refused(run("verify", "b.tar.gz", "--trusted-key", "release.pub"), "b.tar.gz: not signed")
    assert run("sign", "b.tar.gz", "--key", "release.key").exit_code == 0
    found = run("verify", "b.tar.gz", "--trusted-key", "release.pub")
    assert found.exit_code == 0
    assert "ok: demo revision 1" in found.output
    told = json.loads(run("verify", "b.tar.gz", "--trusted-key", "release.pub", "--json").output)
    assert told["manifest"]["revision"] == 1


def test_a_key_is_never_overwritten(place: Path):
    run("keygen", "release")
    before = (place / "release.key").read_bytes()
    refused(run("keygen", "release"), "release.key: File exists")
    assert (place / "release.key").read_bytes() == before


def test_keys_in_each_others_place(place: Path):
    run("keygen", "release")
    refused(build("--key", "release.pub"), "release.pub: not a private key")
    build("--key", "release.key")
    refused(run("verify", "b.tar.gz", "--trusted-key", "release.key"), "a private key, which has no place")


def test_a_policy_that_no_server_would_load_is_not_packed(place: Path):
    (place / "policy.csv").write_text("p, a\n")
    refused(build(), "policy.csv:1: 1 columns where p has 2")
    (place / "model.conf").write_text("nonsense")
    refused(build(), "model.conf:1:")
    assert not (place / "b.tar.gz").exists()


def test_two_files_of_one_name(place: Path):
    (place / "sub").mkdir()
    (place / "sub/policy.csv").write_text("p, b, /y\n")
    refused(build("--policy", "sub/policy.csv"), "two files called policy.csv")


@pytest.mark.parametrize("name", ["../x", "a b", ""])
def test_a_name_that_no_bundle_has(place: Path, name: str):
    refused(build(name=name), "name")


def test_a_file_name_that_no_bundle_takes(place: Path):
    (place / "my policy.csv").write_text("p, b, /y\n")
    refused(build(policy="my policy.csv"), "no name of a file here")


@pytest.mark.parametrize("revision", ["0", "-1", "x", "1.5"])
def test_a_revision_that_is_none(place: Path, revision: str):
    assert build(revision=revision).exit_code == 2


def test_the_same_files_and_time_give_the_same_bytes(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    build()
    before = (place / "b.tar.gz").read_bytes()
    build()
    assert (place / "b.tar.gz").read_bytes() == before


def test_what_is_no_bundle_is_not_signed(place: Path):
    run("keygen", "release")
    (place / "b.tar.gz").write_bytes(b"x")
    refused(run("sign", "b.tar.gz", "--key", "release.key"), "b.tar.gz: no tar archive")
    assert (place / "b.tar.gz").read_bytes() == b"x"

"""`authz store`: what it says, and its exit codes."""

import json
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner

from authz.cli.main import cli


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "authz.toml"
    path.write_text('[identity]\ntrust_domain = "demo.internal"\n[store]\nurl = "sqlite:///kept.db"\n')
    return path


def run(config, *arguments):
    return CliRunner().invoke(cli, ["store", *arguments, "--config", str(config)])


def test_a_store_is_made_checked_backed_up_and_restored(config, tmp_path):
    assert run(config, "compact").exit_code == 0
    checked = run(config, "check")
    assert checked.exit_code == 0
    assert checked.output.endswith("ok\n")
    written = run(config, "backup", str(tmp_path / "backup.jsonl"), "--json")
    summary = json.loads(written.output)
    assert summary["rows"]["grants"] == 0
    (tmp_path / "kept.db").rename(tmp_path / "old.db")
    restored = run(config, "restore", str(tmp_path / "backup.jsonl"))
    assert restored.exit_code == 0
    assert "warning: grants revoked or completed after the backup" in restored.output
    assert summary["sha256"] in restored.output
    restored = run(config, "restore", str(tmp_path / "backup.jsonl"), "--cut-off", "https://issuer")
    assert "warning" not in restored.output
    again = run(config, "restore", str(tmp_path / "backup.jsonl"))
    assert (again.exit_code, str(again.exception).partition(":")[0]) == (1, str(tmp_path / "kept.db"))


def test_an_unsound_store_ends_with_1(config, tmp_path):
    run(config, "compact")
    with sqlite3.connect(tmp_path / "kept.db") as connection:
        connection.execute("DELETE FROM facts")
    connection.close()
    checked = run(config, "check", "--json")
    assert checked.exit_code == 1
    assert json.loads(checked.output)["problems"] == ["it does not say which store it is"]


def test_a_store_that_is_not_there_is_not_made(config, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "authz.cli.main", "store", "check", "-c", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, f"authz: {tmp_path / 'kept.db'}: there is no store yet\n")
    assert not (tmp_path / "kept.db").exists()

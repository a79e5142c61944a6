"""What "auto" means on a machine, and in a container with a CPU limit."""

import pytest

from authz.supervisor.cores import cores


@pytest.fixture
def sixteen(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000\n", 16),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("10000 100000\n", 1),
        ("6400000 100000\n", 16),
        ("", 16),
        ("nonsense\n", 16),
        ("5 0\n", 16),
        ("-1 100000\n", 16),
    ],
)
def test_the_smaller_of_cores_and_limit(sixteen, tmp_path, limit, expected):
    (tmp_path / "cpu.max").write_text(limit)
    assert cores(tmp_path) == expected


@pytest.mark.parametrize(("quota", "expected"), [("300000", 3), ("-1", 16)])
def test_cgroup_v1(sixteen, tmp_path, quota, expected):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cores(tmp_path) == expected


def test_without_a_cgroup_it_is_what_the_scheduler_gives(sixteen, tmp_path):
    assert cores(tmp_path) == 16

"""PostgreSQL without room on its disk: orders fail and say so, the rest goes on, and nothing acknowledged is lost."""

import contextlib
import os
import pwd
import subprocess

import pytest
from postgres import PostgresServer
from stores import NOW, Place, a_grant, a_revocation, a_task, until

from authz.errors import Reason
from authz.model import Subject
from authz.stores.database.errors import FullError
from authz.stores.shared_view import SharedView

_SIZE = "24m"
_DATABASE = "narrow"


@pytest.fixture(scope="module")
def small_disk():
    """A server with a file system of its own for one database, of a few megabytes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system that is small enough to be filled")
    server = PostgresServer()
    disk = server.directory / "small"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", disk], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        server.close()
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        owner = pwd.getpwuid(server.directory.stat().st_uid)
        os.chown(disk, owner.pw_uid, owner.pw_gid)
        server.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        server.execute(f"CREATE DATABASE {_DATABASE} TABLESPACE small")
        yield server, disk
    finally:
        server.stop(crash=True)
        subprocess.run(["umount", disk], check=True)
        server.close()


@contextlib.contextmanager
def filled(disk):
    """Leave no room, for the length of a block."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4_096))
    yield
    ballast.unlink()


def revoked(view, principal):
    return view.revocations.refusal(Subject(id=f"spiffe://td/{principal}", trust_domain="td"), None, NOW)


async def test_orders_fail_and_say_why_what_was_known_goes_on_and_room_ends_it(small_disk, tmp_path):
    server, disk = small_disk
    place = Place(server.url(_DATABASE), tmp_path, operation_timeout_seconds=60, heartbeat_seconds=0.1)
    acknowledged = []
    async with place.opened() as store, place.opened() as other:
        await store.revoke(a_revocation("r-old", "principal", "spiffe://td/old"))
        view = SharedView(other, 5.0, 1_000, place.clock)
        await view.load()
        with filled(disk):

            async def issue_until_full():
                for number in range(100_000):
                    grant = await store.issue(
                        a_grant(f"g{number}", f"t{number}"), a_task(f"t{number}", purpose="x" * 500)
                    )
                    acknowledged.append(grant.id)

            with pytest.raises(FullError, match="no room"):  # pages that were begun are filled first
                await issue_until_full()
            with pytest.raises(FullError, match="no room"):
                await store.issue(a_grant("more", "t-more"), a_task("t-more", purpose="x" * 60_000))
            # Reading, and so deciding, goes on: what is over is known, and known to be fresh.
            await until(lambda: other.staleness_seconds < 1 and other.fresh)
            await view.catch_up()
            assert revoked(view, "old") is Reason.PRINCIPAL_REVOKED
            assert [(await other.grant(each)).state for each in acknowledged] == ["active"] * len(acknowledged)
        # With room again the same store goes on by itself, and what failed was not done.
        assert (await store.issue(a_grant("after", "t-after"), a_task("t-after"))).state == "active"
        await store.revoke(a_revocation("r-new", "principal", "spiffe://td/new"))
        await view.catch_up()
        assert revoked(view, "new") is Reason.PRINCIPAL_REVOKED
        head = (await other.changes_since(0)).head
        assert head == len(acknowledged) + 3
        assert [(await other.grant(each)).state for each in acknowledged] == ["active"] * len(acknowledged)

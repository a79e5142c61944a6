"""Backup and restore: everything of one moment, from either kind of database into either."""

import stat

import msgspec
import pytest
from stores import NOW, Place, a_grant, a_policy, a_revocation, a_task, once

from authz.errors import ConfigError
from authz.stores.database.checking import check
from authz.stores.database.connect import connect, prepare
from authz.stores.database.errors import ChangesLostError, ConflictError, EndedError
from authz.stores.database.portable import back_up, restore, verify


async def fill(store):
    for n in range(3):
        await store.issue(a_grant(f"g{n}", f"t{n}", max_uses=2, issued_at=NOW + 1 / 3), a_task(f"t{n}"), once(f"k{n}"))
    await store.consume("g0", "d1")
    await store.complete("t1", "me")
    await store.revoke(a_revocation(value="g2", reason='quotes " \\ and é\n'))
    await store.apply_policy(a_policy())


@pytest.fixture
async def backup(place, store, tmp_path):
    """A backup of a store that is in use."""
    await fill(store)
    path = tmp_path / "backup.jsonl"
    database = connect(place.settings, place.base)
    back_up(database, path, NOW)
    database.close()
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request, tmp_path):
    """Another store, empty."""
    (tmp_path / "new").mkdir()
    url = "sqlite:///new.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    return Place(url, tmp_path / "new")


@pytest.fixture
def database(target):
    opened = connect(target.settings, target.base)
    prepare(opened, target.settings)
    yield opened
    opened.close()


async def test_what_is_restored_is_what_was_there(store, backup, target, database):
    restore(database, backup, NOW)
    assert check(database).problems == ()
    async with target.opened() as restored:
        assert (await restored.grants()) == (await store.grants())
        assert (await restored.tasks()) == (await store.tasks())
        assert (await restored.revocations()) == (await store.revocations())
        assert (await restored.policy()) == (await store.policy())
        assert (await restored.changes_since(0)).changes == (await store.changes_since(0)).changes
        assert await restored.consume("g0", "d1")  # counted once already
        assert (await restored.issue(a_grant("other"), a_task(), once("k0"))).id == "g0"
        with pytest.raises(EndedError):
            await restored.issue(a_grant("late", "t1"))
        await restored.revoke(a_revocation("r9", "principal", "p"))
        assert (await restored.changes_since(0)).head == (await store.changes_since(0)).head + 1


async def test_a_restored_store_is_another_so_that_replicas_read_it_anew(store, backup, target, database):
    restore(database, backup, NOW)
    async with target.opened() as restored:
        assert restored.store_id != store.store_id
        with pytest.raises(ChangesLostError):
            await anext(restored.watch(restored.head, store.store_id))


async def test_with_a_cut_off_what_was_issued_before_is_refused(backup, target, database):
    restore(database, backup, NOW + 5, "https://issuer")
    async with target.opened() as restored:
        [cut] = [each for each in (await restored.view()).revocations if each.kind == "issued_before"]
        assert (cut.cut_off, cut.value, cut.before, cut.expires_at) == ("issuer", "https://issuer", NOW + 5, None)


async def test_a_store_that_holds_something_is_not_written_over(place, backup):
    database = connect(place.settings, place.base)
    with pytest.raises(ConflictError, match="not empty"):
        restore(database, backup, NOW)
    database.close()


def test_a_backup_is_for_us_alone_and_never_written_over(place, backup):
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    database = connect(place.settings, place.base)
    with pytest.raises(ConfigError, match="is there already"):
        back_up(database, backup, NOW)
    database.close()
    assert [path.name for path in backup.parent.glob(".authz-backup-*")] == []


class TestDamaged:
    """A backup that is not whole is refused before anything is written."""

    def refused(self, tmp_path, content, problem):
        path = tmp_path / "damaged.jsonl"
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=problem):
            verify(path)

    async def test_every_single_change_is_noticed(self, backup, tmp_path):
        content = backup.read_bytes()
        for at in range(0, len(content), max(1, len(content) // 150)):
            changed = bytearray(content)
            changed[at] ^= 1
            self.refused(tmp_path, bytes(changed), "damaged.jsonl")

    async def test_every_cut_is_noticed(self, backup, tmp_path):
        lines = backup.read_bytes().splitlines(keepends=True)
        for count in range(1, len(lines)):
            self.refused(tmp_path, b"".join(lines[:count]), "was cut off")
        self.refused(tmp_path, b"", "was cut off")
        self.refused(tmp_path, b"".join(lines)[:-5], "not a line of a backup")

    async def test_rows_that_do_not_fit_change_nothing(self, backup, database):
        lines = [msgspec.json.decode(line) for line in backup.read_bytes().splitlines()]
        for entry in lines:
            if entry.get("table") == "uses":
                entry["rows"][0]["grant_id"] = "nowhere"
        rewrite(backup, lines)
        with pytest.raises(ConfigError, match="does not fit"):
            restore(database, backup, NOW)
        assert set(check(database).rows.values()) <= {0, 1}

    async def test_that_of_a_newer_program_is_refused(self, backup, tmp_path):
        lines = [msgspec.json.decode(line) for line in backup.read_bytes().splitlines()]
        lines[0]["schema"] = 99
        rewrite(backup, lines)
        with pytest.raises(ConfigError, match="not a backup that this program reads"):
            verify(backup)

    def test_a_missing_file_is_told(self, tmp_path):
        with pytest.raises(ConfigError, match="No such file"):
            verify(tmp_path / "none")


def rewrite(path, lines):
    import hashlib

    body = b"".join(msgspec.json.encode(line) + b"\n" for line in lines[:-1])
    lines[-1]["sha256"] = hashlib.sha256(body).hexdigest()
    path.write_bytes(body + msgspec.json.encode(lines[-1]) + b"\n")

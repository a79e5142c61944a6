"""What a bundle may be: every way in which it is not in order is refused, and the error says which."""

import gzip
import io
import json
import tarfile

import pytest
from bundle_kit import KEY, NOW, OTHER_KEY, STRANGER, entry, make, public_pem, repacked
from hypothesis import given
from hypothesis import strategies as st

from authz.bundle.archive import ArchiveLimits, pack, unpack
from authz.bundle.bundle import add_signature, open_bundle
from authz.bundle.manifest import parse_manifest
from authz.bundle.signing import new_key, read_private_key, read_public_key
from authz.errors import ConfigError

LIMITS = ArchiveLimits()
TRUSTED = [KEY.public_key()]


def opened(data: bytes, limits: ArchiveLimits = LIMITS, now: float = NOW):
    return open_bundle(data, TRUSTED, limits, "x.tar.gz", now)


def refused(data: bytes, match: str, **given: object) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        opened(data, **given)
    assert str(caught.value).startswith("x.tar.gz: ")


def renamed(name: str):
    def change(entries):
        entries[-1][0].name = name

    return change


def test_a_bundle_in_order_opens():
    bundle = opened(make(revision=7))
    assert bundle.manifest.revision == 7
    assert set(bundle.files) == {"model.conf", "policy.csv"}


def test_a_plain_tar_opens_too():
    assert opened(gzip.decompress(make())).manifest.revision == 1


def test_the_same_content_gives_the_same_bytes():
    assert make() == make()


def test_unsigned():
    refused(make(keys=()), "not signed")
    refused(repacked(make(), lambda entries: entries.pop(1)), "not signed")


def test_signed_by_a_stranger():
    refused(make(keys=(STRANGER,)), "no trusted key; trusted: [0-9a-f]{16}")


def test_one_of_several_keys_is_enough_on_either_side():
    assert opened(make(keys=(STRANGER, KEY))).key
    both = [OTHER_KEY.public_key(), KEY.public_key()]
    assert open_bundle(make(keys=(OTHER_KEY,)), both, LIMITS, "x", NOW).manifest.name == "demo"


def test_a_signature_is_added_and_replaced_in_place():
    data = add_signature(make(keys=(OTHER_KEY,)), KEY, LIMITS, "x")
    data = add_signature(data, KEY, LIMITS, "x")
    assert len(json.loads(unpack(data, LIMITS, "x")["signatures.json"])["signatures"]) == 2
    assert opened(data).manifest.name == "demo"


def test_nothing_is_signed_that_is_not_what_its_manifest_says():
    broken = repacked(make(keys=()), lambda entries: entries.__setitem__(-1, (entries[-1][0], b"p, x, /evil\n")))
    with pytest.raises(ConfigError, match="not what was signed"):
        add_signature(broken, KEY, LIMITS, "x")


def test_a_manifest_changed_after_it_was_signed():
    def change(entries):
        entries[0] = (entries[0][0], entries[0][1].replace(b'"revision": 1', b'"revision": 9'))

    refused(repacked(make(), change), "changed after it was signed")


def test_a_file_changed_after_it_was_signed():
    refused(
        repacked(make(), lambda entries: entries.__setitem__(-1, (entries[-1][0], entries[-1][1] + b"#"))),
        "'policy.csv' is not what was signed",
    )


def test_a_file_that_is_missing():
    refused(repacked(make(), lambda entries: entries.pop()), "'policy.csv' is missing")


def test_a_file_that_nobody_signed():
    refused(repacked(make(), lambda entries: entries.append((entry("extra.csv"), b"p"))), "'extra.csv' is not in the")


def test_expired():
    data = make(expires=NOW + 5)
    assert opened(data, now=NOW + 4).manifest.expires == NOW + 5
    refused(data, r"expired 5 seconds ago \(revision 1\)", now=NOW + 10)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_half_downloaded(share: float):
    for data in (make(), gzip.decompress(make()).rstrip(b"\0")):
        cut = data[: int(len(data) * share)]
        refused(cut, "cut off|no tar archive|damaged")


def test_something_behind_it():
    refused(make() + b"x", "follows")
    refused(make() + make(), "follows")


@pytest.mark.parametrize(
    "name",
    ["../policy.csv", "/etc/passwd", "a/../../b", "a//b", "./policy.csv", ".hidden", "a\\b", "a b", "é", "a" * 101],
)
def test_names_that_lead_elsewhere(name: str):
    refused(repacked(make(), renamed(name)), "is no name of a file here")


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"7"],
    ids=["symlink", "hard link", "character device", "block device", "fifo", "directory", "contiguous"],
)
def test_what_is_no_plain_file(kind: bytes):
    odd = entry("policy2.csv", kind, "model.conf")
    refused(repacked(make(), lambda entries: entries.append((odd, b""))), "not a plain file")


def test_a_sparse_file_that_claims_to_be_huge():
    def change(entries):
        odd = entry("sparse.csv")
        odd.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)}
        entries.append((odd, b"1\n0\n1\n" + b"\0" * 506))

    refused(repacked(make(), change), "not a plain file|damaged|no tar|larger")


def test_a_name_that_stands_there_twice():
    refused(repacked(make(), lambda entries: entries.append(entries[-1])), "'policy.csv' stands there twice")


def test_a_decompression_bomb_stops_at_the_limit():
    bomb = gzip.compress(b"\0" * 50_000_000)
    assert len(bomb) < 100_000
    refused(bomb, r"larger than max_unpacked_bytes \(1000000\)", limits=ArchiveLimits(max_unpacked_bytes=1_000_000))


def test_every_limit_holds():
    data = make(extra={})
    refused(data, "max_bytes", limits=ArchiveLimits(max_bytes=1_024)) if len(data) > 1_024 else None
    refused(b"\0" * 2_000, "max_bytes", limits=ArchiveLimits(max_bytes=1_024))
    refused(data, "max_files", limits=ArchiveLimits(max_files=3))
    big = repacked(data, lambda entries: entries.append((entry("big.csv"), b"x" * 5_000)))
    refused(big, "'big.csv' is larger than max_file_bytes", limits=ArchiveLimits(max_file_bytes=4_000))
    refused(gzip.decompress(data), "max_unpacked_bytes", limits=ArchiveLimits(max_unpacked_bytes=1_024))


@pytest.mark.parametrize("data", [b"", b"x", b"\0" * 1024, b"\x1f\x8b", b"\x1f\x8b" + b"\0" * 100, b"PK\x03\x04" * 400])
def test_what_is_no_archive_at_all(data: bytes):
    refused(data, "no tar archive|cut off|damaged|no bundle")


MANIFEST = json.loads(unpack(make(), LIMITS, "x")["manifest.json"])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"format": 2}, "a format that this version does not know"),
        ({"revision": 0}, "revision"),
        ({"revision": 1.5}, "revision"),
        ({"revision": "1"}, "revision"),
        ({"revision": 1 << 60}, "revision"),
        ({"name": "../x"}, "name"),
        ({"surprise": 1}, "surprise"),
        ({"policies": []}, "policies"),
        ({"policies": ["policy.csv", "policy.csv"]}, "named twice"),
        ({"policies": ["other.csv"]}, "listed in files and named"),
        ({"inventory": "inventory.toml"}, "listed in files and named"),
        ({"expires": 1}, "expires before"),
        ({"files": {"../x": MANIFEST["files"]["model.conf"]}}, "no name of a file"),
        ({"files": {"model.conf": {"sha256": "zz", "bytes": 1}}}, "sha256"),
        ({"files": {"model.conf": {"sha256": "0" * 64 + "\n", "bytes": 1}}}, "sha256"),
    ],
)
def test_manifests_that_are_refused(change: dict[str, object], match: str):
    with pytest.raises(ConfigError, match=match):
        parse_manifest(json.dumps({**MANIFEST, **change}).encode(), "x")


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": 1, "format": 1}', '{"format": NaN}', "[" * 100_000, "\xff"]
)
def test_manifests_that_are_no_json(text: str):
    with pytest.raises(ConfigError, match=r"x: manifest\.json: "):
        parse_manifest(text.encode("latin-1"), "x")


@pytest.mark.parametrize(
    "made", ["[]", "{}", '{"signatures": 1}', '{"signatures": [{"key": "x", "signature": ""}]}', "{"]
)
def test_signatures_that_are_none(made: str):
    refused(repacked(make(), lambda entries: entries.__setitem__(1, (entries[1][0], made.encode()))), "signatures.json")


def test_a_signature_of_the_right_key_over_something_else():
    other = unpack(make(revision=2), LIMITS, "x")["signatures.json"]
    refused(repacked(make(), lambda entries: entries.__setitem__(1, (entries[1][0], other))), "signature is wrong")


def test_keys_that_are_none():
    private, public = new_key()
    with pytest.raises(ConfigError, match="a private key, which has no place"):
        read_public_key(private, "k")
    with pytest.raises(ConfigError, match="not a private key"):
        read_private_key(public, "k")
    with pytest.raises(ConfigError, match="not a public key"):
        read_public_key(b"x", "k")
    assert read_public_key(public_pem(KEY), "k") == KEY.public_key()


@given(st.data())
def test_no_change_to_a_byte_gets_anything_else_in(data: st.DataObject):
    plain = bytearray(gzip.decompress(make()))
    at = data.draw(st.integers(0, len(plain) - 1))
    plain[at] ^= data.draw(st.integers(1, 255))
    try:
        bundle = opened(bytes(plain))
    except ConfigError:
        return
    assert bundle.files == opened(make()).files
    assert bundle.manifest == opened(make()).manifest


@given(st.binary(max_size=4_096))
def test_any_bytes_are_refused_in_order(data: bytes):
    for form in (data, gzip.compress(data), data.ljust(512, b"\0") + b"\0" * 1024):
        with pytest.raises(ConfigError):
            opened(form)


def test_packing_and_unpacking_agree():
    content = {"a": b"1", "b/c": b"2" * 1_000}
    assert unpack(pack(content), LIMITS, "x") == content
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(pack(content)))) as archive:
        assert archive.getnames() == ["a", "b/c"]

"""Bundles for tests: made with the product's own tools, or by hand where the tools would refuse to."""

import gzip
import io
import tarfile
from collections.abc import Callable

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from authz.bundle.bundle import seal
from authz.bundle.manifest import Manifest

MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, path
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub.id == p.sub && r.obj.path == p.path
"""
KEY, OTHER_KEY, STRANGER = (Ed25519PrivateKey.generate() for _ in range(3))
NOW = 1_000_000.0


def public_pem(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def files(path: str = "one") -> dict[str, bytes]:
    return {"model.conf": MODEL.encode(), "policy.csv": f"p, spiffe://td.example/a, /{path}\n".encode()}


def make(
    revision: int = 1,
    path: str = "one",
    keys: tuple[Ed25519PrivateKey, ...] = (KEY,),
    extra: dict[str, bytes] | None = None,
    **fields: object,
) -> bytes:
    """A bundle that is in order, unless what is asked for is not."""
    manifest = Manifest(
        format=1,
        revision=revision,
        created=NOW - 10,
        model="model.conf",
        policies=("policy.csv",),
        files={},
        name="demo",
    )
    content = {**files(path), **(extra or {})}
    return seal(msgspec.structs.replace(manifest, **fields), content, keys)


def repacked(
    data: bytes, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None], form: int = tarfile.PAX_FORMAT
) -> bytes:
    """A bundle with the entries of its archive changed."""
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data))) as archive:
        entries = [(entry, archive.extractfile(entry).read()) for entry in archive]
    change(entries)
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form) as archive:
        for entry, content in entries:
            if entry.isreg():
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue())


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made

"""`authz bundle`: make, sign and check the bundles that servers take their policies from."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from authz.bundle.archive import ArchiveLimits
from authz.bundle.bundle import add_signature, open_bundle, seal
from authz.bundle.manifest import FORMAT, Manifest
from authz.bundle.signing import key_id, new_key, read_private_key, read_public_key
from authz.errors import ConfigError
from authz.policy.limits import PolicyLimits
from authz.policy.perm import parse as parse_model
from authz.policy.rows import parse as parse_rows
from authz.stores.reading import decode_text, read_bytes

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_OUT = click.Path(dir_okay=False, path_type=Path)
_MAX_KEY_BYTES = 10_000
_LIMITS = ArchiveLimits()


@click.group()
def bundle() -> None:
    """Make, sign and check policy bundles."""


@bundle.command()
@click.argument("name", type=_OUT)
def keygen(name: Path) -> None:
    """Make a key pair to sign with: NAME.key (keep it secret) and NAME.pub (give it to servers)."""
    private, public = new_key()
    secret, open_to_all = Path(f"{name}.key"), Path(f"{name}.pub")
    _write_new(secret, private, 0o600)
    _write_new(open_to_all, public, 0o644)
    click.echo(f"{secret} and {open_to_all}, key {key_id(read_public_key(public, str(open_to_all)))}")


@bundle.command()
@click.option("--name", required=True, help="What the bundle is called; servers take only the one they expect.")
@click.option("--revision", required=True, type=click.IntRange(min=1), help="Must be higher than any released before.")
@click.option("--model", required=True, type=_FILE, help="The model.")
@click.option("--policy", "policies", required=True, multiple=True, type=_FILE, help="A policy file; order counts.")
@click.option("--inventory", type=_FILE, help="An inventory to go with it.")
@click.option("--catalogue", type=_FILE, help="A resource catalogue to go with it.")
@click.option("--expires-in-days", type=click.FloatRange(min=0, min_open=True), help="When servers stop to take it.")
@click.option(
    "--key", "keys", multiple=True, type=_FILE, help="Sign with this private key (else: `authz bundle sign`)."
)
@click.option("--output", "-o", required=True, type=_OUT, help="Where to write it, such as policy.tar.gz.")
def build(  # noqa: PLR0913, PLR0917 - one parameter for each option
    name: str,
    revision: int,
    model: Path,
    policies: tuple[Path, ...],
    inventory: Path | None,
    catalogue: Path | None,
    expires_in_days: float | None,
    keys: tuple[Path, ...],
    output: Path,
) -> None:
    """Pack a model and its rules; the same files, revision and time give the same bytes."""
    paths = [model, *policies, *(path for path in (inventory, catalogue) if path)]
    files: dict[str, bytes] = {}
    for path in paths:
        if path.name in files:
            raise ConfigError(f"{path}: two files called {path.name}; in a bundle each needs a name of its own")
        files[path.name] = read_bytes(path, _LIMITS.max_file_bytes)
    _check_policy(model, policies, files)
    now = _now()
    try:
        manifest = msgspec.convert(
            {
                "format": FORMAT,
                "name": name,
                "revision": revision,
                "created": now,
                "expires": None if expires_in_days is None else round(now + expires_in_days * 86_400),
                "model": model.name,
                "policies": [path.name for path in policies],
                "inventory": inventory.name if inventory else "",
                "catalogue": catalogue.name if catalogue else "",
                "files": {},
            },
            Manifest,
        )
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from None
    made = seal(manifest, files, [_private(key) for key in keys])
    _write(output, made)
    signed = f"signed by {len(keys)}" if keys else "not signed yet"
    click.echo(f"{output}: {name} revision {revision}, {len(files)} files, {len(made)} bytes, {signed}")


@bundle.command()
@click.argument("file", type=_FILE)
@click.option("--key", required=True, type=_FILE, help="The private key.")
def sign(file: Path, key: Path) -> None:
    """Add a signature to a bundle, in place; one by the same key is replaced."""
    private = _private(key)
    _write(file, add_signature(read_bytes(file, _LIMITS.max_bytes), private, _LIMITS, str(file)))
    click.echo(f"{file}: signed with key {key_id(private.public_key())}")


@bundle.command()
@click.argument("file", type=_FILE)
@click.option("--trusted-key", "keys", required=True, multiple=True, type=_FILE, help="A public key that may vouch.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def verify(file: Path, keys: tuple[Path, ...], *, as_json: bool) -> None:
    """Check a bundle as a server would, but for the revisions that the server remembers."""
    trusted = [read_public_key(read_bytes(key, _MAX_KEY_BYTES), str(key)) for key in keys]
    opened = open_bundle(read_bytes(file, _LIMITS.max_bytes), trusted, _LIMITS, str(file), time.time())
    manifest = opened.manifest
    if as_json:
        told = {"digest": opened.digest, "key": opened.key, "manifest": msgspec.to_builtins(manifest)}
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    expires = "never" if manifest.expires is None else _date(manifest.expires)
    click.echo(f"ok: {manifest.name} revision {manifest.revision}, signed with key {opened.key}")
    click.echo(f"  created {_date(manifest.created)}, expires {expires}, manifest sha256:{opened.digest}")
    for name, entry in sorted(manifest.files.items()):
        click.echo(f"  {name}  {entry.bytes} bytes  sha256:{entry.sha256}")


def _check_policy(model: Path, policies: tuple[Path, ...], files: dict[str, bytes]) -> None:
    """Refuse early what every server would refuse; what depends on a server's settings is not looked at."""
    limits = PolicyLimits()
    parsed = parse_model(decode_text(files[model.name], model), str(model), limits)
    parse_rows([(str(path), decode_text(files[path.name], path)) for path in policies], parsed, limits)


def _private(path: Path) -> Ed25519PrivateKey:
    return read_private_key(read_bytes(path, _MAX_KEY_BYTES), str(path))


def _now() -> int:
    """The time that goes into a bundle: SOURCE_DATE_EPOCH where it is set, for builds that can be repeated."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(fixed) if fixed.isascii() and fixed.isdigit() else int(time.time())


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def _write(path: Path, content: bytes) -> None:
    """Write beside it and rename, so that a server that watches it never sees half."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

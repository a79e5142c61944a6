"""`authz login` and `authz logout`: the human behind `authz approval`."""

import time
import webbrowser
from pathlib import Path
from typing import Any

import click

from authz.audit.redact import plain
from authz.cli.options import config_option, read_config
from authz.cli.sign_in.browser import sign_in_by_browser
from authz.cli.sign_in.cache import default_file, write_token
from authz.cli.sign_in.device import sign_in_by_device
from authz.cli.sign_in.provider import SignInError, discover, text_of
from authz.errors import ConfigError, Refusal
from authz.jose.jwt import parse_compact_jwt

_CHARS = 512


@click.command()
@click.option("--issuer", envvar="AUTHZ_OIDC_ISSUER", default="", help="The OpenID provider; also AUTHZ_OIDC_ISSUER.")
@click.option("--client-id", envvar="AUTHZ_OIDC_CLIENT_ID", default="", help="Our id there; also AUTHZ_OIDC_CLIENT_ID.")
@click.option("--scope", "scopes", multiple=True, help="What to ask for. Repeats. [default: openid profile email]")
@config_option
@click.option("--device/--browser", default=True, help="By a code that is typed in elsewhere, or by a browser here.")
@click.option("--access-token", is_flag=True, help="Keep the access token, not the ID token.")
@click.option("--ca", envvar="AUTHZ_OIDC_CA", default="", help="PEM file of the authorities of the provider.")
@click.option("--token-file", type=click.Path(path_type=Path), envvar="AUTHZ_TOKEN_FILE", help="Where to keep it.")
def login(  # noqa: PLR0913 - click hands over each by name
    *,
    issuer: str,
    client_id: str,
    scopes: tuple[str, ...],
    config_path: Path | None,
    device: bool,
    access_token: bool,
    ca: str,
    token_file: Path | None,
) -> None:
    """Sign in at the OpenID provider, to decide what waits for a human.

    What is not given is taken from the first of approvals.issuers in the configuration. The token is kept in a file of
    mode 0600.
    """
    if config_path is not None and not (issuer and client_id):
        issuers = read_config(config_path).approvals.issuers
        if issuers:
            issuer, client_id = issuer or issuers[0].issuer, client_id or issuers[0].client_id
            scopes = scopes or issuers[0].scopes
    if not issuer or not client_id:
        raise ConfigError("give --issuer and --client-id, or a --config that has them in approvals.issuers")
    scopes = scopes or ("openid", "profile", "email")
    provider = discover(issuer, ca)
    if device:
        answer = sign_in_by_device(provider, client_id, scopes, _tell_code, ca_file=ca)
    else:
        answer = sign_in_by_browser(provider, client_id, scopes, _open_page, ca_file=ca)
    token = text_of(answer, "access_token" if access_token else "id_token")
    path = token_file or default_file()
    write_token(path, token)
    click.echo(f"signed in{_who(token)}; the token is in {path}")


@click.command()
@click.option("--token-file", type=click.Path(path_type=Path), envvar="AUTHZ_TOKEN_FILE", help="Where it is kept.")
def logout(*, token_file: Path | None) -> None:
    """Forget the token. What it proves ends when the token does."""
    path = token_file or default_file()
    path.unlink(missing_ok=True)
    click.echo(f"{path}: gone")


def _tell_code(address: str, code: str) -> None:
    click.echo(f"Open {plain(address, _CHARS)}\nand type in the code {plain(code, _CHARS)}", err=True)


def _open_page(address: str) -> None:
    click.echo(f"Sign in at {plain(address, 4 * _CHARS)}", err=True)
    webbrowser.open(address)


def _who(token: str) -> str:
    """Whom the token speaks of, as it says; the server judges it."""
    try:
        claims: Any = parse_compact_jwt(token).claims
    except Refusal:
        raise SignInError("the provider gave a token that is no JSON Web Token: see --access-token") from None
    name = claims.get("name") or claims.get("preferred_username") or claims.get("sub")
    left = claims.get("exp", 0)
    until = f" for {max(0, int(left - time.time())) // 60} min" if isinstance(left, int | float) else ""
    return f" as {plain(str(name), _CHARS)}{until}" if name else until

"""`authz check`: what would be decided, by a running server or right here."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import grpc
import msgspec
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from google.protobuf import json_format

from authz.authoring.question import read_question_file
from authz.cli.options import base_of, config_option, read_config
from authz.composition import Composition
from authz.errors import AuthzError
from authz.model import Outcome
from authz.policy.explain import Explanation, State

_METHOD = "/envoy.service.auth.v3.Authorization/Check"
_DENIED = 1


@click.command()
@click.argument("request_file", type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@config_option
@click.option("--server", help="Ask this running server (127.0.0.1:9191 or unix:/path) instead of deciding here.")
@click.option("--ca", type=click.Path(exists=True, path_type=Path), help="PEM: who signs the server's certificate.")
@click.option("--cert", type=click.Path(exists=True, path_type=Path), help="PEM: our certificate for the server.")
@click.option("--key", type=click.Path(exists=True, path_type=Path), help="PEM: the key of --cert.")
@click.option("--server-name", help="The name in the server's certificate, where it is not the address.")
@click.option("--timeout", type=click.FloatRange(0.001, 60), default=5.0, show_default=True, help="Seconds to wait.")
@click.option("--at", type=float, help="Decide here as of this moment (seconds since the epoch) instead of now.")
@click.option("--trust-principal", is_flag=True, help="Decide here as if the principal had been proved.")
@click.option("--explain", "wants_why", is_flag=True, help="Decide here, and show which rules came near.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def check(  # noqa: PLR0913, PLR0917 - one parameter for each option
    request_file: Path,
    config_path: Path | None,
    server: str | None,
    ca: Path | None,
    cert: Path | None,
    key: Path | None,
    server_name: str | None,
    timeout: float,
    at: float | None,
    *,
    trust_principal: bool,
    wants_why: bool,
    as_json: bool,
) -> None:
    """Decide one request: allowed (exit 0), denied (1), or it could not be asked (2).

    REQUEST_FILE holds JSON ({"method": "GET", "host": ..., "path": ..., "principal": ..., "headers": {...}}), a
    CheckRequest in protobuf's JSON form, or one as captured from the wire; "-" reads standard input.
    """
    if server is not None and (at is not None or trust_principal or wants_why):
        raise click.UsageError("--at, --trust-principal and --explain are for deciding here, without --server")
    why: Explanation | None = None
    message = read_question_file(request_file)
    if server is None:
        composition = Composition(read_config(config_path), base_of(config_path), trust_principal=trust_principal)
        composition.read_keys_once()
        outcome, response = composition.decide_once(message, time.time() if at is None else at)
        if wants_why and outcome.request is not None:
            why = composition.explain(outcome.request, outcome.decision)
    else:
        credentials = _credentials(ca, cert, key)
        outcome, response = None, _ask(server, message, timeout, credentials, server_name)
    allowed = response.status.code == 0
    if as_json:
        click.echo(_json(allowed, outcome, response, why))
    else:
        click.echo(_text(allowed, outcome, response, why))
    sys.exit(0 if allowed else _DENIED)


def _credentials(ca: Path | None, cert: Path | None, key: Path | None) -> grpc.ChannelCredentials | None:
    if ca is None and cert is None and key is None:
        return None
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key go together")
    return grpc.ssl_channel_credentials(
        root_certificates=ca.read_bytes() if ca else None,
        private_key=key.read_bytes() if key else None,
        certificate_chain=cert.read_bytes() if cert else None,
    )


def _ask(
    server: str, message: bytes, timeout: float, credentials: grpc.ChannelCredentials | None, server_name: str | None
) -> CheckResponse:
    options = [("grpc.ssl_target_name_override", server_name)] if server_name else []
    channel = (
        grpc.insecure_channel(server, options)
        if credentials is None
        else grpc.secure_channel(server, credentials, options)
    )
    with channel:
        call = channel.unary_unary(_METHOD, bytes, CheckResponse.FromString)
        try:
            return call(message, timeout=timeout)
        except grpc.RpcError as error:
            code, details = error.code(), error.details()  # the raised error is also a Call
            raise AuthzError(f"{server} did not answer: {code.name.lower()}: {details}") from None


def _json(allowed: bool, outcome: Outcome | None, response: CheckResponse, why: Explanation | None) -> str:  # noqa: FBT001 - the answer itself
    told: dict[str, object] = {
        "allowed": allowed,
        "metadata": json_format.MessageToDict(response.dynamic_metadata),
        "response": json_format.MessageToDict(response, preserving_proto_field_name=True),
    }
    if outcome is not None:
        told["detail"] = outcome.decision.detail
        told["subject"] = msgspec.to_builtins(outcome.subject) if outcome.subject else None
        told["rule"] = msgspec.to_builtins(outcome.decision.rule) if outcome.decision.rule else None
    if why is not None:
        told["near"] = msgspec.to_builtins(why.near)
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def _text(allowed: bool, outcome: Outcome | None, response: CheckResponse, why: Explanation | None) -> str:  # noqa: FBT001 - the answer itself
    found = {name: value.string_value for name, value in response.dynamic_metadata.fields.items()}
    lines = [f"{'ALLOWED' if allowed else 'DENIED'}: {found.get('reason', 'the server gave no reason')}"]
    if outcome is not None and outcome.decision.detail:
        lines.append(f"  detail:   {outcome.decision.detail}")
    names = (("caller", "principal"), ("rule", "rule"), ("policy", "policy_version"), ("decision", "decision_id"))
    lines += [f"  {label + ':':<9} {found[name]}" for label, name in names if found.get(name)]
    if outcome is not None and outcome.decision.rule:
        lines.append(f"            {outcome.decision.rule.text}")
    if not allowed and response.denied_response.status.code:
        lines.append(
            f"  client:   HTTP {response.denied_response.status.code} {response.denied_response.body}".rstrip()
        )
    for option in response.ok_response.headers:
        lines.append(f"  upstream: {option.header.key}: {option.header.value}")
    lines += [f"  upstream: {name} removed" for name in response.ok_response.headers_to_remove]
    if why is not None:
        lines += _near(why)
    return "\n".join(lines)


def _near(why: Explanation) -> Iterator[str]:
    """The rules nearest to the request, each condition with how it came out and the values that it saw."""
    for near in why.near:
        says = near.says.value if near.says else "nothing"
        yield f"\n  {near.rule.id} ({says}): {'matches' if near.lacking is None else 'does not match'}"
        for condition in near.conditions:
            seen = ", ".join(f"{name} is {value}" for name, value in condition.seen)
            told = f"    {condition.state.value:<5}  {condition.text}"
            yield told if condition.state is State.HOLDS or not seen else f"{told}   [{condition.error or seen}]"

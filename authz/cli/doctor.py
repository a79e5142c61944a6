"""`authz doctor`: does the Envoy in front do what the PDP relies on?"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from authz.cli.diagnoses import Finding, State, diagnose, diagnose_without_pdp
from authz.cli.http_door import HttpDoor
from authz.cli.probing import PREFIX, Door

_PROBLEM, _COULD_NOT_TELL = 1, 2
_file = click.Path(exists=True, dir_okay=False, path_type=Path)


def run_doctor(door: Door, *, statement_prefix: str = "x-authz-", pdp_stopped: bool = False) -> list[Finding]:
    """Send every probe through `door` and answer what was found.

    Raises:
        AuthzError: the proxy cannot be reached.
    """
    return list(diagnose_without_pdp(door) if pdp_stopped else diagnose(door, statement_prefix))


def exit_code(findings: Sequence[Finding]) -> int:
    """Answer 1 for any problem, 2 when the PDP did not answer probes at all, else 0."""
    if any(finding.state is State.PROBLEM for finding in findings):
        return _PROBLEM
    return _COULD_NOT_TELL if findings[0].state is State.UNKNOWN else 0


@click.command()
@click.option("--through", "url", required=True, help="The Envoy in front: https://host:port.")
@click.option("--cert", type=_file, help="PEM: our certificate, of an identity that doctor.identities lists.")
@click.option("--key", type=_file, help="PEM: the key of --cert.")
@click.option("--ca", type=_file, help="PEM: who signs Envoy's certificate.")
@click.option("--server-id", default="", help="The SPIFFE ID of Envoy's certificate, checked instead of its host name.")
@click.option("--prefix", default=PREFIX, show_default=True, help="Where the PDP expects probes (doctor.prefix).")
@click.option("--statement-prefix", default="x-authz-", show_default=True, help="As in response.statement_prefix.")
@click.option("--pdp-stopped", is_flag=True, help="You have stopped the PDP: check that nothing gets through.")
@click.option("--timeout", type=click.FloatRange(0.1, 60), default=5.0, show_default=True, help="Seconds for a probe.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(  # noqa: PLR0913 - one parameter for each option
    *,
    url: str,
    cert: Path | None,
    key: Path | None,
    ca: Path | None,
    server_id: str,
    prefix: str,
    statement_prefix: str,
    timeout: float,
    pdp_stopped: bool,
    as_json: bool,
) -> None:
    """Probe the Envoy in front: all well (exit 0), a problem (1), or it could not be told (2).

    The probes are requests below the prefix that the PDP always denies, telling what it saw of them. It does so for the
    identities in doctor.identities alone, and only with doctor.enabled = true.
    """
    if (cert is None) != (key is None):
        raise click.UsageError("--cert and --key go together")
    door = HttpDoor(url, prefix=prefix, ca=ca, cert=cert, key=key, server_id=server_id, timeout_seconds=timeout)
    findings = run_doctor(door, statement_prefix=statement_prefix, pdp_stopped=pdp_stopped)
    click.echo(msgspec.json.encode(findings).decode() if as_json else _text(findings))
    sys.exit(exit_code(findings))


def _text(findings: Sequence[Finding]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{finding.state.value:<12} {finding.check:<25} {finding.detail}")
        if finding.advice:
            lines.append(f"{'':<12} {'':<25} -> {finding.advice}")
    return "\n".join(lines)

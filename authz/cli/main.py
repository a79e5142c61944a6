"""The command `authz`. Exit codes: 0 done or allowed, 1 denied or not as it should be, 2 could not be done."""

import sys

import click

from authz.cli.lazy import LazyGroup
from authz.errors import AuthzError
from authz.version import VERSION

_COMMANDS = {
    "approval": "control.approval:approval",
    "bundle": "bundle:bundle",
    "cache": "cache:cache",
    "change": "control.change:change",
    "check": "check:check",
    "config": "configuration:config",
    "doctor": "doctor:doctor",
    "fleet": "control.keys:fleet",
    "grant": "control.grant:grant",
    "keys": "control.keys:keys",
    "login": "login:login",
    "logout": "login:logout",
    "policy": "policy:policy",
    "report": "report:report",
    "revoke": "control.revoke:revoke",
    "serve": "serve:serve",
    "store": "store:store",
    "tail": "control.tail:tail_command",
    "task": "control.task:task",
}


@click.group(
    cls=LazyGroup,
    commands_in=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Documentation: docs/ in the source.",
)
@click.version_option(VERSION, prog_name="authz")
def cli() -> None:
    """Envoy external authorization for workloads and AI agents, decided per request."""


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def version(*, as_json: bool) -> None:
    """Say which version this is."""
    click.echo(f'{{"version": "{VERSION}"}}' if as_json else f"authz {VERSION}")


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell: eval "$(authz completion bash)"."""
    from click.shell_completion import get_completion_class  # noqa: PLC0415 - only this command pays for it

    found = get_completion_class(shell)
    if found is None:
        raise click.ClickException(f"no completion for {shell}")
    click.echo(found(cli, {}, "authz", "_AUTHZ_COMPLETE").source())


def main() -> None:
    """Run the command line; an expected error is one message, never a traceback."""
    try:
        cli()
    except AuthzError as error:
        click.echo(f"authz: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()

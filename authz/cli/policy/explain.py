"""`authz policy explain`: the full reasoning behind one decision."""

from pathlib import Path

import click
import msgspec

from authz.authoring import case_files
from authz.authoring.question import read_question_file
from authz.authoring.reasoning import reasoning, tree
from authz.authoring.tree import drawn
from authz.cli.options import config_option
from authz.cli.policy.trying import dry_run, load
from authz.errors import ConfigError


@click.command()
@click.argument("request_file", required=False, type=click.Path(allow_dash=True, dir_okay=False, path_type=Path))
@config_option
@click.option("--case", "case_name", help="Explain the test case of this name instead, one beside the policy.")
@click.option("--at", type=float, help="Decide as of this moment (seconds since the epoch) instead of now.")
@click.option("--trust-principal", is_flag=True, help="Take the principal as proved.")
@click.option("--near", "most", type=click.IntRange(1, 100), default=5, show_default=True, help="Most rules to show.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def explain(  # noqa: PLR0913 - one parameter for each option
    request_file: Path | None,
    config_path: Path | None,
    case_name: str | None,
    at: float | None,
    most: int,
    *,
    trust_principal: bool,
    as_json: bool,
) -> None:
    """Show how one request is decided: caller, target, attributes, rules, how they combine, what the client gets.

    REQUEST_FILE is what `authz check` reads; "-" is standard input. Exit 0 whatever the decision, 2 if there is none.
    """
    if (request_file is None) == (case_name is None):
        raise click.UsageError("name one request: a REQUEST_FILE, or --case")
    config, base = load(config_path)
    if request_file is not None:
        run = dry_run(config, base, trust_principal=trust_principal)
        answer = run.ask(read_question_file(request_file), at)
    else:
        named = [case for case in case_files.read_all(case_files.beside(config.policy, base)) if case.name == case_name]
        if not named:
            raise ConfigError(f"no case beside the policy is called `{case_name}`")
        case = named[0]
        run = dry_run(config, base, trust_principal=case.proved or trust_principal)
        answer = run.ask(case.message, case.at if at is None else at, case.attributes)
    told = reasoning(run, answer, most)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
    else:
        click.echo(drawn(tree(told)))

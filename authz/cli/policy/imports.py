"""`authz policy import`: rules of other tools, as policy files of ours."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from authz.cli.policy.sources import standard_input
from authz.errors import AuthzError, ConfigError, PolicyError
from authz.policy import perm
from authz.policy.compile import CompiledEngine
from authz.policy.formatting import sub_rule_columns
from authz.policy.importing.casbin_csv import import_casbin
from authz.policy.importing.document import DocumentError
from authz.policy.importing.imported import Imported, Left
from authz.policy.importing.istio import IstioSettings, import_istio
from authz.policy.importing.istio_policy import Workload
from authz.policy.importing.writing import MODEL
from authz.policy.limits import PolicyLimits
from authz.policy.rows import columns_of
from authz.policy.source import CompileSettings, Source, registered
from authz.stores.policy_files import PolicySettings
from authz.stores.reading import read_text

_LEFT_OUT = 1
_LIMITS = PolicyLimits()
_MAX_BYTES = PolicySettings().max_file_bytes

_file = click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
_partial = click.option(
    "--partial", is_flag=True, help="Write the rules even if one that denies could not be translated."
)
_output = click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Write a new file instead of standard output."
)


@click.group("import")
def import_command() -> None:
    """Bring rules of other tools: exactly, or not at all.

    What could not be translated is listed on standard error with its place. Exit codes: 0 all is there, 1 something was
    left out, 2 nothing was written.
    """


@import_command.command("casbin")
@_file
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The model that the rules are for; with it columns are counted, and the result is loaded once.",
)
@_partial
@_output
def casbin_command(file: Path, model: Path | None, output: Path | None, *, partial: bool) -> None:
    """Translate a policy file of Go Casbin and its relatives: CSV, where quotes protect commas.

    Our files know no quotes: columns lose theirs, expressions with a comma get brackets, and what cannot be written is
    left out (exit code 1), unless it may deny: then the import fails (2). Role grants (g) and comments stay; the model
    can stay as it is.
    """
    text = _text(file)
    if model is None:
        imported = import_casbin(text, {}, {})
    else:
        model_text = read_text(model, _MAX_BYTES)
        parsed = perm.parse(model_text, str(model), _LIMITS)
        source = Source(parsed, (), frozenset(), CompileSettings(), registered(lambda: 0.0, {}), "")
        imported = import_casbin(text, sub_rule_columns(parsed, _LIMITS, source), columns_of(parsed))
        _load(model_text, str(model), imported)
    _finish(imported, file, output, partial=partial)


@import_command.command("istio")
@_file
@click.option(
    "--workload",
    help="For which workload: its namespace and labels, as foo/app=web,version=v1. Without it, all must be for "
    "the same workloads.",
)
@click.option(
    "--root-namespace", default="istio-system", show_default=True, help="Policies of this namespace are for all."
)
@click.option("--trust-domain", default="", help="What `cluster.local` in a principal stands for.")
@click.option(
    "--exposed-header",
    "headers",
    multiple=True,
    help="A request header that attributes.expose_headers shows to policies; repeatable. Conditions on others are left "
    "out.",
)
@click.option(
    "--allow-rest",
    is_flag=True,
    help="Where no ALLOW policy is for the workload, allow what no DENY policy denies, as Istio does.",
)
@_partial
@_output
def istio_command(  # noqa: PLR0913, PLR0917 - one parameter for each option
    file: Path,
    workload: str | None,
    root_namespace: str,
    trust_domain: str,
    headers: tuple[str, ...],
    output: Path | None,
    *,
    allow_rest: bool,
    partial: bool,
) -> None:
    """Translate Istio's AuthorizationPolicy (YAML, any number of documents) for the model that ships.

    What allows and cannot be translated is left out (exit code 1). What denies and cannot be translated makes the
    import fail (2), unless --partial is given.
    """
    settings = IstioSettings(
        trust_domain=trust_domain,
        workload=_workload(workload) if workload else None,
        root_namespace=root_namespace,
        exposed_headers=frozenset(name.lower() for name in headers),
        allow_rest=allow_rest,
    )
    try:
        imported = import_istio(_text(file), settings)
    except DocumentError as error:
        raise ConfigError(f"{file}: {error}") from None
    _load(MODEL, "the model", imported)
    _finish(imported, file, output, partial=partial)


def _text(file: Path) -> str:
    return standard_input(_MAX_BYTES) if str(file) == "-" else read_text(file, _MAX_BYTES)


def _workload(text: str) -> Workload:
    """`foo/app=web,version=v1`."""
    namespace, slash, rest = text.partition("/")
    labels: dict[str, str] = {}
    for part in rest.split(",") if slash else ():
        name, equals, value = part.partition("=")
        if not name or not equals:
            raise click.UsageError(f"--workload: {part!r} is no label=value")
        labels[name] = value
    if not namespace:
        raise click.UsageError("--workload: the namespace is missing")
    return Workload(namespace, labels)


def _load(model: str, name: str, imported: Imported) -> None:
    """Make sure that what came out loads.

    Raises:
        AuthzError: It does not.
    """
    try:
        CompiledEngine.load(model, name, [("imported", "\n".join(imported.lines))], clock=lambda: 0.0)
    except PolicyError as error:
        line = imported.lines[error.line - 1] if error.file == "imported" and error.line else ""
        raise AuthzError(f"what came out does not load: {error}\n  {line}") from None


def _finish(imported: Imported, file: Path, output: Path | None, *, partial: bool) -> None:
    if imported.missing_denials and not partial:
        _tell(imported.missing_denials, file, "denies, and cannot be translated")
        raise AuthzError("nothing was written, for these would be missing; --partial writes the rest")
    text = "\n".join(imported.lines).strip("\n") + "\n"
    if output is None:
        click.echo(text, nl=False)
    else:
        try:
            with output.open("x", encoding="utf-8", newline="") as opened:
                opened.write(text)
        except OSError as error:
            raise ConfigError(f"{output}: cannot be written: {error.strerror or error}") from None
    _tell(imported.notes, file, "note")
    _tell(imported.left_out, file, "left out")
    _tell(imported.missing_denials, file, "DENIES, AND IS LEFT OUT")
    sys.exit(_LEFT_OUT if imported.left_out or imported.missing_denials else 0)


def _tell(found: Sequence[Left], file: Path, how: str) -> None:
    for each in found:
        told = f"{file}:{each.line}:{each.column}: {how}: {each.what}: {each.why}"
        click.echo("".join(sign if sign.isprintable() else "?" for sign in told), err=True)

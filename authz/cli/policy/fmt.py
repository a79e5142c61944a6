"""`authz policy fmt`: model and policy files in one layout."""

import difflib
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import click

from authz.cli.options import base_of, config_option, read_config
from authz.cli.policy.sources import standard_input
from authz.errors import ConfigError
from authz.policy import perm
from authz.policy.formatting import format_model, format_policy, sub_rule_columns
from authz.policy.limits import PolicyLimits
from authz.policy.source import CompileSettings, Source, registered
from authz.stores.policy_files import PolicyFiles, PolicySettings
from authz.stores.reading import read_text

_CHANGED = 1
_STDIN = "-"
_MODEL_SUFFIX = ".conf"
_SUFFIXES = (_MODEL_SUFFIX, ".csv")


@click.command("fmt")
@click.argument("files", nargs=-1, type=click.Path(exists=True, allow_dash=True, path_type=Path))
@config_option
@click.option(
    "--model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The model of the policy files: tells which columns are rules. It is not formatted itself.",
)
@click.option("--check", is_flag=True, help="Write nothing; show what would change and exit 1 if anything would.")
@click.option("--diff", is_flag=True, help="Write nothing; show what would change.")
def fmt_command(
    files: tuple[Path, ...], config_path: Path | None, model: Path | None, *, check: bool, diff: bool
) -> None:
    """Lay out model and policy files in one way, in place.

    FILES are files, or directories with *.conf and *.csv in them; "-" formats standard input to standard output.
    Without FILES, those of the configuration are meant. A file is taken for a model if its name ends in .conf or it
    begins with a section in brackets.

    Columns are separated by a comma and one blank, expressions get one blank around operators; comments, blank lines
    and the order of rules stay, and so does what the policy means. Exit codes: 0 done, 1 with --check: something would
    change, 2 a file could not be read or is no policy.
    """
    settings = read_config(config_path).policy if config_path else PolicySettings()
    texts = _texts(files, config_path, settings)
    columns = _columns(texts, model, config_path, settings)
    changed = False
    # All of them first: where one is no policy, none is touched.
    laid_out = [(path, text, _formatted(text, str(path), settings.limits, columns)) for path, text in texts.items()]
    for path, text, formatted in laid_out:
        if str(path) == _STDIN and not (check or diff):
            click.echo(formatted, nl=False)
        elif formatted != text:
            changed = True
            if check or diff:
                click.echo(_diff(text, formatted, str(path)), nl=False)
            else:
                _replace(path, formatted)
                click.echo(path)
    sys.exit(_CHANGED if check and changed else 0)


def _texts(files: tuple[Path, ...], config_path: Path | None, settings: PolicySettings) -> dict[Path, str]:
    """The files that are meant, and what is in them."""
    if not files:
        if config_path is None:
            raise click.UsageError("say which files, or which --config")
        base = base_of(config_path)
        read = PolicyFiles(settings, base).read()
        return {base / name: text for name, text in ((read.model_file, read.model), *read.policies)}
    found: dict[Path, str] = {}
    for path in files:
        if str(path) == _STDIN:
            found[path] = standard_input(settings.max_file_bytes)
            continue
        inside = sorted(each for each in path.iterdir() if each.suffix in _SUFFIXES) if path.is_dir() else [path]
        found |= {each: read_text(each, settings.max_file_bytes) for each in inside}
    return found


def _columns(
    texts: Mapping[Path, str], model: Path | None, config_path: Path | None, settings: PolicySettings
) -> Mapping[str, Collection[int]]:
    """Which columns are rules, by the model that is named, formatted along, or configured; none where there is none."""
    models = [(str(path), text) for path, text in texts.items() if _is_model(str(path), text)]
    if model is not None:
        models = [(str(model), read_text(model, settings.max_file_bytes))]
    elif not models and config_path is not None:
        path = base_of(config_path) / settings.model
        models = [(str(path), read_text(path, settings.max_file_bytes))]
    if len(models) != 1:
        return {}
    name, text = models[0]
    parsed = perm.parse(text, name, settings.limits)
    source = Source(parsed, (), frozenset(), CompileSettings(limits=settings.limits), registered(lambda: 0.0, {}), "")
    return sub_rule_columns(parsed, settings.limits, source)


def _formatted(text: str, name: str, limits: PolicyLimits, columns: Mapping[str, Collection[int]]) -> str:
    return format_model(text, name, limits) if _is_model(name, text) else format_policy(text, name, limits, columns)


def _is_model(name: str, text: str) -> bool:
    if name.endswith(_SUFFIXES):
        return name.endswith(_MODEL_SUFFIX)
    first = next((line.strip() for line in text.split("\n") if line.strip() and line.strip()[0] not in "#;"), "")
    return first.startswith("[")


def _diff(before: str, after: str, name: str) -> str:
    return "".join(_lines(before, after, name))


def _lines(before: str, after: str, name: str) -> Iterator[str]:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    for line in difflib.unified_diff(old, new, name, f"{name} (formatted)"):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _replace(path: Path, text: str) -> None:
    """Put a finished copy in the file's place, so that no reader sees half of it."""
    target = path.resolve()
    finished: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=target.parent, prefix=f".{target.name}.", delete=False, encoding="utf-8", newline=""
        ) as file:
            finished = Path(file.name)
            file.write(text)
        finished.chmod(target.stat().st_mode & 0o7777)
        finished.replace(target)
    except OSError as error:
        if finished is not None:
            finished.unlink(missing_ok=True)
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None

"""Finds the files of test cases that lie beside a policy."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from authz.authoring.cases import Case, read_cases
from authz.errors import ConfigError
from authz.stores.policy_files import PolicySettings

_PATTERNS = ("*_test.yaml", "*_test.yml", "tests/*.yaml", "tests/*.yml")
MAX_FILES = 1_000
"""The most files of cases of one run."""


def beside(settings: PolicySettings, base: Path) -> list[Path]:
    """Answer the files of cases in the directories of the model and the policy files."""
    directories = {(base / settings.model).parent: None}
    for entry in settings.policies:
        path = base / entry
        directories[path if path.is_dir() else path.parent] = None
    return _unique(each for directory in directories for each in in_directory(directory))


def named(paths: Iterable[Path]) -> list[Path]:
    """Answer the files that paths on the command line mean: files, and directories with what lies in them.

    Raises:
        ConfigError: a directory holds none.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = [*in_directory(path), *(sorted(path.glob("*.y*ml")) if path.name == "tests" else ())]
            if not inside:
                raise ConfigError(f"{path}: holds no test cases; {wanted()}")
            found.extend(inside)
        else:
            found.append(path)
    return _unique(found)


def in_directory(directory: Path) -> Iterator[Path]:
    """Answer the files of cases in one directory, in the order of their names."""
    for pattern in _PATTERNS:
        yield from sorted(path for path in directory.glob(pattern) if path.is_file() and path.name[0] != ".")


def wanted() -> str:
    """Say where files of cases are looked for."""
    return f"cases stand in {', '.join(_PATTERNS)}"


def read_all(paths: Iterable[Path]) -> list[Case]:
    """Read the cases of all files.

    Raises:
        ConfigError: what is wrong in any of them, all together.
    """
    files = list(paths)
    if len(files) > MAX_FILES:
        raise ConfigError(f"more than {MAX_FILES} files of cases")
    cases: list[Case] = []
    problems: list[str] = []
    for path in files:
        try:
            cases.extend(read_cases(path, shown(path)))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return cases


def shown(path: Path) -> str:
    """Answer a path as people call it: from here, where it lies below."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _unique(paths: Iterable[Path]) -> list[Path]:
    return list({path.resolve(): path for path in paths}.values())

"""Finds and reads the model and the policy files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from authz.decision.contexts import ContextSettings
from authz.errors import PolicyError
from authz.policy.limits import PolicyLimits
from authz.stores.bundle_source import BundleSettings
from authz.stores.database_source import DatabaseSettings
from authz.stores.history import HistorySettings
from authz.stores.policy_source import PolicyText
from authz.stores.reading import UnreadableError, read_text
from authz.stores.user_functions import FunctionSettings

_WILDCARDS = frozenset("*?[")
_POLICY_SUFFIX = ".csv"


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the policy is, and how large it may be."""

    model: Annotated[str, msgspec.Meta(min_length=1)] = "policies/model.conf"
    """The Casbin model file; a relative path starts at the configuration file's directory."""
    policies: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("policies/policy.csv",)
    """The policy files: files, directories (all their `*.csv`, not those of directories inside) and patterns such as
    `rules/*.csv`. What a directory or pattern gives is read in the order of the names."""
    max_file_bytes: Annotated[int, msgspec.Meta(ge=1_024, le=268_435_456)] = 33_554_432
    """The largest model or policy file that is read, in bytes."""
    max_files: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1_000
    """The most policy files."""
    limits: PolicyLimits = PolicyLimits()
    """Bounds on what the files may contain."""
    bundle: BundleSettings | None = None
    """A signed bundle from which all of it comes; `model` and `policies` are then not read."""
    database: DatabaseSettings | None = None
    """A SQL table from which the rules come; `policies` are then not read, `model` is."""
    contexts: ContextSettings | None = None
    """Which sections of the model decide which requests, where it has several; unset: `r`, `p`, `e` and `m` all."""
    functions: dict[str, FunctionSettings] = {}
    """Functions of your own that policies may call, by name."""
    history: HistorySettings = HistorySettings()
    """How many earlier policies stay in memory."""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (key, message) for what the types cannot say."""
        if self.bundle is not None and self.database is not None:
            yield "", "rules come from a bundle or from a database, not from both"


class PolicyFiles:
    """The files that one configuration names."""

    def __init__(self, settings: PolicySettings, base: Path) -> None:
        """`base`: the directory at which relative paths start."""
        self._settings = settings
        self._base = base

    def read(self) -> PolicyText:
        """Read them all.

        Raises:
            PolicyError: one is missing, unreadable, empty, too large or not UTF-8; a directory or pattern gives none.
        """
        names: dict[str, None] = {}
        for entry in self._settings.policies:
            found = list(self._expand(entry))
            if not found:
                raise PolicyError(entry, 0, f"gives no policy file; a directory is searched for *{_POLICY_SUFFIX}")
            names |= dict.fromkeys(found)
        if len(names) > self._settings.max_files:
            raise PolicyError(self._settings.policies[0], 0, f"more than max_files ({self._settings.max_files}) files")
        return PolicyText(
            model_file=self._settings.model,
            model=self._text(self._settings.model),
            policies=tuple((name, self._text(name)) for name in names),
        )

    def watched(self) -> list[Path]:
        """Every path whose change may change what `read` answers: files, and the directories that are searched."""
        paths = {self._base / self._settings.model}
        for entry in self._settings.policies:
            path = self._base / entry
            paths.add(path.parent if _WILDCARDS.intersection(path.name) else path)
            paths.update(self._base / name for name in self._expand(entry))
        return sorted(paths)

    def accepted(self) -> None:
        """Nothing to remember of files."""

    def _expand(self, entry: str) -> Iterator[str]:
        """The files that one entry of `policies` means, by names that start as the entry does."""
        named = Path(entry)
        if _WILDCARDS.intersection(str(named.parent)):
            raise PolicyError(entry, 0, "a pattern stands in the last part of a path only")
        if _WILDCARDS.intersection(named.name):
            yield from self._in_directory(named.parent, named.name)
        elif (self._base / named).is_dir():
            yield from self._in_directory(named, f"*{_POLICY_SUFFIX}")
        else:
            yield entry

    def _in_directory(self, directory: Path, pattern: str) -> list[str]:
        # Hidden names are left out: editors and Kubernetes volumes keep copies and old versions under them.
        found = (self._base / directory).glob(pattern)
        return sorted(str(directory / each.name) for each in found if each.name[0] != "." and not each.is_dir())

    def _text(self, name: str) -> str:
        try:
            return read_text(self._base / name, self._settings.max_file_bytes)
        except UnreadableError as error:
            raise PolicyError(name, error.line, error.problem) from None

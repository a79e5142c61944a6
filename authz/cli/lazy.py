"""Commands that are imported when they are called: whoever asks one thing does not wait for all the others."""

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands stand in modules of `authz.cli`."""

    def __init__(self, *arguments: Any, commands_in: Mapping[str, str], **settings: Any) -> None:
        """`commands_in`: from a command's name to "module:attribute", below `authz.cli`."""
        super().__init__(*arguments, **settings)
        self._where = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, in the order of the alphabet."""
        return sorted({*super().list_commands(ctx), *self._where})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command, if there is one of that name."""
        where = self._where.get(cmd_name)
        if where is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = where.partition(":")
        found: click.Command = getattr(importlib.import_module(f"authz.cli.{module}"), attribute)
        return found

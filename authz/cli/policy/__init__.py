"""`authz policy`: the tools of those who write policies, one module for each command."""

import click

from authz.cli.lazy import LazyGroup

_COMMANDS = {
    "apply": "control.policies:apply_command",
    "bench": "policy.bench:bench",
    "current": "control.policies:current_command",
    "diff": "policy.diff:diff",
    "explain": "policy.explain:explain",
    "fmt": "policy.fmt:fmt_command",
    "graph": "policy.graph:graph_command",
    "history": "control.policies:history_command",
    "import": "policy.imports:import_command",
    "lint": "policy.lint:lint_command",
    "replay": "policy.diff:replay",
    "rollback": "control.policies:rollback_command",
    "test": "policy.test:test",
}


@click.group(cls=LazyGroup, commands_in=_COMMANDS)
def policy() -> None:
    """Write policies: check, format, test, explain and compare them."""

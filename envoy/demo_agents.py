"""`make demo-agents`: a human starts a task; agents delegate, read, pay, are stopped; the task ends, grants with it.

    python envoy/demo_agents.py [--once]       --once, or ONCE=1 in the environment: exit after the story

Real Envoy with mutual TLS, a real MCP client and server, a real A2A client and server, each agent with a certificate
of its own. Everything lives in a temporary directory and on ports of loopback; nothing is left behind.
"""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "agents"))

from acts import Story
from approver import USER
from child import ChildError
from oidc_provider import PASSWORD
from scene import Scene, scene

_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def invite(stage: Scene) -> None:
    """Print what can be tried by hand."""
    command = Path(sys.executable).with_name("authz")
    print(f"""
Everything is still running. Try, in another terminal:

  cd {stage.directory}
  open {stage.console}                # sign in as {USER}, password: {PASSWORD}
  tail -f audit.jsonl access.log calls.jsonl
  $EDITOR policies/agents/policy.csv          # what you save is in force a moment later
  {command} grant list --control unix:control.sock
  curl --unix-socket admin.sock http://localhost/metrics

Ctrl-C ends it and removes the directory.""")


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """Run the story; answer 0 when every call came out as expected."""
    parser = argparse.ArgumentParser(prog="demo-agents", description="AI agents behind a real Envoy")
    parser.add_argument("--once", action="store_true", help="exit after the story")
    once = parser.parse_args(arguments).once or os.environ.get("ONCE", "") not in {"", "0"}
    for number in _SIGNALS:
        signal.signal(number, _end)  # as an exception, so that children are stopped and files removed
    wrong: list[str] = []
    try:
        with scene() as stage:
            wrong = asyncio.run(Story(stage).perform())
            for line in wrong:
                print(f"NOT AS EXPECTED: {line}", file=sys.stderr)
            if not once:
                invite(stage)
                signal.pause()
    except ChildError as error:
        print(f"demo-agents: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 1 if wrong else 0
    print("\nEvery call came out as expected." if not wrong else f"\n{len(wrong)} calls did not.")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

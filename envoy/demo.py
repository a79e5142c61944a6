"""`make demo`: real Envoy, mutual TLS, authz and a service behind; calls that are allowed and calls that are not.

    python envoy/demo.py [--once]       --once, or ONCE=1 in the environment: exit after the calls

Everything lives in a temporary directory and on ports that the kernel picks; nothing is left behind.
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pki
from child import Child, ChildError
from pdp import Authz, Pdp, copy_policies
from proxy import Edge, Envoy, patient
from story import CALLS, Story, Told

HERE = Path(__file__).parent
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def scene() -> Iterator[tuple[Story, Authz]]:
    """Start everything that the calls need; end it on every way out."""
    with contextlib.ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="authz-demo-"))
        stack.callback(shutil.rmtree, directory)
        keys = directory / "pki"
        pki.make(keys)
        upstream = _upstream(directory, stack)
        edge = Edge(
            certificate=keys / "edge.pem",
            key=keys / "edge.key",
            trust_domain=pki.TRUST_DOMAIN,
            trust_bundle=keys / "ca.pem",
            foreign_trust_domain=pki.FOREIGN_TRUST_DOMAIN,
            foreign_trust_bundle=keys / "foreign-ca.pem",
            upstream=upstream,
            pdp_socket=directory / "authz.sock",
            access_log=directory / "access.log",
        )
        envoy = Envoy(patient(edge.render()), directory)
        stack.callback(envoy.stop)
        config = Pdp(
            listen=f"unix:{directory}/authz.sock",
            certificate=keys / "pdp.pem",
            key=keys / "pdp.key",
            edge_id=pki.EDGE,
            trust_domain=pki.TRUST_DOMAIN,
            trust_bundle=keys / "ca.pem",
            policies=copy_policies(directory, envoy.ports["tcp"]),
            audit_file=directory / "audit.jsonl",
            doctor_id=pki.WORKLOADS["doctor"],
        )
        authz = Authz(config, directory)
        stack.callback(authz.stop)
        yield Story(directory, envoy.ports["edge"], envoy.ports["tcp"]), authz


def _upstream(directory: Path, stack: contextlib.ExitStack) -> tuple[str, int]:
    address = directory / "upstream.address"
    child = Child((sys.executable, str(HERE / "upstream.py"), str(address)), directory / "upstream.log")
    stack.callback(child.stop)
    found = child.wait_for(lambda: address.read_text() if address.exists() else None, "an address")
    host, _, port = found.strip().rpartition(":")
    return host, int(port)


def perform(story: Story) -> list[str]:
    """Make every call, print what came of it, and answer what was not as expected."""
    wrong = []
    print(f"  {'who':<12} {'asks':<44} {'answer':<8} why")
    for call in CALLS:
        told = story.tell(call)
        good = told == call.expected
        print(f"{' ' if good else '!'} {call.who or '(nobody)':<12} {call.asks:<44} {told.answer:<8} {told.reason}")
        if call.note:
            print(f"  {'':<12} {call.note}")
        if not good:
            wrong.append(f"{call.who or '(nobody)'}, {call.asks}: expected {_words(call.expected)}, got {_words(told)}")
    print("\nWhat the audit trail says:")
    for line in story.records():
        print(f"  {line}")
    return wrong + [f"decision {decision} is not on record" for decision in story.unrecorded]


def _words(told: Told) -> str:
    return f"{told.answer} {told.reason}".strip()


def invite(story: Story, authz: Authz) -> None:
    """Print what can be tried by hand."""
    url, directory = f"https://localhost:{story.port}", story.directory

    def curl(who: str, rest: str) -> str:
        return f"curl --cacert pki/ca.pem --cert pki/{who}.pem --key pki/{who}.key {rest}"

    command = Path(sys.executable).with_name("authz")
    print(f"""
Everything is still running. Try, in another terminal:

  cd {directory}
  {curl("planner", f"{url}/v1/accounts/42")}
  {curl("planner", f"-X POST {url}/v1/payments -d amount=1")}
  {curl("billing", f"-X POST {url}/v1/payments -d amount=1")}
  tail -f audit.jsonl access.log
  $EDITOR policies/policy.csv        # what you save is in force a moment later
  curl --unix-socket {authz.admin.name} http://localhost/metrics
  {command} doctor --through {url} --ca pki/ca.pem --cert pki/doctor.pem --key pki/doctor.key

Ctrl-C ends it and removes the directory.""")


def _end(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def main(arguments: Sequence[str]) -> int:
    """Run the demo; answer 0 when every call came out as expected."""
    parser = argparse.ArgumentParser(prog="demo", description="authz behind a real Envoy")
    parser.add_argument("--once", action="store_true", help="exit after the calls")
    once = parser.parse_args(arguments).once or os.environ.get("ONCE", "") not in {"", "0"}
    for number in _SIGNALS:
        signal.signal(number, _end)  # as an exception, so that children are stopped and files removed
    wrong: list[str] = []
    try:
        with scene() as (story, authz):
            wrong = perform(story)
            for line in wrong:
                print(f"NOT AS EXPECTED: {line}", file=sys.stderr)
            if not once:
                invite(story, authz)
                signal.pause()
    except ChildError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 1 if wrong else 0
    print("\nEvery call came out as expected." if not wrong else f"\n{len(wrong)} calls did not.")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

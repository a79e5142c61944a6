"""First latency figures: authz beside a do-nothing server on the same transport, in one interleaved run.

    python bench/run.py [--rounds 5] [--seconds 2] [--name latency]

Prints a table and writes every figure to bench/results/NAME.json. How to read it: bench/README.md.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from urllib.parse import quote

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest
from h2_client import Client

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "envoy"))
import pki  # noqa: E402 - lies beside the Envoy configuration, which is no package

PLANNER = pki.WORKLOADS["planner"]
ALLOWED = b"\x0a\x04\x12\x02OK"  # status { message: "OK" }: what an allow of authz, and of the floor, begins with
CONFIG = """
[identity]
trust_domain = "demo.internal"
inventory.file = "{policies}/inventory.toml"
[policy]
model = "{policies}/model.conf"
policies = ["{policies}/policy.csv"]
[catalogue]
file = "{policies}/catalogue.toml"
[server]
transport = "{transport}"
listen = ["{listen}"]
drain_delay_seconds = 0
[admin]
enabled = false
[audit]
destination = "{directory}/audit.jsonl"
[log]
level = "warning"
"""


def message(directory: pathlib.Path) -> bytes:
    """A CheckRequest such as Envoy sends for an mTLS GET: certificate, XFCC, a dozen headers; about 2.2 kB."""
    certificate = quote((directory / "planner.pem").read_text(), safe="")
    request = CheckRequest()
    attributes = request.attributes
    attributes.source.address.socket_address.address = "127.0.0.1"
    attributes.source.address.socket_address.port_value = 45090
    attributes.source.principal = PLANNER
    attributes.source.certificate = certificate
    attributes.destination.address.socket_address.address = "127.0.0.1"
    attributes.destination.address.socket_address.port_value = 443
    attributes.destination.principal = pki.EDGE
    attributes.request.time.GetCurrentTime()
    attributes.tls_session.sni = "accounts.demo.internal"
    http = attributes.request.http
    http.id, http.method, http.path = "6837343209808805093", "GET", "/v1/accounts/42"
    http.host, http.scheme, http.protocol = "accounts.demo.internal", "https", "HTTP/2"
    headers = {
        ":authority": http.host,
        ":method": http.method,
        ":path": http.path,
        ":scheme": "https",
        "user-agent": "bench/1",
        "accept": "application/json",
        "x-request-id": "3214ae4b-2e98-4087-94e8-4dbd8df368d2",
        "x-forwarded-proto": "https",
        "x-forwarded-client-cert": f'By={pki.EDGE};Hash={"0" * 64};Cert="{certificate}";URI={PLANNER}',
    }
    for name, value in headers.items():
        http.header_map.headers.add(key=name, raw_value=value.encode())
    return request.SerializeToString()


class Server:
    """A server process on a Unix socket, and how much CPU it has used."""

    def __init__(self, name: str, command: list[str], socket: pathlib.Path) -> None:
        self.name = name
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=ROOT)
        self.address = f"unix:{socket}"
        deadline = time.monotonic() + 30
        while not socket.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start: {self.process.stderr.read().decode()}")
            time.sleep(0.02)
        self.client = Client(self.address)

    def cpu_seconds(self) -> float:
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(30)


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(server: Server, body: bytes, in_flight: int, seconds: float) -> dict[str, float]:
    cpu = server.cpu_seconds()
    result = server.client.run([body], in_flight=in_flight, seconds=seconds, expect=ALLOWED)
    cpu = server.cpu_seconds() - cpu
    if result.wrong:
        raise SystemExit(f"{server.name}: {result.wrong} of {len(result.latencies)} answers were not an allow")
    ordered = sorted(result.latencies)
    micro = {f"p{share * 100:g}": percentile(ordered, share) * 1e6 for share in (0.5, 0.9, 0.99, 0.999)}
    return {
        "requests": len(ordered),
        "per_second": len(ordered) / result.seconds,
        "mean": statistics.fmean(ordered) * 1e6,
        **micro,
        "max": ordered[-1] * 1e6,
        "cpu_us_per_request": cpu / len(ordered) * 1e6,
    }


def servers(directory: pathlib.Path) -> list[Server]:
    started = []
    for transport in ("h2corn", "grpc.aio"):
        floor = directory / f"floor-{transport}.sock"
        started.append(
            Server(
                f"do-nothing {transport}",
                [sys.executable, str(HERE / "do_nothing.py"), transport, f"unix:{floor}"],
                floor,
            )
        )
        socket = directory / f"authz-{transport}.sock"
        config = directory / f"authz-{transport}.toml"
        config.write_text(
            CONFIG.format(policies=ROOT / "policies", transport=transport, listen=f"unix:{socket}", directory=directory)
        )
        started.append(
            Server(f"authz {transport}", [sys.executable, "-m", "authz.cli.main", "serve", "-c", str(config)], socket)
        )
    return started


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=2.0)
    arguments.add_argument("--name", default="latency")
    asked = arguments.parse_args()
    figures: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        pki.make(directory)
        body = message(directory)
        running = servers(directory)
        try:
            for server in running:
                measure(server, body, 8, 0.5)  # warm-up, not counted
            for _ in range(asked.rounds):
                for in_flight in (1, 32):
                    for server in running:
                        found = measure(server, body, in_flight, asked.seconds)
                        figures.setdefault(server.name, {}).setdefault(str(in_flight), []).append(found)
        finally:
            for server in running:
                server.stop()
    show(figures, len(body))
    save(asked.name, figures, len(body))


def show(figures: dict[str, dict[str, list[dict[str, float]]]], size: int) -> None:
    print(f"CheckRequest of {size} bytes over a Unix socket; medians over the rounds, [lowest-highest]; times in us\n")
    columns = ("p50", "p99", "p99.9", "CPU/req")
    print(f"{'server':<20} {'in flight':>9} {'req/s':>22} {'of floor':>9} " + " ".join(f"{c:>8}" for c in columns))
    for name, by_flight in figures.items():
        floor = figures[f"do-nothing {name.split()[1]}"]
        for in_flight, rounds in by_flight.items():
            rate = [r["per_second"] for r in rounds]
            share = statistics.median(
                a["per_second"] / b["per_second"] for a, b in zip(rounds, floor[in_flight], strict=True)
            )
            middle = {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}
            spread = f"{statistics.median(rate):.0f} [{min(rate):.0f}-{max(rate):.0f}]"
            print(
                f"{name:<20} {in_flight:>9} {spread:>22} {share:>9.2f} {middle['p50']:>8.0f} {middle['p99']:>8.0f} "
                f"{middle['p99.9']:>8.0f} {middle['cpu_us_per_request']:>8.0f}"
            )


def save(name: str, figures: object, size: int) -> None:
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    packages = ("nhi-authz", "h2corn", "grpcio", "protobuf", "casbin", "msgspec", "uvloop")
    told = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": " ".join(["python", "bench/run.py", *sys.argv[1:]]),
        "machine": {"cpus": os.cpu_count(), "processor": processor(), "python": platform.python_version()},
        "load_before": os.getloadavg(),
        "versions": {package: version(package) for package in packages},
        "message_bytes": size,
        "figures": figures,
    }
    (results / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")


def processor() -> str:
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    main()

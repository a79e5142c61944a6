"""A control plane that serves, over a demo policy, with real certificates and Unix sockets."""

import contextlib
import os
import shutil
import ssl
import time
from pathlib import Path

import grpc
import httpx
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf import message_factory
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, PreconditionFailure
from google.rpc.status_pb2 import Status

from authz.composition import Composition
from authz.config.file import load
from authz.config.settings import Config
from authz.control.feed import Feed
from authz.control_plane import control_plane
from authz.data_plane_parts import DataPlaneParts
from authz.keys import read_keys
from authz.orders import Orders
from authz.shared_state import NoSiblings, shared_state
from authz.stores.database.records import Revocation
from authz.stores.holder import Reloader, SnapshotHolder, Source
from authz.stores.key_files import KeyStore

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "policies"
DOMAIN = "demo.internal"
PLANNER = f"spiffe://{DOMAIN}/ns/agents/sa/planner"
RESEARCHER = f"spiffe://{DOMAIN}/ns/agents/sa/researcher"
BILLING = f"spiffe://{DOMAIN}/ns/payments/sa/billing"
BOB = f"spiffe://{DOMAIN}/people/bob"
SERVER = f"spiffe://{DOMAIN}/ns/authz/sa/authz"


class Pki:
    """An authority of the demo's trust domain, and files of what it issued."""

    def __init__(self, directory):
        import identity_pki as pki

        self._pki = pki
        self._directory = directory
        now = time.time()
        self.times = {"not_before": now - 3600, "not_after": now + 3600}
        self.root = pki.authority(uris=(f"spiffe://{DOMAIN}",), **self.times)
        self.ca = self._write("ca.pem", pki.pem(self.root.certificate).encode())
        self.server = self.issue(SERVER, "server", dns=("localhost",))

    def issue(self, spiffe_id, name, **changes):
        key = ec.generate_private_key(ec.SECP256R1())
        made = self.root.issue(subject=name, uris=(spiffe_id,), key=key, **{**self.times, **changes})
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        certificate = self._write(f"{name}.pem", self._pki.pem(made).encode())
        return {
            "certificate": certificate,
            "key": self._write(f"{name}.key", pem),
            "fingerprint": self._pki.fingerprint(made),
        }

    def channel(self, target, spiffe_id, name=""):
        made = self.issue(spiffe_id, name or spiffe_id.rpartition("/")[2])
        credentials = grpc.ssl_channel_credentials(
            Path(self.ca).read_bytes(), Path(made["key"]).read_bytes(), Path(made["certificate"]).read_bytes()
        )
        return grpc.aio.secure_channel(target, credentials, [("grpc.ssl_target_name_override", "localhost")])

    def _write(self, name, content):
        path = self._directory / name
        path.write_bytes(content)
        return str(path)


class Failed(Exception):
    """A call that failed, with its details unpacked."""

    def __init__(self, error):
        super().__init__(error.code().name, error.details())
        self.code = error.code()
        self.violations, self.metadata, self.reason = {}, {}, ""
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                self.status = Status.FromString(value)
                for detail in self.status.details:
                    self._take(detail)

    def _take(self, detail):
        info, bad, precondition = ErrorInfo(), BadRequest(), PreconditionFailure()
        if detail.Unpack(info):
            self.reason, self.metadata = info.reason, dict(info.metadata)
            assert info.domain == "authz.control.v1"
        elif detail.Unpack(bad):
            self.violations = {each.field: each.description for each in bad.field_violations}
        elif detail.Unpack(precondition):
            self.preconditions = [each.type for each in precondition.violations]


class Client:
    """Calls methods by name over a channel."""

    def __init__(self, channel):
        self.channel = channel

    async def call(self, service, method, request, timeout=60):
        descriptor = service.methods_by_name[method]
        answer = message_factory.GetMessageClass(descriptor.output_type)
        rpc = self.channel.unary_unary(
            f"/{service.full_name}/{method}", lambda message: message.SerializeToString(), answer.FromString
        )
        try:
            return await rpc(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise Failed(error) from None

    def stream(self, service, method, request, timeout=60):
        descriptor = service.methods_by_name[method]
        answer = message_factory.GetMessageClass(descriptor.output_type)
        rpc = self.channel.unary_stream(
            f"/{service.full_name}/{method}", lambda message: message.SerializeToString(), answer.FromString
        )
        return rpc(request, timeout=timeout)


@contextlib.asynccontextmanager
async def unix_client(server):
    [path] = [address for address in server.addresses if address.startswith("unix:")]
    async with grpc.aio.insecure_channel(path) as channel:
        yield Client(channel)


def struct_replace(value, **changes):
    return msgspec.structs.replace(value, **changes)


ME = os.getuid()


class Trail:
    """Keeps outcomes in memory."""

    def __init__(self):
        self.outcomes = []
        self.keeps = True

    def offer(self, outcome):
        self.outcomes.append(outcome)
        return self.keeps

    @property
    def last(self):
        return self.outcomes[-1]


class World:
    """A control plane, configured by a file as a user would."""

    def __init__(
        self,
        directory,
        pki,
        *,
        operators=None,
        control="",
        rules=None,
        tls=True,
        files=None,
        without=None,
        grants="",
        http="",
        store="",
        more="",
    ):
        self.directory, self.pki = directory, pki
        self.policies = directory / "policies"
        shutil.copytree(POLICIES, self.policies, dirs_exist_ok=True)
        if rules is not None:
            (self.policies / "control.csv").write_text(rules)
        for name, text in (files or {}).items():
            (self.policies / name).write_text(text)
        listen = [f"unix:{directory}/control.sock"] + (["127.0.0.1:0"] if tls else [])
        operators = operators if operators is not None else OPERATORS
        text = f"""
[identity]
trust_domain = "{DOMAIN}"
bundle = "{pki.ca}"
certificates.trust = "bundle"
inventory.file = "policies/inventory.toml"
[policy]
model = "policies/model.conf"
policies = ["policies/policy.csv"]
[catalogue]
file = "policies/catalogue.toml"
[store]
state_directory = "state"
operation_timeout_seconds = 60.0
{store}
[grants]
issuer = "https://authz.demo.internal"
{grants}
[control]
enabled = true
listen = {listen!r}
apply_policies = true
{control}
{operators}
"""
        if tls:
            text += f"""
[control.http]
listen = "127.0.0.1:0"
{http}
[control.tls]
certificate = "{pki.server["certificate"]}"
key = "{pki.server["key"]}"
client_ca = "{pki.ca}"
"""
        text += more
        self.file = directory / "authz.toml"
        text = text.replace(without, "") if without else text
        self.file.write_text(text.replace("'", '"'))
        self.trail = Trail()
        self.refusals = []

    @contextlib.asynccontextmanager
    async def serving(self):
        async with contextlib.AsyncExitStack() as stack:
            self.server = await serve(self, stack)
            [self.unix] = [address for address in self.server.addresses if address.startswith("unix:")]
            self.target = next((address for address in self.server.addresses if not address.startswith("unix:")), "")
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(self.unix))
            self.alice = Client(channel)
            self._stack = stack
            yield self

    async def revoke(self, kind, value):
        """Revoke behind the control plane's back."""
        revocation = Revocation(
            id="r-test", kind=kind, value=value, reason="test", author="test", created_at=time.time()
        )
        await self.shared.store.revoke(revocation)
        await self.shared.settle()

    def http(self, spiffe_id=None, **options):
        """Answer an HTTP client that shows a certificate of this identity; None: it shows none."""
        context = ssl.create_default_context(cafile=self.pki.ca)
        context.check_hostname = False
        if spiffe_id:
            made = self.pki.issue(spiffe_id, f"http-{spiffe_id.rpartition('/')[2]}")
            context.load_cert_chain(made["certificate"], made["key"])
        return httpx.AsyncClient(base_url=f"https://{self.server.web_address}", verify=context, timeout=60, **options)

    async def as_(self, spiffe_id, name=""):
        """Answer a client that shows a certificate of this identity."""
        channel = self.pki.channel(self.target, spiffe_id, name)
        return Client(await self._stack.enter_async_context(channel))


OPERATORS = f"""
[[control.operators]]
name = "alice"
uid = {os.getuid()}
groups = ["operators", "authors"]
[[control.operators]]
name = "bob"
spiffe_id = "{BOB}"
groups = ["security"]
"""


async def serve(world, stack):
    """Start the control plane over real parts; its trail is in memory."""
    config = load(world.file, Config, {}).rooted(world.directory)
    world.config = config
    composition = world.composition = Composition(config, world.directory)
    keys = KeyStore(composition.key_sources, config.keys, lambda _: None, lambda *_: None)
    await read_keys(keys, composition.key_sources, {})
    composition.keys = keys.current
    source = Source(composition.build_snapshot, composition.watched, config.reload)
    world.holder = SnapshotHolder(source.build())
    world.shared = await stack.enter_async_context(shared_state(config, world.directory, NoSiblings()))
    world.decisions = Feed(config.control.watch.queue_events)
    reloader = Reloader(world.holder, source, config.reload, lambda _: None, world.refusals.append)
    parts = DataPlaneParts(
        composition=composition,
        holder=world.holder,
        reloader=reloader,
        trail=world.trail,
        decisions=world.decisions,
        shared=world.shared,
    )
    await Orders(world.directory, parts).follow()
    return await stack.enter_async_context(control_plane(world.directory, parts))

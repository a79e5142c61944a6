"""A data plane and a control plane over one store, a rule that waits for humans, and a provider of such humans."""

import asyncio
import json
import time
from pathlib import Path
from urllib.parse import quote

import grpc
from control_kit import DOMAIN, OPERATORS, Client, Failed
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf import message_factory

from authz.budgets.ledger import Ledger
from authz.control.v1 import approvals_pb2 as pb
from authz.decision.check import Checker
from authz.decision.spending import NOTHING_COSTS
from authz.errors import Refusal
from authz.jose.signing import SigningKey, sign_compact
from authz.shared_budgets import SharedBudgets
from authz.turned_on import approvals_of, spend_of, spending_of, standing_of

SERVICE = pb.DESCRIPTOR.services_by_name["Approvals"]
ISSUER = "https://idp.example"
AUDIENCE = "authz-approvals"
PAYER = f"spiffe://{DOMAIN}/ns/agents/sa/payer"
RULE = "p, pay, r.sub.id == 'spiffe://demo.internal/ns/agents/sa/payer', /v1/payments*, *, allow, "
PLAIN = "p, look, True, /v1/accounts*, GET, allow,\n"
OPEN = "p, anybody, True, *, *, allow,\n"
BODY = b'{"amount": 250, "currency": "EUR", "to": "DE02", "password": "hunter2"}'


class Provider:
    """An OpenID provider as far as tokens go: a key set in a file, and tokens of its keys."""

    def __init__(self, directory):
        self.file = Path(directory) / "idp.json"
        self.rotate()

    def rotate(self, kid="k1"):
        self.key = SigningKey(kid, ec.generate_private_key(ec.SECP256R1()))
        self.file.write_text(json.dumps({"keys": [self.key.public_jwk()]}))

    def token(self, subject="ann", groups=("finance",), **changes):
        now = time.time()
        claims = {
            "iss": ISSUER,
            "sub": subject,
            "aud": AUDIENCE,
            "iat": now - 5,
            "exp": now + 600,
            "name": subject.capitalize(),
            "email": f"{subject}@example.com",
            "groups": list(groups),
        } | changes
        return sign_compact({name: value for name, value in claims.items() if value is not None}, "JWT", self.key)


def configured(provider, more=""):
    """Sections of the configuration that the kit's worlds have besides the usual."""
    return f"""{OPERATORS}
[approvals]
url = "https://console.example/approvals/{{id}}"
{more}
[approvals.groups]
payments = ["finance", "cn=finance"]
security = ["sec"]
[[approvals.issuers]]
issuer = "{ISSUER}"
jwks = "{provider.file}"
audiences = ["{AUDIENCE}"]
"""


def inventory(owner="carol@example.com"):
    return f'[workloads."{PAYER}"]\nowner = "{owner}"\nkind = "agent"\n'


class Plane:
    """The data plane of one process, beside the control plane of a world."""

    def __init__(self, world, shared=None, *, counts=False):
        self.world = world
        self.shared = shared or world.shared
        self.ledger = Ledger(world.config.budgets, world.config.tasks)
        self.sharing = SharedBudgets(world.config, self.shared, self.ledger)
        self.outcomes = []
        self._certificates = {}
        self.checker = Checker(
            world.composition.parts(
                world.holder,
                self,
                self,
                standing=standing_of(self.shared, world.composition),
                spend=spend_of(self.shared),
                spending=spending_of(world.config, self.ledger, self.sharing) if counts else NOTHING_COSTS,
                approvals=approvals_of(self.shared, lambda: world.holder.current.engine),
            )
        )

    def offer(self, outcome):
        self.outcomes.append(outcome)
        return True

    def decided(self, outcome):
        pass

    def message(self, body=BODY, who=PAYER, path="/v1/payments", method="POST", host="bank.demo.internal", **headers):
        if who not in self._certificates:
            issued = self.world.pki.issue(who, f"plane-{who.rpartition('/')[2]}")
            self._certificates[who] = quote(Path(issued["certificate"]).read_text(), safe="")
        request = CheckRequest()
        request.attributes.source.principal = who
        request.attributes.source.certificate = self._certificates[who]
        http = request.attributes.request.http
        http.method, http.host, http.path, http.raw_body = method, host, path, body
        for name, value in {"content-type": "application/json", **headers}.items():
            http.headers[name.replace("_", "-")] = value
        return request.SerializeToString()

    async def ask(self, *args, **kwargs):
        """What the proxy is told: the answer, with its problem details."""
        return await self.decide(self.message(*args, **kwargs))

    async def decide(self, message):
        answer = self.checker.check(message, 60.0)
        if not isinstance(answer, bytes):
            try:
                refused = await answer.spend()
            except Refusal as refusal:
                refused = refusal.reason
            answer = answer.conclude(refused)
        return Told(CheckResponse.FromString(answer))


class Told:
    """One answer."""

    def __init__(self, response):
        self.response = response
        self.allowed = response.status.code == 0
        self.reason = response.dynamic_metadata.fields["reason"].string_value
        self.problem = (
            {} if self.allowed or not response.denied_response.body else json.loads(response.denied_response.body)
        )
        self.wanted = self.problem.get("access_request", {})
        self.headers = {each.header.key: each.header.value for each in response.denied_response.headers}

    @property
    def id(self):
        return self.wanted["id"]


class Desk:
    """The approvals' methods, called with a human's token."""

    def __init__(self, client):
        self.client = client

    async def call(self, method, request, token=None, *, raw=None, timeout=60):
        descriptor = SERVICE.methods_by_name[method]
        answer = message_factory.GetMessageClass(descriptor.output_type)
        metadata = [("authorization", raw if raw is not None else f"Bearer {token}")] if token or raw else []
        rpc = self.client.channel.unary_unary(
            f"/{SERVICE.full_name}/{method}", lambda message: message.SerializeToString(), answer.FromString
        )
        try:
            return await rpc(request, timeout=timeout, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise Failed(error) from None

    async def approve(self, approval_id, token, **fields):
        return (await self.call("Approve", pb.ApproveRequest(approval_id=approval_id, **fields), token)).approval

    async def reject(self, approval_id, token, comment="no"):
        request = pb.RejectApprovalRequest(approval_id=approval_id, comment=comment)
        return (await self.call("Reject", request, token)).approval

    async def withdraw(self, approval_id, token=None):
        return (await self.call("Withdraw", pb.WithdrawRequest(approval_id=approval_id), token)).approval

    async def get(self, approval_id, token=None):
        return await self.call("Get", pb.GetApprovalRequest(approval_id=approval_id), token)

    async def list(self, token=None, **fields):
        return await self.call("List", pb.ListApprovalsRequest(**fields), token)


def desk(world):
    return Desk(world.alice)


def tls_desk(channel):
    return Desk(Client(channel))


async def until(holds, seconds=60.0):
    """Wait for a condition, generously."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)

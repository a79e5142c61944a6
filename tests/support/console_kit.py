"""A console that serves, beside a control plane, with people from a real provider."""

import os
import re
import ssl
from urllib.parse import urlsplit

import httpx
from approval_kit import RULE, Plane, inventory
from control_kit import BOB, PLANNER, POLICIES, RESEARCHER, World

from authz.control.v1 import grants_pb2
from authz.control.v1.common_pb2 import Permission, Task

GRANTS = grants_pb2.DESCRIPTOR.services_by_name["Grants"]

CONTROL_OPERATORS = f"""
[[control.operators]]
name = "alice"
uid = {os.getuid()}
oidc_subject = ""
groups = ["operators", "authors"]
[[control.operators]]
name = "bob"
spiffe_id = "{BOB}"
oidc_subject = "sam"
groups = ["security"]
"""
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


def console_world(directory, pki, provider, *, console="", oidc="", approvals="", **changes):
    """Answer a World whose control plane has a console; `provider` is a running one."""
    (directory / "console-secret").write_text(provider.secret + "\n")
    try:
        keys = httpx.get(f"{provider.issuer}/oauth/jwks.json", timeout=60).text
    except httpx.ConnectError:
        keys = '{"keys": []}'
    (directory / "provider-jwks.json").write_text(keys)
    more = f"""
[approvals]
groups = {{ payments = ["payments"], security = ["security-team"] }}
{approvals}
[[approvals.issuers]]
issuer = "{provider.issuer}"
jwks = "provider-jwks.json"
audiences = ["{provider.client_id}"]
[console]
enabled = true
listen = "127.0.0.1:0"
{console}
[console.tls]
certificate = "{pki.server["certificate"]}"
key = "{pki.server["key"]}"
[console.oidc]
issuer = "{provider.issuer}"
client_id = "{provider.client_id}"
client_secret_file = "console-secret"
min_refresh_seconds = 0.001
{oidc}
[[console.oidc.members]]
claim = "staff"
roles = ["viewer"]
groups = ["viewers"]
[[console.oidc.members]]
claim = "payments"
roles = ["approver"]
groups = ["payments"]
[[console.oidc.members]]
claim = "sre"
roles = ["operator"]
groups = ["operators"]
[[console.oidc.members]]
claim = "security-team"
roles = ["operator"]
groups = ["operators", "security"]
"""
    changes.setdefault("operators", CONTROL_OPERATORS)
    more = changes.pop("more", "") + more
    return World(directory, pki, more=more, **changes)


def payments_policy(obligations="require_approval=payments;approval_uses=3"):
    """Answer files of a policy by which the payer pays when a human says yes, beside the demo's."""
    catalogue = (POLICIES / "catalogue.toml").read_text()
    payments, rest = catalogue.split('path = "/v1/payments/*"', 1)
    return {
        # The demo's payments are cardholder data, which no agent sees.
        "catalogue.toml": f'{payments}path = "/v1/payments/*"{rest.replace("cardholder_data = true", "", 1)}',
        "policy.csv": (POLICIES / "policy.csv").read_text() + f"{RULE}{obligations}\n",
        "inventory.toml": (POLICIES / "inventory.toml").read_text() + inventory("Omar Operator"),
    }


def handing_on():
    """Answer the shipped control policy, and that the researcher may take the planner's tasks on."""
    who = f"r.sub.id == '{RESEARCHER}' && r.obj.subject in ['{PLANNER}', '{RESEARCHER}']"
    return (POLICIES / "control.csv").read_text() + f"p, hand-on, {who}, /grants/*, control:grants.exchange, allow,\n"


class ToldPlane(Plane):
    """A data plane that tells the console's live view of what it decides."""

    def offer(self, outcome):
        if self.world.decisions.followed:
            self.world.decisions.tell(outcome)
        return super().offer(outcome)


def origin(world):
    """Answer where the console is."""
    return f"https://{world.server.console_address}"


async def grant(world, purpose="plan the week", **fields):
    """Issue a grant to the planner, who asks for it."""
    if not hasattr(world, "planner"):
        world.planner = await world.as_(PLANNER)
    request = grants_pb2.IssueRequest(
        task=Task(purpose=purpose),
        permissions=[Permission(actions=["GET"], locations=["*"], resources=["/v1/accounts/*"])],
        **fields,
    )
    return await world.planner.call(GRANTS, "Issue", request)


class Browser:
    """A browser of one person, as far as HTTP goes; it keeps cookies."""

    def __init__(self, world, provider):
        self.world, self.provider = world, provider
        context = ssl.create_default_context(cafile=world.pki.ca)
        context.check_hostname = False
        self.client = httpx.AsyncClient(base_url=origin(world), verify=context, http2=False, timeout=60)
        self.csrf = ""

    async def __aenter__(self):
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.client.__aexit__(*error)

    async def get(self, path, **options):
        return await self.client.get(path, **options)

    async def begin(self, path="/approvals"):
        """Go to the provider; answer the URL there."""
        answer = await self.get("/login", params={"next": path})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    async def at_provider(self, url, user):
        """Sign in there; answer the path and query with which the browser is sent back."""
        import asyncio

        def work():
            with httpx.Client(timeout=60) as client:
                return self.provider.sign_in(client, url, user)

        back = urlsplit(await asyncio.to_thread(work))
        return f"{back.path}?{back.query}"

    async def sign_in(self, user, path="/policy"):
        """Come in; answer the last page of it."""
        answer = await self.get(await self.at_provider(await self.begin(path), user))
        if answer.status_code == 200:
            page = await self.get(path)
            self.csrf = _CSRF.search(page.text)[1]
        return answer

    async def post(self, path, headers=None, csrf=None, **fields):
        """Send a form as a page of the console would."""
        fields["csrf"] = self.csrf if csrf is None else csrf
        headers = {"origin": origin(self.world), **(headers or {})}
        return await self.client.post(path, data=fields, headers=headers)

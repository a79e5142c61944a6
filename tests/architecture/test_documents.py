"""What the documents claim of the code is so."""

import pathlib
import re

from authz.config.reference import reference
from authz.config.settings import Config
from authz.errors import Reason

ROOT = pathlib.Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_every_reason_is_explained_with_its_status():
    rows = re.findall(r"^\| `([a-z0-9_]+)` \| (\d{3}) \| (.+) \|$", (DOCS / "reasons.md").read_text(), re.MULTILINE)
    assert [(code, int(status)) for code, status, _ in rows] == [(r.value, r.http_status) for r in Reason]


def test_the_configuration_reference_is_made_from_this_code():
    assert (DOCS / "configuration.md").read_text() == reference(Config), "run `make docs`"


def test_links_between_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("*/README.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"

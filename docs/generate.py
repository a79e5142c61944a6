"""Writes the reference pages that are made from the code: `make docs`. A test fails while they are out of date."""

import json
import pathlib

from authz.audit.schema import json_schema
from authz.authoring.schema import json_schema as cases_schema
from authz.config.reference import reference
from authz.config.settings import Config

DOCS = pathlib.Path(__file__).parent


def pages() -> dict[str, str]:
    """Answer the pages by file name."""
    return {
        "configuration.md": reference(Config),
        "audit-record.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        "policy-tests.schema.json": json.dumps(cases_schema(), indent=2) + "\n",
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (DOCS / name).write_text(text)

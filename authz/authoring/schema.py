"""The JSON Schema of files of test cases, for editors: docs/policy-tests.schema.json."""

from typing import Any

import msgspec

from authz.authoring.cases import CaseEntry, CaseFile, Defaults, Expectation
from authz.authoring.question import Question
from authz.config.docs import class_doc, field_docs

_KINDS = (CaseFile, CaseEntry, Defaults, Expectation, Question)


def json_schema() -> dict[str, Any]:
    """Answer the schema (2020-12), each key with its meaning."""
    (schema,), components = msgspec.json.schema_components([CaseFile])
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "authz policy test cases",
        **schema,
        "$defs": components,
    }
    told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))  # defaults as JSON, not as tuples
    for kind in _KINDS:
        part = told["$defs"][kind.__name__]
        part["description"] = class_doc(kind)
        for name, meaning in field_docs(kind).items():
            described = part["properties"][name]
            described["description"] = " ".join(meaning.split())
            if isinstance(described.get("default"), dict):
                del described["default"]  # what stands in its own keys already
    return told

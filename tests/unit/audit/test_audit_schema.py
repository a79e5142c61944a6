"""The schema that is published is the one that the records keep to."""

import json
from pathlib import Path
from typing import Any

import pytest

from authz.audit.schema import json_schema
from authz.errors import Reason
from authz.model import Decision, Effect

PUBLISHED = Path(__file__).parents[3] / "docs" / "audit-record.schema.json"


def faults(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "$") -> list[str]:
    """Check a value by the keywords that our schema uses, and that it has no field that the schema does not name."""
    if "$ref" in schema:
        return faults(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root, at)
    if "anyOf" in schema:
        found = [faults(value, option, root, at) for option in schema["anyOf"]]
        return min(found, key=len)
    if "enum" in schema:
        return [] if value in schema["enum"] else [f"{at}: {value!r}"]
    types = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    wanted = types[schema["type"]]
    if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
        return [f"{at}: {value!r} is no {schema['type']}"]
    if isinstance(value, list):
        return [fault for n, item in enumerate(value) for fault in faults(item, schema["items"], root, f"{at}[{n}]")]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        found = [f"{at}: {name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, item in value.items():
            inner = known.get(name) or schema.get("additionalProperties")
            found += faults(item, inner, root, f"{at}.{name}") if inner else [f"{at}: {name} is not in the schema"]
        return found
    return []


def test_the_published_schema_is_current():
    assert json.loads(PUBLISHED.read_text()) == json_schema(), (
        "write json.dumps(authz.audit.schema.json_schema(), indent=2) and a newline to docs/audit-record.schema.json"
    )


def test_records_of_every_shape_keep_to_the_published_schema(recorded):
    schema = json.loads(PUBLISHED.read_text())
    records = [
        recorded(),
        recorded(asked=None),
        recorded(subject=None, asked=None),
        recorded(call=None, subject=None, asked=None, decision=Decision(Effect.DENY, Reason.REQUEST_MALFORMED)),
        {"event": "trail_gap", "v": 1, "time": "t", "pid": 1, "since": "t", "until": "t", "queue_full": 2},
    ]
    assert [faults(record, schema, schema) for record in records] == [[]] * len(records)


@pytest.mark.parametrize(
    "broken",
    [{"v": "1"}, {"effect": None}, {"unknown": 1}, {"event": "other"}, {"action": {}}, {"source": {"port": 1}}],
)
def test_the_check_itself_notices_what_breaks_the_schema(recorded, broken):
    schema = json.loads(PUBLISHED.read_text())
    assert faults(recorded() | broken, schema, schema)

"""Whatever GraphQL's own executor runs of a document was among the actions read from it."""

import json

from graphql import build_schema, execute_sync, parse
from hypothesis import event, given, settings
from hypothesis import strategies as st

from authz.actions.decoder import Message
from authz.actions.graphql.decoder import GraphqlDecoder
from authz.actions.graphql.settings import GraphqlSettings
from authz.actions.limits import Limits
from authz.errors import Refusal

FIELDS = "a(x: Int, y: String): Int b(x: Int, y: String): Int c(x: Int, y: String): Int"
SCHEMA = build_schema(f"type Query {{ {FIELDS} }} type Mutation {{ {FIELDS} }}")
DECODER = GraphqlDecoder(GraphqlSettings())

arguments = st.sampled_from(["", "(x: 1)", "(x: $v)", '(y: "z")', "(x: $v, y: $w)", "(x: 1, x: 2)"])
directives = st.sampled_from(["", "", "@skip(if: true)", "@include(if: $flag)", "@include(if: true)"])
fields = st.builds(
    "{} {}{} {}".format, st.sampled_from(["", "", "a:", "b:", "z:"]), st.sampled_from("abc"), arguments, directives
)
spreads = st.builds("...{} {}".format, st.sampled_from("FG"), directives)
plain = fields | spreads
inline = st.lists(plain, min_size=1, max_size=2).map(lambda items: "... { " + " ".join(items) + " }")
sets = st.lists(plain | inline, min_size=1, max_size=3).map(lambda items: "{ " + " ".join(items) + " }")
roots = st.sampled_from(["query", "mutation"])
VARIABLES = "($v: Int = 7, $w: String, $flag: Boolean = true)"
operations = st.tuples(roots, sets, roots, sets).map(
    lambda parts: f"{parts[0]} P{VARIABLES} {parts[1]} {parts[2]} Q{VARIABLES} {parts[3]}"
)
fragments = st.tuples(roots, sets, roots, sets).map(
    lambda parts: f"fragment F on {parts[0].title()} {parts[1]} fragment G on {parts[2].title()} {parts[3]}"
)
documents = st.builds("{}\n{}".format, operations, fragments)
FEWER = max(60, settings.get_profile(settings.get_current_profile_name()).max_examples // 3)


class _Root:
    def __init__(self):
        self.ran = []

    def __getattr__(self, name):
        def resolve(info, **given):
            self.ran.append((info.operation.operation.value, info.field_name, given))
            return 1

        return resolve


@settings(max_examples=FEWER)
@given(
    document=documents,
    operation=st.sampled_from(["P", "Q"]),
    variables=st.sampled_from([None, {}, {"v": 3}, {"w": "t", "flag": False}, {"v": None}]),
)
def test_what_is_executed_was_asked_for(document, operation, variables):
    body = json.dumps({"query": document, "operationName": operation, "variables": variables}).encode()
    try:
        actions = DECODER.decode(Message("POST", "/graphql"), body, Limits())
    except Refusal:
        event("refused")
        return
    root = _Root()
    execute_sync(SCHEMA, parse(document), root, variable_values=variables, operation_name=operation)
    event(f"ran {min(len(root.ran), 2)}")
    named = [(action.name, action.args) for action in actions]
    for kind, name, given_ in root.ran:
        assert (f"graphql:{kind}:{name}", given_) in named

"""Chains of a task, drawn."""

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from authz.console.graph import MAX_NODES, draw, links

SVG = "{http://www.w3.org/2000/svg}"


def parsed(markup):
    return ET.fromstring(str(markup).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def test_each_party_stands_right_of_who_gave_it_the_task():
    chain = links("owner", [("planner", [], "g1", "active"), ("researcher", ["planner"], "g2", "revoked")])
    drawing = parsed(draw("owner", chain, "a task"))
    places = {
        group.find(f"{SVG}title").text: float(group.find(f"{SVG}rect").get("x")) for group in drawing.iter(f"{SVG}g")
    }
    assert places["owner"] < places["planner"] < places["researcher"]
    told = [
        path.find(f"{SVG}title").text for path in drawing.iter(f"{SVG}path") if path.find(f"{SVG}title") is not None
    ]
    assert told == ["owner gave planner the grant g1 (active)", "planner gave researcher the grant g2 (revoked)"]


def test_a_circle_and_a_giver_that_is_not_known_are_drawn_too():
    chain = links("a", [("b", ["a"], "1", "active"), ("a", ["b"], "2", "active"), ("z", ["y"], "3", "active")])
    assert len(list(parsed(draw("a", chain, "t")).iter(f"{SVG}g"))) == 4


@given(
    st.text(alphabet="ab<>&\"'\x00\u202e/", max_size=80),
    st.lists(st.tuples(st.text("abc<", max_size=3), st.text("abc<", max_size=3)), max_size=20),
)
def test_whatever_the_names_are_it_is_well_formed(owner, pairs):
    chain = links(owner, [(taker, [giver] if giver else [], "g", "active") for taker, giver in pairs])
    drawing = parsed(draw(owner, chain, owner))
    assert not [
        each
        for each in drawing.iter()
        if each.tag.removeprefix(SVG) not in {"svg", "title", "defs", "marker", "path", "g", "rect", "text"}
    ]


def test_no_more_is_drawn_than_is_bounded():
    chain = links("a", [(f"w{n}", ["a"], str(n), "active") for n in range(5 * MAX_NODES)])
    assert len(list(parsed(draw("a", chain, "t")).iter(f"{SVG}g"))) == MAX_NODES

"""Patterns of paths: what they mean, and which lies within which."""

import pytest

from authz.resource_pattern import parse_path, path_segments


@pytest.mark.parametrize(
    ("pattern", "path", "means"),
    [
        ("/v1/a", "/v1/a", True),
        ("/v1/a", "/v1/a/", True),
        ("/v1/a", "/v1/ab", False),
        ("/v1/a", "/v1/a/b", False),
        ("/v1/a", "/v1", False),
        ("/v1/{id}", "/v1/a", True),
        ("/v1/{id}", "/v1/", False),
        ("/v1/{id}/x", "/v1//x", False),
        ("/v1/*", "/v1", True),
        ("/v1/*", "/v1/a/b/c", True),
        ("/v1/*", "/v10", False),
        ("/v1/{id}/*", "/v1", False),
        ("/v1/{id}/*", "/v1/a", True),
        ("/*", "/", True),
        ("/*", "/x/y", True),
        ("/", "/", True),
        ("/", "/x", False),
        ("tcp:5432", "tcp:5432", True),
        ("tcp:5432", "tcp:543", False),
        ("tcp:*", "tcp:1", True),
        ("/*", "tcp:1", False),
        ("tcp:*", "/1", False),
    ],
)
def test_what_a_path_pattern_means(pattern, path, means):
    assert parse_path(pattern).matches(path_segments(path)) is means


@pytest.mark.parametrize(
    ("inner", "outer", "lies"),
    [
        ("/v1/a", "/v1/a", True),
        ("/v1/a", "/v1/{x}", True),
        ("/v1/{x}", "/v1/a", False),
        ("/v1/{x}", "/v1/{y}", True),
        ("/v1/a", "/v1/*", True),
        ("/v1", "/v1/*", True),
        ("/v1/*", "/v1/*", True),
        ("/v1/*", "/v1", False),
        ("/v1/*", "/v1/{x}", False),
        ("/v1/a/*", "/v1/{x}/*", True),
        ("/v1/*", "/v1/{x}/*", False),
        ("/v1/{x}/b", "/v1/*", True),
        ("/v2/a", "/v1/*", False),
        ("/v1/a/b", "/v1/a", False),
        ("/v1/a/*", "/v1/a", False),
        ("/*", "/*", True),
        ("tcp:1", "tcp:*", True),
        ("tcp:1", "/*", False),
    ],
)
def test_which_path_pattern_lies_within_which(inner, outer, lies):
    assert parse_path(inner).within(parse_path(outer)) is lies

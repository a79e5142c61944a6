"""Our status codes are those of gRPC."""

import grpc
import pytest

from authz.transport.codes import Code


@pytest.mark.parametrize("code", Code, ids=lambda code: code.name)
def test_a_code_has_the_number_that_grpc_gives_its_name(code):
    number, _ = grpc.StatusCode[code.name].value
    assert code.value == number

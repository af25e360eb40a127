"""Errors on the HTTP half of the wire: what travels comes back, and nothing else is believed."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cove.exception import CODES, Error, NotFoundError, ServiceError, from_code
from cove.wire import http_errors


def test_an_error_comes_back_as_it_was() -> None:
    error = NotFoundError("There is no file.", remedy="Make one.", context={"path": "/x"})
    found = http_errors.decode(http_errors.status_of(error), http_errors.encode(error))
    assert (type(found), found.cause, found.remedy, found.context) == (NotFoundError, error.cause, error.remedy, {"path": "/x"})


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_a_status_of_an_error_and_comes_back(code: str) -> None:
    error = from_code(code, "Cause.")
    status = http_errors.status_of(error)
    assert 400 <= status <= 599 and http_errors.decode(status, http_errors.encode(error)).code == code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'"x"',
        b"\xff\xfe",
        b'{"code": "invalid_argument"}',
        json.dumps({"code": "internal", "cause": "c", "remedy": "", "retryable": False, "context": []}).encode(),
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_none_of_ours_leaves_the_bare_status(body: bytes) -> None:
    found = http_errors.decode(502, body)
    assert type(found) is ServiceError and "502" in found.cause


@given(st.integers(400, 599), st.binary(max_size=400))
def test_whatever_a_server_says_is_an_error_of_ours(status: int, body: bytes) -> None:
    assert isinstance(http_errors.decode(status, body), Error)

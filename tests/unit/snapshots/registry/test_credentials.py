"""Credentials keep their secret; signatures are AWS's."""

from __future__ import annotations

import datetime

import pytest
from yarl import URL

from cove.exception import InvalidError
from snapshots.registry.aws_signature import AwsKeys, sign
from snapshots.registry.credentials import Credentials, registry_credentials


def test_nothing_shows_a_password() -> None:
    credentials = Credentials("user", "secret")
    keys = AwsKeys("AKID", "secret", "secret-session")
    for shown in (repr(credentials), str(credentials), f"{credentials!r}", repr(keys), str(keys), str([keys])):
        assert "secret" not in shown


@pytest.mark.parametrize(("user", "password"), [("", "x"), ("a:b", "x"), ("a\r\n", "x"), ("a", "x\n"), ("a", "x" * 70_000)])
def test_what_cannot_be_credentials(user: str, password: str) -> None:
    with pytest.raises(InvalidError) as caught:
        Credentials(user, password)
    assert "xx" not in str(caught.value)


@pytest.mark.parametrize("env", [{}, {"REGISTRY_USERNAME": "a"}, {"REGISTRY_USERNAME": "", "REGISTRY_PASSWORD": "secret"}])
def test_missing_keys_are_named(env: dict[str, str]) -> None:
    with pytest.raises(InvalidError, match="lacks REGISTRY_") as caught:
        registry_credentials(env)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        # "get-vanilla" and "get-vanilla-query-order-key-case" of AWS's published test suite for Signature Version 4.
        ("https://example.amazonaws.com/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "https://example.amazonaws.com/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
    ],
)
def test_signatures_of_the_published_suite(url: str, signature: str) -> None:
    keys = AwsKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    now = datetime.datetime(2015, 8, 30, 12, 36, tzinfo=datetime.UTC)
    headers = sign("GET", URL(url), {}, b"", keys=keys, region="us-east-1", service="service", now=now)
    assert headers["X-Amz-Date"] == "20150830T123600Z"
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}"
    )

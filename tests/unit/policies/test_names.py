"""Which names and tags pass."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cove.exception import InvalidError
from cove.types import new_id
from policies.names import check_app_name, check_environment_name, check_idempotency_key, check_sandbox_name, check_tags, check_token_name

CHECKS: list[tuple[Callable[[str], str], int]] = [(check_sandbox_name, 63), (check_app_name, 64), (check_environment_name, 64)]


@pytest.mark.parametrize(("check", "longest"), CHECKS)
def test_names_are_short_plain_and_no_ids(check: Callable[[str], str], longest: int) -> None:
    for name in ("a", "A-b_c.9", "x" * longest, "sb-1", "..", "sb-" + "x" * 23):
        assert check(name) == name
    for name in ("", "x" * (longest + 1), "a b", "a/b", "ü", "a\n", "a\0", new_id("sb"), new_id("ap")):
        with pytest.raises(InvalidError):
            check(name)


def test_keys_take_what_new_id_gives_and_nothing_odd() -> None:
    assert check_idempotency_key(new_id("ik"))
    for key in ("", "x" * 129, "a b", "a\0"):
        with pytest.raises(InvalidError):
            check_idempotency_key(key)


def test_token_names_are_one_line_of_anything() -> None:
    assert check_token_name("Zoë's laptop") and check_token_name("") == ""
    for name in ("x" * 65, "a\nb", "a\x1b[31m"):
        with pytest.raises(InvalidError):
            check_token_name(name)


def test_tags_are_bounded() -> None:
    most = {f"k{number}": "v" * 1024 for number in range(64)}
    assert check_tags(most) == most
    assert check_tags({"ключ": "", "a b/c": "x=y"})
    for tags in ({**most, "one more": ""}, {"": "x"}, {"k" * 129: ""}, {"k": "v" * 1025}, {"k\0": ""}, {"k": "\r\n"}):
        with pytest.raises(InvalidError):
            check_tags(tags)

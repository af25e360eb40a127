"""Names that come from outside become paths and interface names: what may they be, and can two be mixed up?"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cove.exception import InvalidError
from sandboxd.naming import MAX_INTERFACE_NAME, check_instance, check_sandbox_id, interface_prefix, sandbox_ids

ID = "sb-" + "0aZ" * 7 + "9"

instances = st.one_of(st.just("cove"), st.from_regex(r"cove-[a-z0-9-]{1,16}", fullmatch=True))


@pytest.mark.parametrize("bad", ["", "Cove", "cove-", "cove_1", "cove-" + "a" * 17, "cove-a/b", "cove-a\n", "cove-ä", "../cove", "cov"])
def test_instances_that_are_refused(bad: str) -> None:
    with pytest.raises(InvalidError):
        check_instance(bad)


@pytest.mark.parametrize(
    "bad", ["", "sb-", ID[:-1], ID + "x", ID + "\n", "ta" + ID[2:], "../" + ID, ID[:-1] + "/", ID[:-1] + "é", ID[:-1] + "٣"]
)
def test_sandbox_ids_that_are_refused(bad: str) -> None:
    with pytest.raises(InvalidError):
        check_sandbox_id(bad)


@settings(deadline=None)  # a busy machine
@given(instances)
def test_the_largest_pool_fits_an_interface_name(instance: str) -> None:
    assert len(f"{interface_prefix(check_instance(instance))}16383") <= MAX_INTERFACE_NAME


@settings(deadline=None)  # a busy machine
@given(instances, instances)
def test_no_prefix_begins_another_instances_prefix(one: str, other: str) -> None:
    if one != other:
        assert not interface_prefix(one).startswith(interface_prefix(other))


def test_what_else_lies_in_a_directory_is_nobodys() -> None:
    assert sandbox_ids([ID, "lost+found", ".", ID + ".tmp", "sb-short"]) == {ID}

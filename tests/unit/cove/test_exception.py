"""The text of errors."""

from __future__ import annotations

from cove.exception import Error


def test_cause_and_remedy_are_one_line() -> None:
    assert str(Error("It broke.", remedy="Mend it.")) == "It broke. Mend it."


def test_the_remedy_stands_apart_from_what_a_program_said() -> None:
    assert str(Error("It said:\nout", remedy="Read it.")) == "It said:\nout\nRead it."
    assert str(Error("It said:\nout")) == "It said:\nout"

"""Links that open a terminal are secrets until they were opened."""

from __future__ import annotations

from cove.types import TerminalLink


def test_a_link_to_a_terminal_is_not_in_its_repr() -> None:
    link = TerminalLink(url="https://cove.example/terminal/te-1#tt-secret", expires_at=2.0)
    assert "secret" not in f"{link} {link!r}"

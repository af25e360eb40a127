"""Variables, quotes and escapes as Docker has them."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from cove.dockerfile.expand import MAX_EXPANDED_CHARACTERS, MAX_NESTING, expand, expand_heredoc, expand_words, used_variables
from cove.exception import Error, InvalidError, UnimplementedError

VARIABLES = {"A": "one", "B": "two words", "EMPTY": "", "É": "x", "QUOTE": 'it\'s "$A" \\'}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$A", "one"),
        ("${A}", "one"),
        ("$A$A-${A}b", "oneone-oneb"),
        ("$AB", ""),
        ("${A}B", "oneB"),
        ("$A_", ""),
        ("$A.x", "one.x"),
        ("$É", "x"),
        ("$NO", ""),
        ("${NO}", ""),
        ("${NO:-x}", "x"),
        ("${NO-x}", "x"),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY-x}", ""),
        ("${A:-x}", "one"),
        ("${A:+x}", "x"),
        ("${NO:+x}", ""),
        ("${EMPTY:+x}", ""),
        ("${EMPTY+x}", "x"),
        ("${A?}", "one"),
        ("${EMPTY?no}", ""),
        ("${NO:-$A}", "one"),
        ("${NO:-${ALSO:-${A}}}", "one"),
        ("${NO:-a b}", "a b"),
        ("${NO:-'a}b'}", "a}b"),
        ('${NO:-"a}b"}', "a}b"),
        ("${NO:-a\\}b}", "a}b"),
        ("${NO:-}", ""),
        ("a}b", "a}b"),
        ("$", "$"),
        ("$ A", "$ A"),
        ("a$", "a$"),
        ("$(x)", "$(x)"),
        ("$1x", "x"),
        ("\\$A", "$A"),
        ("\\\\$A", "\\one"),
        ("\\a", "a"),
        ("a\\", "a"),
        ("'$A'", "$A"),
        ("'a\\'", "a\\"),
        ('"$A b"', "one b"),
        ('"\\$A"', "$A"),
        ('"\\"\\\\\\n"', '"\\\\n'),
        ("\"'$A'\"", "'one'"),
        ("a\"b\"'c'd", "abcd"),
        ("''\"\"", ""),
        ("$QUOTE", 'it\'s "$A" \\'),
        ("żółw 亀", "żółw 亀"),
    ],
)
def test_expansion(text: str, expected: str) -> None:
    assert expand(text, VARIABLES) == expected


@pytest.mark.parametrize(("text", "expected"), [("`$A", "$A"), ("\\$A", "\\one"), ('"`""', '"'), ("c:\\x", "c:\\x"), ("a`", "a")])
def test_the_escape_character_can_be_a_backtick(text: str, expected: str) -> None:
    assert expand(text, VARIABLES, escape="`") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", ("a", "b")),
        ("  a \t b  ", ("a", "b")),
        ("$B", ("two", "words")),
        ('"$B"', ("two words",)),
        ("'a b' c\\ d", ("a b", "c d")),
        ("x$B", ("xtwo", "words")),
        ("$EMPTY a '' b", ("a", "b")),
        ("", ()),
    ],
)
def test_words(text: str, expected: tuple[str, ...]) -> None:
    assert expand_words(text, VARIABLES) == expected


def test_heredocs_keep_their_quotes() -> None:
    assert expand_heredoc("say \"$A\" '$A' \\$A\n", VARIABLES) == "say \"one\" 'one' $A\n"


@pytest.mark.parametrize("text", ["${", "${A", "${A:-", "${A:-x", "${}", "${:-x}", "${-", "'a", '"a', '"${A"', "${A:-'}", "a'b"])
def test_bad_syntax(text: str) -> None:
    with pytest.raises(InvalidError) as caught:
        expand(text, VARIABLES)
    assert caught.value.remedy


@pytest.mark.parametrize(("text", "said"), [("${NO?}", "it must be"), ("${NO:?say so}", "say so"), ("${EMPTY:?x}", "EMPTY")])
def test_required_variables(text: str, said: str) -> None:
    with pytest.raises(InvalidError, match=said):
        expand(text, VARIABLES)


@pytest.mark.parametrize("text", ["${A%x}", "${A##x}", "${A/x/y}", "${A:1}", "${A^}", "${A!}"])
def test_pattern_modifiers_are_not_supported(text: str) -> None:
    with pytest.raises(UnimplementedError) as caught:
        expand(text, VARIABLES)
    assert "RUN" in caught.value.remedy


def test_used_variables() -> None:
    assert used_variables("$A '$B' \\$C ${D:-$E} \"${F?}\"") == {"A", "D", "E", "F"}


def test_values_cannot_grow_without_bound() -> None:
    value = "x"
    with pytest.raises(InvalidError, match="grow"):
        for _ in range(40):
            value = expand("$A$A", {"A": value})
    assert len(value) <= 2 * MAX_EXPANDED_CHARACTERS


def test_nesting_is_bounded() -> None:
    assert expand("${A:-" * MAX_NESTING + "x" + "}" * MAX_NESTING, {}) == "x"
    with pytest.raises(InvalidError, match="nest"):
        expand("${A:-" * 100_000, {})


@pytest.mark.parametrize("piece", ["$", "\\", "'", '"', "}", "{", "${A}", "${", "$A", "''", '"$A"', "é", " ", "${A:-", '"${A:-'])
def test_time_is_linear(piece: str) -> None:
    started = time.process_time()
    with suppress(Error):
        expand_words(piece * (200_000 // len(piece)), {"A": ""})
    assert time.process_time() - started < 5

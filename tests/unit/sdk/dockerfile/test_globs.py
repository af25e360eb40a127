"""Patterns over paths: Go's rules, ``**``, and that the two ways to match agree and are linear."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cove.dockerfile.globs import MAX_PATTERN_CHARACTERS, IllegalPatternError, _States, compile_glob
from cove.exception import InvalidError


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "a", True),
        ("a*", "ab/c", False),
        ("a*/b", "abc/b", True),
        ("a*/b", "a/c/b", False),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", True),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", False),
        ("a*b?c*x", "abxbbxdbxebxczzx", True),
        ("a*b?c*x", "abxbbxdbxebxczzy", False),
        ("ab[c]", "abc", True),
        ("ab[b-d]", "abc", True),
        ("ab[e-g]", "abc", False),
        ("ab[^c]", "abc", False),
        ("ab[^b-d]", "abc", False),
        ("ab[^e-g]", "abc", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "ab", False),
        ("a?b", "a☺b", True),
        ("a[^a]b", "a☺b", True),
        ("a???b", "a☺b", False),
        ("[a-ζ]*", "α", True),
        ("*[a-ζ]", "A", False),
        ("a?b", "a/b", False),
        ("a*b", "a/b", False),
        ("a[^x]b", "a/b", False),
        ("[\\]a]", "]", True),
        ("[\\-x]", "-", True),
        ("[x\\-]", "z", False),
        ("[z-a]", "m", False),
        ("[^z-a]", "m", True),
        ("a.b", "axb", False),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", True),
        ("**", "a/b", False),
        ("a**", "ab", True),
        ("]", "]", True),
        ("a\nb?", "a\nbc", True),
        ("*", "a\nb", True),
    ],
)
def test_as_go_matches(pattern: str, path: str, expected: bool) -> None:
    assert compile_glob(pattern).matches(path) is expected


@pytest.mark.parametrize("pattern", ["[]a]", "[-]", "[x-]", "[-x]", "[", "[^", "[^bc", "a[", "[a-b-c]", "a\\", "[\\", "[a", "[a-", "[^]"])
def test_malformed_patterns(pattern: str) -> None:
    with pytest.raises(IllegalPatternError) as caught:
        compile_glob(pattern)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, InvalidError)
    assert caught.value.remedy


def test_long_patterns_are_refused() -> None:
    with pytest.raises(IllegalPatternError):
        compile_glob("a" * (MAX_PATTERN_CHARACTERS + 1))


def plainly(pattern: str, path: str) -> bool:
    """The same by trying everything. Patterns of literals, stars, question marks and the two sets below."""
    if not pattern:
        return not path
    if pattern.startswith("**"):
        rest = pattern[2:].removeprefix("/")
        starts = [0, *(index + 1 for index, character in enumerate(path) if character == "/")]
        return not rest or any(plainly(rest, path[start:]) for start in starts)
    if pattern[0] == "*":
        name = len(re.split("/", path)[0])
        return any(plainly(pattern[1:], path[length:]) for length in range(name + 1))
    piece = next((piece for piece in ("[ab]", "[^a]", "?") if pattern.startswith(piece)), pattern[0])
    allowed = {"[ab]": "ab", "[^a]": "bc.", "?": "abc."}.get(piece, piece)
    return path[:1] != "" and path[0] in allowed and plainly(pattern[len(piece) :], path[1:])


PATTERNS = st.lists(st.sampled_from(["a", "b", ".", "/", "*", "**", "**/", "/**/", "?", "[ab]", "[^a]"]), max_size=8).map("".join)
PATHS = st.lists(st.text("abc.", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@settings(max_examples=300, deadline=None)
@given(PATTERNS, PATHS)
def test_against_a_plain_matcher(pattern: str, path: str) -> None:
    literal_suffix = re.fullmatch(r"\*\*[ab.][ab./]*", pattern)
    expected = path.endswith(pattern[2:]) if literal_suffix else plainly(pattern, path)
    glob = compile_glob(pattern, deep=True)
    assert glob.matches(path) is expected
    assert _States(glob.tokens).matches(path) is expected
    parents = [path[:index] for index, character in enumerate(path) if character == "/"]
    assert glob.matches_with_parents(path) is any(glob.matches(candidate) for candidate in (path, *parents))
    assert _States(glob.tokens).matches(path, or_parent=True) is glob.matches_with_parents(path)


@settings(max_examples=300, deadline=None)
@given(st.text("ab*?[]^-\\/!", max_size=12), st.text("ab/^-]", max_size=8), st.booleans())
def test_anything_is_matched_or_refused(pattern: str, path: str, deep: bool) -> None:
    try:
        glob = compile_glob(pattern, deep=deep)
    except IllegalPatternError:
        return
    assert glob.matches(path) is _States(glob.tokens).matches(path)


@pytest.mark.parametrize(
    "pattern", ["*a" * 100 + "b", "**/a/" * 50 + "b", "*" * 4000 + "b", "*a*a*b", "**/a**/a**/b", "[^b]*" * 200, "**/**/**"]
)
@pytest.mark.parametrize("path", ["a" * 4000, "a/" * 2000])
def test_no_pattern_takes_long(pattern: str, path: str) -> None:
    started = time.process_time()
    compile_glob(pattern, deep=True).matches(path)
    compile_glob(pattern).matches(path)
    assert time.process_time() - started < 2

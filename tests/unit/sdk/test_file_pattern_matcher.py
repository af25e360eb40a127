"""FilePatternMatcher: Docker's table of ``.dockerignore``, what the documentation of the matcher says, and a plain model."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cove
from cove.dockerfile.ignore import IgnorePatterns, read_patterns
from cove.exception import InvalidError, RequestSizeError
from cove.file_pattern_matcher import MAX_FILE_BYTES, NON_PYTHON_FILES, AbstractPatternMatcher, FilePatternMatcher


@pytest.mark.parametrize(
    ("patterns", "path", "expected"),
    [
        # The table of Docker's documentation.
        (["*/temp*"], "somedir/temporary.txt", True),
        (["*/temp*"], "somedir/temp", True),
        (["*/temp*"], "temporary.txt", False),
        (["*/temp*"], "somedir/subdir/temporary.txt", False),
        (["*/*/temp*"], "somedir/subdir/temporary.txt", True),
        (["temp?"], "tempa", True),
        (["temp?"], "tempb/file", True),
        (["temp?"], "temp", False),
        (["temp?"], "dir/tempa", False),
        (["**/*.go"], "a.go", True),
        (["**/*.go"], "x/y/a.go", True),
        (["**/*.go"], "a.gox", False),
        (["*.md", "!README.md"], "README.md", False),
        (["*.md", "!README.md"], "OTHER.md", True),
        (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
        (["*.md", "!README*.md", "README-secret.md"], "README-public.md", False),
        (["*.md", "README-secret.md", "!README*.md"], "README-secret.md", False),
        (["/foo/bar"], "foo/bar", True),
        (["foo/bar"], "foo/bar", True),
        # Directories.
        (["dir"], "dir", True),
        (["dir"], "dir/a/b", True),
        (["dir/"], "dir/a", True),
        (["/dir/"], "dir/a", True),
        (["dir"], "dirt", False),
        (["dir"], "a/dir", False),
        (["dir/*"], "dir", False),
        (["dir/*"], "dir/a", True),
        (["dir/**"], "dir", False),
        (["dir/**"], "dir/a/b", True),
        (["dir", "!dir/keep"], "dir/keep/file", False),
        (["dir", "!dir/keep"], "dir/lose", True),
        (["*", "!src"], "src/a.py", False),
        (["*", "!src"], "a.py", True),
        (["*", "!src", "src/*.pyc"], "src/a.pyc", True),
        (["!a"], "a", False),
        # Every place that ** can have.
        (["**"], "a/b", True),
        (["**/"], "a", True),
        (["**/dir2/*"], "dir/dir2/file", True),
        (["**/dir2/**"], "dir/dir2/dir2/file", True),
        (["**file"], "dir/profile", True),
        (["**/file"], "dir/profile", False),
        (["a**/*.txt"], "a/dir/file.txt", True),
        (["a/*.txt"], "a/dir/file.txt", False),
        (["a/**/b"], "a/b", True),
        (["a/**/b"], "a/x/y/b", True),
        (["a/**/b"], "ab", False),
        (["abc**"], "abcd/e", True),
        (["**/.foo"], "test.foo", False),
        (["**/.foo"], "bar/.foo", True),
        # Sets, escapes, characters that are special elsewhere.
        (["[a-c]x"], "bx", True),
        (["[^a-c]x"], "bx", False),
        (["\\*x"], "*x", True),
        (["\\!x"], "!x", True),
        (["#x"], "#x", True),
        (["a(b)+.c"], "a(b)+.c", True),
        # What is written around patterns.
        (["  a  "], "a", True),
        (["! a", "a"], "a", True),
        (["a", "! a"], "a", False),
        (["./a"], "a", True),
        (["a/./b/../c"], "a/c", True),
        (["a//b"], "a/b", True),
        (["", "  "], "a", False),
        (["."], "a", False),
        (["/"], "a", False),
        (["../a"], "a", False),
        (["a"], "./a", True),
        (["**"], ".", False),
        ([], "a", False),
    ],
)
def test_semantics(patterns: list[str], path: str, expected: bool) -> None:
    assert FilePatternMatcher(*patterns)(Path(path)) is expected


def test_it_is_public() -> None:
    assert cove.FilePatternMatcher is FilePatternMatcher


def test_inversion() -> None:
    matcher = FilePatternMatcher("*.py")
    assert matcher(Path("foo.py"))
    assert not (~matcher)(Path("foo.py"))
    assert (~matcher)(Path("foo.txt"))
    assert (~~matcher)(Path("foo.py"))
    assert isinstance(~matcher, AbstractPatternMatcher)


@pytest.mark.parametrize("pattern", ["!", " ! ", "[", "a[", "!a[", "x\\"])
def test_illegal_patterns_are_value_errors_and_ours(pattern: str) -> None:
    with pytest.raises(ValueError, match="pattern") as caught:
        FilePatternMatcher("ok", pattern)
    assert isinstance(caught.value, InvalidError)


def test_pruning() -> None:
    assert FilePatternMatcher("a", "**/b").can_prune_directories()
    assert not FilePatternMatcher("a", "!a/b").can_prune_directories()
    assert not (~FilePatternMatcher("a")).can_prune_directories()
    assert (~~FilePatternMatcher("a")).can_prune_directories()
    assert FilePatternMatcher().can_prune_directories()


def test_non_python_files() -> None:
    assert not NON_PYTHON_FILES(Path("a/b.py"))
    assert NON_PYTHON_FILES(Path("a/b.txt"))
    assert not NON_PYTHON_FILES.can_prune_directories()


def test_from_file(tmp_path: Path) -> None:
    path = tmp_path / "ignore"
    path.write_bytes(b"\xef\xbb\xbf# a comment\n\n*.log\r\n !keep.log \n\\#x\n #not a comment\n")
    matcher = FilePatternMatcher.from_file(path)
    assert matcher(Path("a.log"))
    assert not matcher(Path("keep.log"))
    assert matcher(Path("#x"))
    assert matcher(Path("#not a comment"))
    assert not matcher(Path("# a comment"))
    assert not matcher.can_prune_directories()


def test_the_file_is_read_once_and_only_when_needed(tmp_path: Path) -> None:
    path = tmp_path / "ignore"
    matcher = FilePatternMatcher.from_file(str(path))
    inverted = ~matcher
    path.write_text("a")
    assert not inverted(Path("a"))
    path.unlink()
    assert matcher(Path("a"))


def test_what_is_wrong_with_the_file_shows_at_first_use(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FilePatternMatcher.from_file(tmp_path / "missing").can_prune_directories()
    path = tmp_path / "ignore"
    for content, error in ((b"!", ValueError), (b"\xff", InvalidError), (b"a" * (MAX_FILE_BYTES + 1), RequestSizeError)):
        path.write_bytes(content)
        with pytest.raises(error):
            FilePatternMatcher.from_file(path)(Path("a"))


def test_too_many_patterns() -> None:
    with pytest.raises(RequestSizeError):
        FilePatternMatcher(*map(str, range(20_000)))


def test_repr_shows_the_patterns() -> None:
    assert repr(~FilePatternMatcher("a", "b")) == "~FilePatternMatcher('a', 'b')"
    assert repr(FilePatternMatcher.from_file("x")) == "FilePatternMatcher(file 'x')"


NAMES = st.sampled_from(["a", "b", "ab"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
PATTERNS = st.tuples(
    st.sampled_from(["", "!"]), st.lists(st.one_of(NAMES, st.sampled_from(["*", "a*", "**"])), min_size=1, max_size=3)
).map(lambda found: found[0] + "/".join(found[1]))


def by_components(pattern: list[str], path: list[str]) -> bool:
    """Whether a pattern of whole components matches a path, or a directory above it."""
    if not pattern:
        return True  # all of it, or a directory above it
    if pattern[0] == "**":
        rest = pattern[1:]
        return bool(path) if not rest else any(by_components(rest, path[start:]) for start in range(len(path)))
    if not path:
        return False
    fits = pattern[0] in ("*", path[0]) or (pattern[0] == "a*" and path[0].startswith("a"))
    return fits and by_components(pattern[1:], path[1:])


@settings(max_examples=300, deadline=None)
@given(st.lists(PATTERNS, max_size=5), PATHS)
def test_against_a_model(patterns: list[str], path: str) -> None:
    expected = False
    for pattern in patterns:
        if by_components(pattern.lstrip("!").split("/"), path.split("/")):
            expected = not pattern.startswith("!")
    assert FilePatternMatcher(*patterns)(Path(path)) is expected


@settings(max_examples=200, deadline=None)
@given(st.lists(PATTERNS.filter(lambda pattern: not pattern.startswith("!")), max_size=5), PATHS)
def test_what_may_be_pruned_has_nothing_left_below(patterns: list[str], path: str) -> None:
    matcher = FilePatternMatcher(*patterns)
    assert matcher.can_prune_directories()
    if matcher(Path(path)):
        assert matcher(Path(path) / "anything" / "below")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60), st.text(max_size=20))
def test_any_file_is_read_or_refused(text: str, path: str) -> None:
    try:
        patterns = IgnorePatterns(read_patterns(text))
    except ValueError:
        return
    assert patterns.ignores(path) in (True, False)

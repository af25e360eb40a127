"""The page's files: what was vendored is what was fetched, and nothing comes from elsewhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from router.terminal.page import asset, page

STATIC = Path(__file__).parents[4] / "router/terminal/static"


def test_vendored_files_are_what_their_packages_had() -> None:
    listed = [line.split() for line in (STATIC / "vendor/SHA256SUMS").read_text().splitlines()]
    assert {hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest(): name for _, name in listed} == dict(listed)
    assert {path.name for path in (STATIC / "vendor").iterdir()} == {name for _, name in listed} | {"SHA256SUMS", "README.md"}


def test_each_page_has_its_nonce_and_no_script_of_its_own() -> None:
    first, second = page(), page()
    nonces = [re.findall(r"'nonce-([\w-]{20,})'", one.headers["Content-Security-Policy"]) for one in (first, second)]
    assert nonces[0] != nonces[1] and len(nonces[0]) == 1
    html = first.text or ""
    assert f'nonce="{nonces[0][0]}"' in html
    assert re.findall(r"<script[^>]*>(.*?)</script>", html) == [""]
    assert not re.search(r"\son\w+=|<style|javascript:", html)
    policy = first.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy and "frame-ancestors 'none'" in policy and "default-src 'none'" in policy


@pytest.mark.parametrize("name", ["terminal.html", "terminal.js", "link.js", "questions.js", "terminal.css"])
def test_own_files_load_nothing_from_elsewhere(name: str) -> None:
    text = (STATIC / name).read_text()
    assert not re.search(r"(https?:)?//[a-z]", re.sub(r"^\s*//.*$|// .*$", "", text, flags=re.M))
    assert "innerHTML" not in text and "eval(" not in text


def test_what_the_page_names_is_served() -> None:
    html = page().text or ""
    scripts = "".join((STATIC / name).read_text() for name in ("terminal.js", "link.js", "questions.js"))
    for name in [*re.findall(r'"assets/([^"]+)"', html), *re.findall(r'from "\./([^"]+)"', scripts)]:
        assert asset(name).headers["X-Content-Type-Options"] == "nosniff"

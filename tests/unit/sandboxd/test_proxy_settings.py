"""Proxies in a node's settings, which have credentials; nameservers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cove.exception import InvalidError
from sandboxd.egress.dns.upstream import Server
from sandboxd.settings import load


def load_file(tmp_path: Path, text: str) -> str:
    file = tmp_path / "node.toml"
    file.write_text(text)
    return repr(load(environ={"COVE_NODE_CONFIG": str(file)}).proxies)


def test_a_table_for_each_and_no_credentials_in_any_text(tmp_path: Path) -> None:
    shown = load_file(tmp_path, '[proxies.exit]\nurl = "socks5://me:secret@exit.example"\n[proxies.b]\nurl = "http://h:1"\n')
    assert "socks5://exit.example:1080" in shown and "http://h:1" in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    "text",
    [
        '[proxies.exit]\nurl = "https://me:secret@h"',
        '[proxies.exit]\nurl = "socks5://me:secret@h:0"',
        '[proxies."a b"]\nurl = "socks5://me:secret@h"',
        '[proxies.exit]\nurl = "socks5://h"\npassword = "secret"',
        "[proxies.exit]",
        'proxies = "socks5://me:secret@h"',
    ],
)
def test_errors_name_the_setting_and_no_credentials(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidError, match="proxies") as caught:
        load_file(tmp_path, text)
    assert "secret" not in str(caught.value)


def test_nameservers_of_the_operator(tmp_path: Path) -> None:
    settings = load(environ={"COVE_NODE_NAMESERVERS": "192.0.2.1,127.0.0.1:5353"})
    assert list(settings.nameserver_source()) == [Server("192.0.2.1", 53), Server("127.0.0.1", 5353)]


@pytest.mark.parametrize("server", ["localhost", "1.2.3", "1.2.3.4:0", "1.2.3.4:70000", "1.2.3.456", "::1"])
def test_what_is_no_nameserver(server: str) -> None:
    with pytest.raises(InvalidError):
        load({"nameservers": [server]}, environ={})

"""Where requests go: mirrors, schemes, what may be followed, and which addresses names may have."""

from __future__ import annotations

import msgspec
import pytest
from yarl import URL

from cove.exception import InvalidError, PermissionDeniedError, ServiceError
from snapshots.registry.endpoints import endpoints, follow, origin, same_origin
from snapshots.registry.network import GuardedResolver, Network, check_elsewhere
from snapshots.registry.settings import RegistrySettings
from tests.integration.registry.faults import FixedResolver

PLAIN = RegistrySettings()


@pytest.mark.parametrize(
    ("registry", "base", "credentials"),
    [
        ("docker.io", "https://registry-1.docker.io", True),
        ("ghcr.io", "https://ghcr.io", True),
        ("ghcr.io:8443", "https://ghcr.io:8443", True),
        ("localhost:5000", "http://localhost:5000", True),
        ("localhost:443", "https://localhost:443", True),
        ("127.0.0.1:5000", "http://127.0.0.1:5000", True),
        ("[::1]:5000", "http://[::1]:5000", True),
        ("listed.example:5000", "http://listed.example:5000", False),
        ("listed.example", "https://listed.example", True),
    ],
)
def test_schemes(registry: str, base: str, credentials: bool) -> None:
    endpoint = origin(registry, RegistrySettings(insecure_registries=["listed.example:5000"]))
    assert (endpoint.base, endpoint.may_have_credentials, endpoint.is_mirror) == (URL(base), credentials, False)


def test_mirrors_come_first_and_have_no_credentials() -> None:
    settings = RegistrySettings(registry_mirrors={"docker.io": ["https://one.example/pre/", "http://two.example:81"]})
    found = endpoints("docker.io", settings)
    assert [str(endpoint.url("a/b/blobs/sha256:x")) for endpoint in found] == [
        "https://one.example/pre/v2/a/b/blobs/sha256:x",
        "http://two.example:81/v2/a/b/blobs/sha256:x",
        "https://registry-1.docker.io/v2/a/b/blobs/sha256:x",
    ]
    assert [endpoint.may_have_credentials for endpoint in found] == [False, False, True]
    assert len(endpoints("ghcr.io", settings)) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"registry_mirrors": {"docker.io": ["mirror.example"]}},
        {"registry_mirrors": {"docker.io": ["ftp://mirror.example"]}},
        {"registry_mirrors": {"docker.io": ["https://user:hidden@mirror.example"]}},
        {"registry_mirrors": {"docker.io": ["https://mirror.example/?a=hidden"]}},
        {"registry_mirrors": {"docker.io": ["https://"]}},
        {"registry_mirrors": {"docker.io": ["https://[::1"]}},
        {"registry_mirrors": {"Docker.io": []}},
        {"registry_mirrors": {"index.docker.io": []}},
        {"insecure_registries": ["http://a.example"]},
        {"insecure_registries": ["a.example/b"]},
        {"attempts": 0},
        {"first_delay_s": -1.0},
        {"unknown": 1},
    ],
)
def test_settings_that_cannot_be_meant(settings: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(settings, RegistrySettings)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    ("current", "location", "target"),
    [
        ("https://a.example/v2/x", "/y?sig=a%2Fb+c", "https://a.example/y?sig=a%2Fb+c"),
        ("https://a.example/v2/x", "y", "https://a.example/v2/y"),
        ("https://a.example/v2/x", "//b.example/y", "https://b.example/y"),
        ("https://a.example/v2/x", "https://b.example/y#fragment", "https://b.example/y"),
        ("http://127.0.0.1:1/", "https://b.example/", "https://b.example/"),
        ("http://127.0.0.1:1/", "http://127.0.0.1:2/", "http://127.0.0.1:2/"),
    ],
)
def test_followed(current: str, location: str, target: str) -> None:
    assert str(follow(URL(current), location, "redirect")) == target


@pytest.mark.parametrize(
    "location",
    [
        "",
        "http://a.example/",
        "https://127.0.0.1/",
        "https://localhost:7700/x",
        "https://[::1]:1/",
        "file:///etc/passwd",
        "https://u@b/",
        "x" * 20_000,
    ],
)
def test_not_followed(location: str) -> None:
    with pytest.raises(ServiceError) as caught:
        follow(URL("https://a.example/v2/"), location, "redirect")
    assert not caught.value.retryable


@pytest.mark.parametrize("other", ["http://a.example", "https://a.example:8443", "https://b.example", "https://a.example.b.example"])
def test_another_origin(other: str) -> None:
    assert same_origin(URL("https://a.example/x?y"), URL("https://A.example:443/z"))
    assert not same_origin(URL("https://a.example/x"), URL(other))


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "::1", "169.254.169.254", "fe80::1%eth0", "0.0.0.0", "::", "::ffff:127.0.0.1"]
)
async def test_a_name_must_not_lead_here(address: str) -> None:
    with pytest.raises(OSError, match="this machine or its link"):
        await GuardedResolver([], FixedResolver(address)).resolve("evil.example")
    guarded = GuardedResolver(["named.example"], FixedResolver(address, "192.0.2.1"))
    assert [result["host"] for result in await guarded.resolve("evil.example")] == ["192.0.2.1"]
    assert len(await guarded.resolve("named.example")) == len(await guarded.resolve("localhost")) == 2


async def test_proxies_are_the_environment_s(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    async with Network(PLAIN) as network:
        assert network.proxy(URL("https://ghcr.io/x")) == URL("http://proxy.example:3128")
        assert network.proxy(URL("http://ghcr.io/x")) is None
        assert network.proxy(URL("https://inside.example/x")) is None
        assert network.proxy(URL("https://127.0.0.1:1/x")) is None


@pytest.mark.parametrize("proxy", ["socks5://user:hidden@proxy.example:1", "http://", "http://[::1", "http://user:hidden@host:99999"])
async def test_a_proxy_that_cannot_be_used_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(InvalidError, match="https_proxy") as caught:
        Network(PLAIN)
    assert "hidden" not in str(caught.value)


async def test_a_proxy_may_lack_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    async with Network(PLAIN) as network:
        assert network.proxy(URL("https://elsewhere.example/x")) == URL("http://proxy.example:3128")


@pytest.mark.parametrize(
    "registry",
    ["localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::ffff:127.0.0.1]:1", "0.0.0.0:1", "169.254.169.254", "[fe80::1]:1"],
)
def test_this_machine_is_no_registry_unless_the_operator_says_so(registry: str) -> None:
    with pytest.raises(PermissionDeniedError, match="loopback_registries"):
        check_elsewhere(registry, RegistrySettings(), loopback=False)


def test_registries_elsewhere_and_those_that_are_listed_pass() -> None:
    for registry in ("docker.io", "registry.example:5000", "10.0.0.1:5000", "192.0.2.7", "[2001:db8::1]:443"):
        check_elsewhere(registry, RegistrySettings(), loopback=False)
    check_elsewhere("127.0.0.1:5000", RegistrySettings(insecure_registries=["127.0.0.1:5000"]), loopback=False)
    check_elsewhere("127.0.0.1:5000", RegistrySettings(), loopback=True)
    with pytest.raises(PermissionDeniedError):
        check_elsewhere("169.254.169.254", RegistrySettings(), loopback=True)

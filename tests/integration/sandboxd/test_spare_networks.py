"""Networks that are laid ahead: like any other once they are claimed, nobody's way anywhere before, and nothing left of them."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from cove.exception import ResourceExhaustedError
from sandboxd import kernel
from sandboxd.network import NetworkManager, NetworkOptions, netns
from sandboxd.network.netlink import Link, Netlink, delete_link, set_alias
from sandboxd.network.packet_filter import PacketFilter
from tests.support.node_world import (
    LISTED,
    OPEN,
    UNLISTED,
    World,
    attach,
    connect,
    fresh_id,
    listed,
    listening,
    managed,
    node_world,
)

pytestmark = pytest.mark.needs_root

PORT = 8000
SPARES = 3


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with node_world(tmp_path) as made:
        yield made


@pytest.fixture
def manager(world: World) -> Iterator[NetworkManager]:
    with managed(world) as opened:
        opened.lay_spares(SPARES)
        yield opened
    assert links() == []
    assert left_in(world) == []


def links() -> list[Link]:
    with Netlink() as netlink:
        return [link for link in netlink.links() if link.name.startswith("cove_")]


def left_in(world: World) -> list[str]:
    return [name for directory in ("spares", "netns") for name in netns.names(world.run_dir / directory)]


def test_a_claimed_network_is_like_one_that_was_made(world: World, manager: NetworkManager) -> None:
    names = {link.name for link in links()}
    _, claimed = attach(manager, listed(f"{LISTED}/32"))
    assert {link.name for link in links()} == names
    for _ in range(SPARES - 1):
        attach(manager)
    _, made = attach(manager, listed(f"{LISTED}/32"))
    assert len(links()) == SPARES + 1
    for network in (claimed, made):
        with listening(world.outside, LISTED, PORT), listening(world.outside, UNLISTED, PORT):
            assert connect(network.netns_path, LISTED, PORT) == 0
            assert connect(network.netns_path, UNLISTED, PORT) == errno.ECONNREFUSED
        assert Path(network.netns_path).parent == world.run_dir / "netns"
    assert (claimed.interface, claimed.prefix) == (made.interface, made.prefix)


def test_a_spare_leads_nowhere(world: World, manager: NetworkManager) -> None:
    inside = next(iter((world.run_dir / "spares").iterdir()))
    with listening(world.outside, LISTED, PORT):
        for _ in range(10):  # where the machine is busy, no packet may have left before a connect gives up
            assert connect(inside, LISTED, PORT, timeout_s=0.3) == errno.ETIMEDOUT
            if manager.denied()["spoofed"]:
                break
    assert manager.denied()["spoofed"] >= 1
    assert manager.list_() == frozenset()
    assert manager.sandbox_at(IPv4Address("10.215.0.2")) is None


def test_a_restart_goes_on_with_what_is_there(world: World, manager: NetworkManager) -> None:
    before = {link.name for link in links()}
    again = world.manager()
    again.lay_spares(SPARES)
    assert {link.name for link in links()} == before
    sandbox_id, network = attach(again)
    with listening(world.outside, LISTED, PORT):
        assert connect(network.netns_path, LISTED, PORT) == 0
    again.detach(sandbox_id)
    again.close()
    manager._spares.sweep([])


@pytest.mark.parametrize("damage", ["link", "namespace", "alias", "unknown namespace", "half-made"])
def test_halves_of_spares_go_at_the_next_start(world: World, damage: str) -> None:
    first = world.manager()
    first.lay_spares(2)
    victim = links()[0]
    spare = world.run_dir / "spares" / victim.name.removeprefix("cove_")
    match damage:
        case "link":
            with Netlink() as netlink:
                netlink.request(delete_link(victim.name))
        case "namespace":
            kernel.umount(spare, kernel.UmountFlag.DETACH)
        case "alias":
            with Netlink() as netlink:
                netlink.request(set_alias(victim.name, "somebody"))
        case "unknown namespace":
            with netns.created(world.run_dir / "spares" / "fresh-7"):
                pass
        case "half-made":
            (world.run_dir / "spares" / "fresh-8").touch()
    with managed(world) as again:
        again.lay_spares(2)
        assert len(links()) == 2
        assert len(list((world.run_dir / "spares").iterdir())) == 2
        for _ in range(2):
            _, network = attach(again)
            with listening(world.outside, LISTED, PORT):
                assert connect(network.netns_path, LISTED, PORT) == 0
    assert (links(), left_in(world)) == ([], [])


@pytest.mark.parametrize("damage", ["link", "namespace"])
def test_a_spare_that_somebody_damaged_is_not_handed_out(world: World, manager: NetworkManager, damage: str) -> None:
    for spare in links():
        if damage == "link":
            with Netlink() as netlink:
                netlink.request(delete_link(spare.name))
        else:
            kernel.umount(world.run_dir / "spares" / spare.name.removeprefix("cove_"), kernel.UmountFlag.DETACH)
    _, network = attach(manager)
    with listening(world.outside, LISTED, PORT):
        assert connect(network.netns_path, LISTED, PORT) == 0


def test_a_claim_that_fails_leaves_nothing(world: World, manager: NetworkManager, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no memory"):
        patch.setattr(PacketFilter, "admit", refuse)
        manager.attach(fresh_id(), OPEN)
    assert manager.list_() == frozenset()
    assert len(links()) == SPARES - 1
    attach(manager)


def test_who_fills_up_is_told_of_claims(manager: NetworkManager) -> None:
    told: list[int] = []
    manager.when_claimed(lambda: told.append(1))
    for _ in range(SPARES + 1):
        attach(manager)
    assert len(told) == SPARES


def test_spares_do_not_keep_sandboxes_from_the_last_addresses(world: World) -> None:
    with managed(world, NetworkOptions(pool="10.215.0.0/28")) as manager:  # three links
        manager.lay_spares(3)
        for _ in range(3):
            attach(manager)
        with pytest.raises(ResourceExhaustedError):
            manager.attach(fresh_id(), OPEN)
        with pytest.raises(ResourceExhaustedError):
            manager.lay_spares(1)


def test_claims_while_others_are_laid(manager: NetworkManager, world: World) -> None:
    ids = [fresh_id() for _ in range(20)]
    failed: list[BaseException] = []
    host = Path(f"/proc/self/task/{threading.get_native_id()}/ns/net")

    def fill() -> None:
        try:
            with kernel.in_netns(host):
                for _ in range(10):
                    manager.lay_spares(SPARES)
        except BaseException as error:
            failed.append(error)

    filler = threading.Thread(target=fill)
    filler.start()
    networks = [manager.attach(sandbox, OPEN) for sandbox in ids]
    filler.join()
    assert failed == []
    assert len({network.address for network in networks}) == len(ids)
    assert manager.list_() == set(ids)

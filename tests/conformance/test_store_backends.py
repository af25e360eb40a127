"""One suite over every backend of the store: what ``snapshots.backends.protocol`` promises."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from cove.exception import AlreadyExistsError, ConflictError, InvalidError, NotFoundError, RequestSizeError
from snapshots.backends.protocol import MAX_CONDITIONAL_BYTES, Backend, get_bytes, put_bytes
from tests.support.store_places import backend, place

__all__ = ["backend", "place"]

pytestmark = pytest.mark.timeout(120)  # the first test over S3 starts the server

ODD_NAMES = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a/.hidden",
    "A",
    "a b",
    "a\n",
    "a\0b",
    "a%2e",
    "a\\b",
    "ä",
    "a?b",
    "a#b",
    "-rf",
    "a/" + "b" * 129,
    "/".join(["a" * 100] * 6),
]


async def names(backend: Backend, prefix: str = "") -> list[str]:
    async with aclosing(backend.list_(prefix)) as infos:
        return sorted([info.name async for info in infos])


async def get(backend: Backend, name: str) -> bytes:
    return await get_bytes(backend, name, max_bytes=1 << 26)


@pytest.mark.parametrize("over_a_chunk", [None, -1, 0, 1])
async def test_an_object_comes_back_as_it_was_put(backend: Backend, over_a_chunk: int | None) -> None:
    size_bytes = 0 if over_a_chunk is None else backend.chunk_bytes + over_a_chunk
    data = bytes(range(251)) * (size_bytes // 251 + 1)
    await put_bytes(backend, "some/name", data[:size_bytes])
    assert (await backend.stat("some/name")).size_bytes == size_bytes
    assert await get(backend, "some/name") == data[:size_bytes]


async def test_parts_of_an_object_can_be_read(backend: Backend) -> None:
    await put_bytes(backend, "name", b"0123456789")
    async with backend.open("name") as reader:
        assert await reader.read_at(3, 4) == b"3456"
        assert await reader.read_at(8, 100) == b"89"
        assert await reader.read_at(10, 1) == b""
        assert await reader.read_at(100, 1) == b""


async def test_what_is_staged_is_seen_by_nobody_and_leaves_nothing(backend: Backend) -> None:
    async with backend.stage() as staged:
        await staged.write(b"x" * 100_000)
        assert await names(backend) == []
    assert await names(backend) == []
    assert await backend.sweep() == 0


async def test_an_object_can_be_published_again_and_under_another_name(backend: Backend) -> None:
    async with backend.stage() as staged:
        await staged.write(b"data")
        for name in ("a", "a", "b/c", "a"):
            await staged.publish(name)
            await backend.delete("b/c")
        await staged.publish("b/c")
    assert await get(backend, "a") == await get(backend, "b/c") == b"data"
    assert await backend.sweep() == 0


async def test_only_one_of_many_gets_a_name_that_must_be_absent(backend: Backend) -> None:
    async def attempt(number: int) -> int | None:
        try:
            await put_bytes(backend, "lock", str(number).encode(), if_absent=True)
        except AlreadyExistsError:
            return None
        return number

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(number)) for number in range(8)]
    winners = [task.result() for task in tasks if task.result() is not None]
    assert await get(backend, "lock") == str(winners[0]).encode()
    assert len(winners) == 1


async def test_too_large_an_object_cannot_be_published_only_if_absent(backend: Backend) -> None:
    with pytest.raises(RequestSizeError):
        await put_bytes(backend, "lock", bytes(MAX_CONDITIONAL_BYTES + 1), if_absent=True)
    assert await names(backend) == []


async def test_writers_of_one_name_never_mix(backend: Backend) -> None:
    versions = {bytes([number]) * 300_000 for number in range(6)}
    async with asyncio.TaskGroup() as group:
        for data in versions:
            group.create_task(put_bytes(backend, "name", data))
    assert await get(backend, "name") in versions


async def test_a_reader_sees_one_version_or_fails(backend: Backend) -> None:
    await put_bytes(backend, "name", b"old old old")
    async with backend.open("name") as reader:
        first = await reader.read_at(0, 4)
        await put_bytes(backend, "name", b"new")
        try:
            rest = await reader.read_at(4, 100)
        except ConflictError as error:
            assert error.retryable
        else:
            assert first + rest == b"old old old"


async def test_a_small_object_is_read_whole_while_it_is_replaced(backend: Backend) -> None:
    versions = [b"a" * size for size in (1, 1000, 10, 100_000)]
    await put_bytes(backend, "name", versions[0])
    done = asyncio.Event()

    async def replace() -> None:
        for number in range(12):
            await put_bytes(backend, "name", versions[number % len(versions)])
        done.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(replace())
        while not done.is_set():
            try:
                assert await get(backend, "name") in versions
            except ConflictError as error:  # replaced at each attempt
                assert error.retryable


async def test_what_was_deleted_while_open_is_read_or_not_found(backend: Backend) -> None:
    await put_bytes(backend, "name", b"data")
    async with backend.open("name") as reader:
        await backend.delete("name")
        try:
            assert await reader.read_at(0, 4) == b"data"
        except NotFoundError:
            assert await names(backend) == []


async def test_a_replaced_object_has_another_version_and_is_young(backend: Backend) -> None:
    await put_bytes(backend, "name", b"old")
    old = await backend.stat("name")
    assert await backend.stat("name") == old
    await put_bytes(backend, "name", b"new")
    new = await backend.stat("name")
    assert new.version != old.version
    assert new.modified_at >= old.modified_at


async def test_deleting_is_repeatable(backend: Backend) -> None:
    await put_bytes(backend, "a/b", b"")
    await put_bytes(backend, "a/c", b"")
    await backend.delete("a/b")
    await backend.delete("a/b")
    await backend.delete("never/was")
    assert await names(backend) == ["a/c"]


async def test_what_is_not_there_is_not_found(backend: Backend) -> None:
    await put_bytes(backend, "a/b/c", b"")
    for name in ("nothing", "a", "a/b", "a/b/c/d"):
        with pytest.raises((NotFoundError, InvalidError)):
            await backend.stat(name)
        with pytest.raises((NotFoundError, InvalidError)):
            await get(backend, name)
    assert await get(backend, "a/b/c") == b""


async def test_lists_go_by_whole_parts_of_names(backend: Backend) -> None:
    there = ["a/b", "a/b2", "a/c/d", "ab/c", "b"]
    for name in there:
        await put_bytes(backend, name, name.encode())
    assert await names(backend) == there
    assert await names(backend, "a/") == ["a/b", "a/b2", "a/c/d"]
    assert await names(backend, "a/c/") == ["a/c/d"]
    assert await names(backend, "a/b/") == []
    assert await names(backend, "nothing/") == []
    with pytest.raises(InvalidError):
        await names(backend, "a")
    async with aclosing(backend.list_("ab/")) as infos:
        assert [info async for info in infos] == [await backend.stat("ab/c")]


async def test_long_lists_are_whole(backend: Backend) -> None:
    wanted = [f"many/n{number:04}" for number in range(1050)]  # S3 gives a thousand at a time

    async def put(some: list[str]) -> None:
        for name in some:
            await put_bytes(backend, name, b"")

    async with asyncio.TaskGroup() as group:
        for first in range(16):
            group.create_task(put(wanted[first::16]))
    assert await names(backend, "many/") == wanted


@pytest.mark.parametrize("name", ODD_NAMES, ids=repr)
async def test_odd_names_are_refused_by_every_operation(backend: Backend, name: str) -> None:
    with pytest.raises(InvalidError):
        await put_bytes(backend, name, b"")
    with pytest.raises(InvalidError):
        await get(backend, name)
    with pytest.raises(InvalidError):
        await backend.stat(name)
    with pytest.raises(InvalidError):
        await backend.delete(name)
    if name and not name.endswith("/"):
        with pytest.raises(InvalidError):
            await names(backend, f"{name}/")

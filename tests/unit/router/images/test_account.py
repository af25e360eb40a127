"""What instructions do to an image's configuration."""

from __future__ import annotations

from typing import Any

import pytest

from cove.dockerfile import parse_commands
from cove.dockerfile.scope import Scope
from cove.wire import image_pb2
from router.images.builder.account import Account


def configured(*commands: str, **config: Any) -> image_pb2.ImageConfig:
    """The configuration after a stage's instructions, none of which has variables."""
    account = Account(Scope(), image_pb2.ImageConfig(**config))
    for instruction in parse_commands(commands):
        assert account.enter(instruction), instruction
    return account.config


@pytest.mark.parametrize(
    ("commands", "before", "after"),
    [
        (["ENV A=1 B=2", "ENV A=3"], {"env": {"A": "0", "Z": "z"}}, {"env": {"A": "3", "B": "2", "Z": "z"}}),
        (["LABEL a=1", "LABEL a=2 b=3"], {"labels": {"c": "4"}}, {"labels": {"a": "2", "b": "3", "c": "4"}}),
        (["USER app:staff"], {"user": "root"}, {"user": "app:staff"}),
        (["CMD run it"], {"cmd": ["x"]}, {"cmd": ["/bin/sh", "-c", "run it"]}),
        (['CMD ["run", "it"]'], {"cmd": ["x"]}, {"cmd": ["run", "it"]}),
        (["CMD []"], {"cmd": ["x"]}, {}),
        (['SHELL ["bash", "-ec"]', "CMD a"], {}, {"shell": ["bash", "-ec"], "cmd": ["bash", "-ec", "a"]}),
        (["CMD a"], {"shell": ["zsh", "-c"]}, {"shell": ["zsh", "-c"], "cmd": ["zsh", "-c", "a"]}),
        (['ENTRYPOINT ["e"]'], {"entrypoint": ["old"], "cmd": ["old"]}, {"entrypoint": ["e"]}),
        (['ENTRYPOINT ["e"]', 'CMD ["c"]'], {"cmd": ["old"]}, {"entrypoint": ["e"], "cmd": ["c"]}),
        (['CMD ["c"]', 'ENTRYPOINT ["e"]'], {"cmd": ["old"]}, {"entrypoint": ["e"], "cmd": ["c"]}),
        (["ENTRYPOINT []"], {"entrypoint": ["old"], "cmd": ["old"]}, {}),
        (["ENTRYPOINT e x"], {}, {"entrypoint": ["/bin/sh", "-c", "e x"]}),
        (["EXPOSE 80 443/udp", "EXPOSE 80"], {"exposed_ports": ["22"]}, {"exposed_ports": ["22", "443/udp", "80"]}),
        (["ARG A=1", "MAINTAINER nobody"], {"user": "u"}, {"user": "u"}),
    ],
)
def test_what_instructions_do_to_the_configuration(commands: list[str], before: dict[str, Any], after: dict[str, Any]) -> None:
    assert configured(*commands, **before) == image_pb2.ImageConfig(**after)


def test_a_healthcheck_is_recorded_as_it_was_written() -> None:
    assert "--interval=5s CMD curl" in configured("HEALTHCHECK --interval=5s CMD curl x").healthcheck


@pytest.mark.parametrize("command", ["RUN a", "COPY a b", "ADD a b", "WORKDIR /x"])
def test_what_touches_files_is_left_to_a_sandbox(command: str) -> None:
    (instruction,) = parse_commands([command])
    account = Account(Scope(), image_pb2.ImageConfig())
    assert not account.enter(instruction) and account.config == image_pb2.ImageConfig()

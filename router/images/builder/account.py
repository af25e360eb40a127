"""What a stage's instructions mean for later ones and for the image: the variables in scope, the configuration. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from cove.dockerfile import model
from cove.dockerfile.scope import Scope
from cove.wire import image_pb2

DEFAULT_SHELL: Final = ("/bin/sh", "-c")


class Account:
    """Kept over one stage.

    Attributes:
        scope: the variables as they are now.
        config: of the image as it would be now; the one that was given, changed in place.
    """

    def __init__(self, scope: Scope, config: image_pb2.ImageConfig) -> None:
        self.scope, self.config = scope, config
        self._own_cmd = False

    def enter(self, instruction: model.Instruction) -> bool:
        """Take note of the next instruction, which is expanded already.

        Returns: False: it says nothing of the configuration, and has to be carried out.
        Raises:  InvalidError: there are too many variables.
        """
        known = self._configure(instruction)
        self._own_cmd |= isinstance(instruction, model.Cmd)
        self.scope = self.scope.after(instruction)
        return known

    @property
    def shell(self) -> Sequence[str]:
        """What runs commands in shell form."""
        return self.config.shell or DEFAULT_SHELL

    def _configure(self, instruction: model.Instruction) -> bool:
        config = self.config
        match instruction:
            case model.Env(pairs=pairs):
                config.env.update(dict(pairs))
            case model.Label(pairs=pairs):
                config.labels.update(dict(pairs))
            case model.User(user=user):
                config.user = user
            case model.Cmd(command=command):
                config.cmd[:] = self._words(command)
            case model.Entrypoint(command=command):
                config.entrypoint[:] = self._words(command)
                if not self._own_cmd:  # a new entrypoint does not know what to do with the base's command
                    del config.cmd[:]
            case model.Shell(argv=argv):
                config.shell[:] = argv
            case model.Expose(ports=ports):
                config.exposed_ports[:] = sorted({*config.exposed_ports, *ports})
            case model.Healthcheck():
                config.healthcheck = json.dumps(instruction.original)
            case model.Arg() | model.Maintainer():
                pass  # the scope has the one, and the other means nothing any more
            case _:
                return False
        return True

    def _words(self, command: str | tuple[str, ...]) -> Sequence[str]:
        return [*self.shell, command] if isinstance(command, str) else command

"""Which ports can be opened."""

from __future__ import annotations

import pytest

from cove.exception import InvalidError
from cove.wire.common_pb2 import PortSpec, SandboxSpec
from policies.ports import MAX_PORTS, check_ports
from policies.specs import fill_spec


def test_ports_of_a_spec_are_kept() -> None:
    specs = [PortSpec(port=1), PortSpec(port=65_535, kind="PORT_KIND_H2"), PortSpec(port=80, kind="PORT_KIND_UNENCRYPTED")]
    assert list(fill_spec(SandboxSpec(ports=specs)).ports) == specs


@pytest.mark.parametrize(
    ("specs", "named"),
    [
        ([PortSpec(port=0)], "Port 0"),
        ([PortSpec(port=65_536)], "65536"),
        ([PortSpec(port=80), PortSpec(port=80, kind="PORT_KIND_H2")], "Port 80 is there twice"),
        ([PortSpec(port=80, kind=7)], "unknown kind"),  # type: ignore[arg-type]  # a newer client's
        ([PortSpec(port=port) for port in range(1, MAX_PORTS + 2)], "too many"),
    ],
)
def test_ports_that_cannot_be(specs: list[PortSpec], named: str) -> None:
    with pytest.raises(InvalidError, match=named):
        fill_spec(SandboxSpec(ports=specs))
    with pytest.raises(InvalidError, match=named):
        check_ports(specs)

# SPDX-License-Identifier: BSD-3-Clause
"""QMP spoken by a client that is not ours: the one that Ganeti, a cluster manager, drives QEMU with.
scripts/test unpacks it into build/ganeti."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from outboard import REPO, Outboard
from vfio_user import REGION_BAR0, Client

MONITOR = "ganeti/hypervisor/hv_kvm/monitor.py"


@pytest.fixture(scope="session")
def ganeti() -> Any:
    """Its module of monitors, without what is around it: that would want a hypervisor."""
    found = sorted((REPO / "build/ganeti").glob(f"usr/share/ganeti/*/{MONITOR}"))
    if not found:
        assert os.environ.get("CI") != "true"
        pytest.skip("build/ganeti is not there: scripts/test makes it")
    sys.path.insert(0, str(found[-1]).removesuffix(MONITOR))
    spec = importlib.util.spec_from_file_location("ganeti_monitor", found[-1])
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def served(outboard: Start, folder: Path) -> Outboard:
    monitor = f"socket,id=m,path={folder}/m,server=on,wait=off"
    return outboard("-machine", "x-remote,auto-shutdown=off", "-nodefaults",
                    "-chardev", monitor, "-mon", "chardev=m,mode=control")  # fmt: skip


def test_connects_and_asks(ganeti: Any, served: Outboard, folder: Path) -> None:
    with ganeti.QmpConnection(str(folder / "m")) as connection:
        assert connection.package.startswith("outboard-")
        assert {"device_add", "device_del", "quit"} <= connection.supported_commands
        assert connection.Execute("query-status") == {"running": True, "status": "running"}
    # These connect by themselves; the first one reads query-qmp-schema.
    assert connection.HasDynamicAutoReadOnly() is False
    with pytest.raises(ganeti.errors.HotplugError, match="not supported"):
        connection.CheckNicHotAddSupport()


def test_refusals_are_understood(ganeti: Any, served: Outboard, folder: Path) -> None:
    with ganeti.QmpConnection(str(folder / "m")) as connection:
        with pytest.raises(ganeti.QmpCommandNotSupported):
            connection.Execute("netdev_add", {"id": "n0"})
        with pytest.raises(ganeti.errors.HypervisorError, match="unknown device"):
            connection.Execute("device_del", {"id": "d0"})


def test_hot_plug(ganeti: Any, served: Outboard, folder: Path) -> None:
    """Each call connects by itself, as Ganeti has it; events come in between."""
    connection = ganeti.QmpConnection(str(folder / "m"))
    address = {"type": "unix", "path": str(folder / "s")}
    server = {"qom-type": "x-vfio-user-server", "id": "s0", "device": "d0", "socket": address}
    with connection:
        connection.Execute("device_add", {"driver": "pci-root-bus", "id": "r0"})
        connection.Execute("device_add", {"driver": "edu", "id": "d0", "bus": "r0", "addr": "2"})
        connection.Execute("object-add", server)
    assert connection.HasDevice("d0") and not connection.HasDevice("d1")
    with Client(folder / "s") as client:
        assert client.read32(REGION_BAR0, 0) == 0x010000ED
        connection.StopGuestEmulation()
        connection.ContinueGuestEmulation()
    with connection:
        connection.Execute("object-del", {"id": "s0"})
        connection.Execute("device_del", {"id": "d0"})
    assert not connection.HasDevice("d0")


def test_quit(ganeti: Any, served: Outboard, folder: Path) -> None:
    with ganeti.QmpConnection(str(folder / "m")) as connection:
        connection.Execute("quit")
    assert served.wait() == 0

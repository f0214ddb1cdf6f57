# SPDX-License-Identifier: BSD-3-Clause
"""What clients of monitors should not send, or too much of what they may: the monitor answers in its
own form and goes on, its memory stays bounded, and nobody else notices."""

from __future__ import annotations

import json
import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from outboard import LIMIT, Outboard, is_sanitized, wait_until
from qmp import Qmp
from vfio_user import REGION_BAR0, Client

DEEP = 100000
LONG = 100 << 20


@pytest.fixture
def served(outboard: Start, folder: Path) -> Outboard:
    words = [word for n in range(2) for word in ("-qmp", f"unix:{folder}/m{n},server=on,wait=off")]
    return outboard("-machine", "x-remote,auto-shutdown=off", *words)


@pytest.fixture
def qmp(served: Outboard, folder: Path) -> Iterator[Qmp]:
    with Qmp(folder / "m0") as connection:
        yield connection


@pytest.fixture
def other(served: Outboard, folder: Path) -> Iterator[Qmp]:
    with Qmp(folder / "m1") as connection:
        yield connection


def memory(process: Outboard) -> int:
    """Its own memory, in bytes."""
    fields = Path(f"/proc/{process.pid}/status").read_text().split("VmRSS:")[1].split()
    return int(fields[0]) * 1024


def descriptors(process: Outboard) -> int:
    return len(os.listdir(f"/proc/{process.pid}/fd"))


# Each is one error, without an id, and then the monitor goes on.
MALFORMED = {
    "truncated": b'{"execute": "query-name", "arguments": {',
    "truncated in a string": b'{"execute": "query-na',
    "truncated in a key": b'{"exec',
    "truncated in a number": b'{"execute": -',
    "two closing": b'{"execute": "query-name"]',
    "deeply nested": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "a long string": b'{"execute": "' + b"x" * (2 << 20) + b'"}',
    "a long number": b'{"id": ' + b"7" * (2 << 20) + b"}",
    "many members": b"{" + b",".join(b'"%d":0' % n for n in range(20000)) + b"}",
    "the same key twice": b'{"execute": "query-name", "execute": "quit"}',
    "the same key, escaped": b'{"execute": "query-name", "\\u0065xecute": "quit"}',
    "the same key, deep down": b'{"execute": "qom-set", "arguments": {"a": [{"b": 1, "b": 2}]}}',
    "invalid UTF-8": b'{"execute": "\xc3("}',
    "UTF-8 too long": b'{"execute": "\xc0\xaf"}',
    "half a pair": b'{"execute": "\\ud83d"}',
    "a NUL": b'{"execute": "a\\u0000b"}',
    "a tab": b'{"execute": "a\tb"}',
    "a comment": b"// execute",
    "not a number": b'{"execute": NaN}',
    "a wrong word": b'{"execute": nul}',
    "a list": b'[{"execute": "query-name"}]',
    "a string": b'"query-name"',
    "an unknown member": b'{"execute": "query-name", "argument": {}}',
    "no command": b'{"arguments": {}}',
    "out of band": b'{"exec-oob": "query-name"}',
    "a byte that JSON never has": b"\xff",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed(qmp: Qmp, what: str) -> None:
    qmp.send(MALFORMED[what] + b"\n")
    qmp.send(b'{"execute": "query-name", "id": "next"}\n')
    error = qmp.receive()
    assert set(error) == {"error"} and error["error"]["class"] == "GenericError"
    assert error["error"]["desc"]
    assert qmp.receive() == {"return": {}, "id": "next"}


def test_everything_at_once(qmp: Qmp) -> None:
    """One after the other in one stream: as many errors as there are mistakes."""
    for text in MALFORMED.values():
        qmp.send(text + b'\n{"execute": "query-name"}\n')
    for _ in MALFORMED:
        assert "error" in qmp.receive()
        assert qmp.receive() == {"return": {}}


def test_strings_of_100_mib(served: Outboard, qmp: Qmp, other: Qmp) -> None:
    before = memory(served)
    block = b"x" * (1 << 20)

    def flood() -> None:
        qmp.send(b'{"execute": "')
        for _ in range(LONG >> 20):
            qmp.send(block)
        qmp.send(b'", "id": 1}')

    thread = threading.Thread(target=flood)
    thread.start()
    assert qmp.receive()["error"]["desc"] == "JSON token size limit exceeded"
    # Nobody else waits meanwhile.
    assert other.execute("query-name") == {}
    qmp.socket.settimeout(6 * LIMIT)
    thread.join()
    qmp.send(b'{"execute": "query-name", "id": 2}')
    assert qmp.receive() == {"return": {}, "id": 2}
    if not is_sanitized():
        assert memory(served) - before < 8 << 20


@pytest.mark.parametrize("identity", [0, -1, 1.5, True, None, "x", "\u00e9\U0001f600", [], {}, [{"a": [None]}]])
def test_ids_of_all_types(qmp: Qmp, identity: Any) -> None:
    qmp.send(json.dumps({"execute": "query-name", "id": identity}).encode())
    assert qmp.receive() == {"return": {}, "id": identity}
    qmp.send(json.dumps({"execute": "nothing", "id": identity}, ensure_ascii=False).encode())
    reply = qmp.receive()
    assert reply["id"] == identity and reply["error"]["class"] == "CommandNotFound"


def test_a_client_that_reads_nothing(served: Outboard, folder: Path, other: Qmp) -> None:
    lazy = Qmp(folder / "m0")
    before = memory(served)
    lazy.socket.setblocking(False)
    request = b'{"execute": "query-qmp-schema"}' * 100
    sent = 0
    # Until nothing more goes into the socket: the server does not read it any more.
    while select.select([], [lazy.socket], [], 0.2)[1]:
        sent += lazy.socket.send(request)
        assert sent < 64 << 20
    for _ in range(3000):
        other.execute("stop")
        other.execute("cont")
    other.events.clear()
    if not is_sanitized():
        assert memory(served) - before < 8 << 20
    lazy.close()
    with Qmp(folder / "m0") as again:
        again.execute("query-name")


def test_an_idle_client_is_in_nobodys_way(served: Outboard, folder: Path, other: Qmp) -> None:
    with Qmp(folder / "m0", negotiate=False):
        for _ in range(100):
            other.execute("query-status")


def commands(*list_: tuple[str, dict[str, Any]]) -> bytes:
    return b"".join(json.dumps({"execute": name, "arguments": args}).encode() for name, args in list_)


def pipelined(qmp: Qmp, stream: bytes, count: int) -> list[dict[str, Any]]:
    """Sends all at once, and returns the replies."""
    thread = threading.Thread(target=qmp.send, args=(stream,))
    thread.start()
    replies = [qmp.receive_reply() for _ in range(count)]
    thread.join()
    return replies


def a_round(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    address = {"type": "unix", "path": str(folder / "s")}
    return [
        ("device_add", {"driver": "edu", "id": "d0"}),
        ("object-add", {"qom-type": "x-vfio-user-server", "id": "s0", "device": "d0", "socket": address}),
        ("object-del", {"id": "s0"}),
        ("device_del", {"id": "d0"}),
    ]


def test_rounds_as_fast_as_they_go(served: Outboard, qmp: Qmp, folder: Path) -> None:
    rounds = 300
    stream = commands(*a_round(folder))
    pipelined(qmp, stream * 10, 40)
    before = memory(served), descriptors(served)
    replies = pipelined(qmp, stream * rounds, 4 * rounds)
    assert all(reply == {"return": {}} for reply in replies)
    wait_until(lambda: qmp.execute("query-pci") == [])
    wait_until(lambda: descriptors(served) <= before[1])  # what helper threads closed counts before, too
    if not is_sanitized():
        assert memory(served) - before[0] < 2 << 20


def test_rounds_while_clients_come(served: Outboard, qmp: Qmp, folder: Path) -> None:
    """Another device works meanwhile, and clients connect to the one that comes and goes."""
    qmp.execute("device_add", driver="edu", id="d9")
    qmp.execute("object-add", qom__type="x-vfio-user-server", id="s9", device="d9", path=str(folder / "s9"))
    before = descriptors(served)
    made = commands(*a_round(folder)[:2])
    gone = commands(*a_round(folder)[2:])
    with Client(folder / "s9") as steady:
        for _ in range(50):
            assert all(reply == {"return": {}} for reply in pipelined(qmp, made, 2))
            client = Client(folder / "s")
            assert client.read32(REGION_BAR0, 0) == 0x010000ED
            assert all(reply == {"return": {}} for reply in pipelined(qmp, gone, 2))
            assert qmp.wait_event("DEVICE_DELETED")["device"] == "d0"
            client.close()
            assert steady.read32(REGION_BAR0, 0) == 0x010000ED
    wait_until(lambda: descriptors(served) <= before)


def test_many_devices(served: Outboard, qmp: Qmp, folder: Path) -> None:
    count = 200
    stream = b"".join(
        commands(
            ("device_add", {"driver": "edu", "id": f"d{n}"}),
            ("object-add", {"qom-type": "x-vfio-user-server", "id": f"s{n}", "device": f"d{n}",
                            "path": str(folder / f"s{n}")}),
        )  # fmt: skip
        for n in range(count)
    )
    assert all(reply == {"return": {}} for reply in pipelined(qmp, stream, 2 * count))
    assert len(qmp.execute("query-pci")) == len(qmp.execute("query-vfio-user")) == count
    for n in (0, count // 2, count - 1):
        with Client(folder / f"s{n}") as client:
            assert client.read32(REGION_BAR0, 0) == 0x010000ED

# SPDX-License-Identifier: BSD-3-Clause
"""Twin sockets: a second socket, for the server's commands and the client's replies to them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from disk import Disk
from outboard import wait_until
from peer import (
    BAR0,
    DMA_READ,
    DMA_UNMAP,
    DMA_WRITE,
    EDU_BUFFER,
    EDU_TO_GUEST,
    GET_INFO,
    HEADER,
    OFFER,
    REGION_READ,
    REPLY,
    RESET,
    S_DMA,
    S_INFO,
    Hangup,
    Message,
    Peer,
    dma_unmap,
    frame,
    region_read,
)
from served import Connect, Process

AT, SIZE = 0x100000, 0x10000
TWIN = {**OFFER, "twin_socket": {"supported": True}}


def agreed(peer: Peer) -> dict[str, object]:
    twin = peer.version["capabilities"].get("twin_socket", {})
    assert isinstance(twin, dict)
    return twin


@pytest.fixture
def twins(connect: Connect) -> Iterator[Callable[..., tuple[Peer, Peer]]]:
    """Connects to a device and returns the main and the twin side of the session."""
    with ExitStack() as stack:

        def make(device: str = "edu") -> tuple[Peer, Peer]:
            main = connect(device, TWIN)
            main.ok(RESET)
            fd = main.version_fds[agreed(main)["fd_index"]]
            twin = Peer("", False, socket.socket(fileno=main.forget_fd(fd)))
            return main, stack.enter_context(twin)

        yield make


def fetch(main: Peer, twin: Peer, count: int = 64) -> Message:
    main.edu_post(AT, EDU_BUFFER, count, 0)
    return twin.expect(DMA_READ, AT)


# Negotiation


def test_is_made_for_clients_that_support_it(connect: Connect) -> None:
    """The reply says supported and which of its descriptors is the socket."""
    peer = connect("edu", TWIN)
    assert agreed(peer)["supported"] is True
    index = agreed(peer)["fd_index"]
    assert type(index) is int and 0 <= index < len(peer.version_fds)
    sock = socket.socket(fileno=peer.forget_fd(peer.version_fds[index]))
    assert (sock.family, sock.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
    sock.close()


PROPOSALS = [{}, {"twin_socket": {}}, {"twin_socket": {"supported": False}}]


@pytest.mark.parametrize("caps", PROPOSALS, ids=str)
def test_is_not_made_for_others(connect: Connect, caps: dict[str, object]) -> None:
    """A client that did not set supported to true gets no second socket."""
    peer = connect("edu", {**OFFER, **caps})
    assert not agreed(peer).get("supported")
    assert "fd_index" not in agreed(peer)
    assert not peer.version_fds


def test_is_not_made_for_clients_that_take_no_descriptors(connect: Connect) -> None:
    """A client that can receive no descriptor cannot have a second socket."""
    peer = connect("edu", {**TWIN, "max_msg_fds": 0})
    assert not agreed(peer).get("supported")
    assert not peer.version_fds


def test_fd_index_of_a_proposal_means_nothing(connect: Connect) -> None:
    """fd_index is valid in the reply only."""
    for index in (7, -1, "x"):
        peer = connect("edu", {"twin_socket": {"supported": True, "fd_index": index}})
        assert agreed(peer)["supported"] is True
        assert peer.version_fds
        peer.close()


def test_may_be_switched_off(start: Callable[..., Process]) -> None:
    """A server may decline: then the client is asked on the one socket that there is."""
    process = start("edu", "socket=a", "twin-socket=off")
    with Peer(process.folder / "a", TWIN) as peer:
        assert not agreed(peer).get("supported")
        assert not peer.version_fds
        peer.map(AT, SIZE)
        peer.edu_post(AT, EDU_BUFFER, 64, 0)
        peer.serve(peer.expect(DMA_READ, AT), lambda address, count: bytes(count))


# Use


def test_requests_come_on_the_twin(twins: Callable[..., tuple[Peer, Peer]]) -> None:
    """DMA_READ and DMA_WRITE come on the second socket, and their replies go there."""
    main, twin = twins()
    main.map(AT, SIZE)
    twin.serve(fetch(main, twin), lambda address, count: b"\x77" * count)
    wait_until(lambda: not main.edu_busy())
    main.edu_post(EDU_BUFFER, AT + 64, 64, EDU_TO_GUEST)
    assert twin.serve(twin.expect(DMA_WRITE, AT + 64), bytes) == b"\x77" * 64
    wait_until(lambda: not main.edu_busy())
    assert main.is_quiet() and twin.is_quiet()


def test_replies_stay_on_the_main_socket(twins: Callable[..., tuple[Peer, Peer]]) -> None:
    """Commands of the client and their replies are on the socket that it connected to."""
    main, twin = twins()
    main.map(AT, SIZE)
    request = fetch(main, twin)
    for _ in range(20):
        main.still_served()
    assert twin.is_quiet()
    twin.serve(request, lambda address, count: bytes(count))


def test_pipeline_on_the_main_socket_holds_no_request_up(
    twins: Callable[..., tuple[Peer, Peer]],
) -> None:
    """A client may read nothing of the main socket until it has served the twin."""
    main, twin = twins()
    main.map(AT, SIZE)
    main.edu_post(AT, EDU_BUFFER, 64, 0)
    for i in range(100):
        main.send(frame(REGION_READ, region_read(BAR0, 0, 4), i))
    twin.serve(twin.expect(DMA_READ, AT), lambda address, count: bytes(count))
    assert [main.receive().id for _ in range(100)] == list(range(100))


def test_disk_works_over_it(twins: Callable[..., tuple[Peer, Peer]]) -> None:
    """A disk with many transfers under way has all of them on the second socket."""
    main, twin = twins("nvme")
    disk = Disk(main, shared=False, channel=twin)
    data = bytes(range(256)) * 16
    disk.store(disk.DATA, data)
    assert disk.transfer(0x01, 200, 8) == 0
    disk.store(disk.DATA, bytes(4096))
    assert disk.transfer(0x02, 200, 8) == 0
    assert disk.load(disk.DATA, 4096) == data
    assert disk.requests
    disk.close()


def test_reset_does_not_wait_for_the_twin(twins: Callable[..., tuple[Peer, Peer]]) -> None:
    """A reset, or an unmap, while the twin is asked something does not wait for the answer."""
    main, twin = twins()
    main.map(AT, SIZE)
    for command, payload in ((RESET, b""), (DMA_UNMAP, dma_unmap(AT, SIZE))):
        request = fetch(main, twin)
        main.ok(command, payload)
        twin.answer(request, S_DMA.pack(AT, 64) + bytes(64))
        main.still_served()


# Violations and the end


def test_commands_on_the_twin_end_the_session(
    twins: Callable[..., tuple[Peer, Peer]], next_client: Callable[[], None]
) -> None:
    """The client's commands have no place on the second socket."""
    main, twin = twins()
    twin.send(frame(GET_INFO, S_INFO.pack(16, 0, 0, 0)))
    with pytest.raises(Hangup):
        main.receive()
    next_client()


def test_replies_on_the_main_socket_end_the_session(
    twins: Callable[..., tuple[Peer, Peer]], next_client: Callable[[], None]
) -> None:
    """A reply to what was asked on the twin is expected there."""
    main, twin = twins()
    main.map(AT, SIZE)
    request = fetch(main, twin)
    main.answer(request, S_DMA.pack(AT, 64) + bytes(64))
    with pytest.raises(Hangup):
        main.receive()
    next_client()


GARBAGE = {
    "a reply to nothing": frame(DMA_READ, S_DMA.pack(AT, 0), 5, REPLY),
    "a size below the header": HEADER.pack(0, DMA_READ, 3, REPLY, 0),
    "a size beyond the limit": HEADER.pack(0, DMA_READ, 0x40000000, REPLY, 0),
    "an unknown type": frame(DMA_READ, b"", 0, 7),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_nonsense_on_the_twin_ends_the_session(
    twins: Callable[..., tuple[Peer, Peer]], next_client: Callable[[], None], data: bytes
) -> None:
    """What is no reply to a request ends the session, both of its sockets."""
    main, twin = twins()
    twin.send(data)
    for side in (main, twin):
        with pytest.raises(Hangup):
            side.receive()
    next_client()


def test_closing_the_twin_does_no_harm_to_others(
    twins: Callable[..., tuple[Peer, Peer]], next_client: Callable[[], None], connect: Connect
) -> None:
    """A client that closes its second socket cannot be asked any more: at most its session ends."""
    main, twin = twins()
    main.map(AT, SIZE)
    fetch(main, twin)
    twin.close()
    connect("nvme").still_served()
    main.close()
    next_client()


def test_twin_ends_with_the_session(
    twins: Callable[..., tuple[Peer, Peer]], next_client: Callable[[], None]
) -> None:
    """When the client hangs up on the main socket, the second one is closed as well."""
    main, twin = twins()
    main.close()
    with pytest.raises(Hangup):
        twin.receive()
    next_client()


def test_disconnect_at_any_byte_of_a_reply_on_the_twin(
    twins: Callable[..., tuple[Peer, Peer]], next_client: Callable[[], None], process: Process
) -> None:
    """A client may vanish in the midst of a reply on the second socket."""
    for cut in range(HEADER.size + S_DMA.size + 16):
        main, twin = twins()
        main.map(AT, SIZE)
        request = fetch(main, twin, 16)
        whole = frame(DMA_READ, S_DMA.pack(AT, 16) + bytes(16), request.id, REPLY)
        if cut:
            twin.send(whole[:cut])
        for side in (twin, main) if cut % 2 else (main, twin):
            side.close()
        next_client()
    process.wait_idle()

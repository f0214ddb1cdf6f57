# SPDX-License-Identifier: BSD-3-Clause
"""Hostile clients: whatever one client does, another one's device in the same process works on.

OUTBOARD_HOSTILE_ROUNDS is the number of attacks, 10000 for a thorough run.
"""

from __future__ import annotations

import os
import random
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from disk import READ, WRITE, Disk
from outboard import LIMIT, is_sanitized, wait_until
from peer import (
    BAR0,
    DATA_EVENTFD,
    DATA_NONE,
    DEVICE_FEATURE,
    DMA_MAP,
    DMA_READ,
    DMA_UNMAP,
    DMA_WRITE,
    EDU_BUFFER,
    EDU_ID,
    EDU_ID_VALUE,
    EDU_LIVENESS,
    EDU_TO_GUEST,
    FEATURE_GET,
    FEATURE_MIGRATION,
    FEATURE_PROBE,
    GET_INFO,
    GET_REGION_INFO,
    INTX,
    MSI,
    NO_REPLY,
    REGION_READ,
    REGION_WRITE,
    REGION_WRITE_MULTI,
    RESET,
    SET_IRQS,
    S_INFO,
    S_VERSION,
    TRIGGER,
    VERSION,
    ErrorReply,
    Hangup,
    Memory,
    Peer,
    dma_map,
    dma_unmap,
    feature,
    frame,
    get_region_info,
    region_read,
    region_write,
    set_irqs,
    u32,
    version,
    write_multi,
)
from served import Process

ROUNDS = int(os.environ.get("OUTBOARD_HOSTILE_ROUNDS", "2000"))
SEED = int(os.environ.get("OUTBOARD_HOSTILE_SEED", "1"))

AT, SIZE = 0x100000, 0x10000
GROWTH = 1 << 20  # bytes that the process may have more at the end

Attack = Callable[[Peer, random.Random], None]


def flood(peer: Peer, rng: random.Random) -> None:
    """As many commands as the socket takes, and no reply read."""
    peer.send(frame(VERSION, version()))
    command = frame(REGION_READ, region_read(BAR0, 0, rng.choice([4, 4096, 65536])))
    peer.sock.setblocking(False)
    with suppress(BlockingIOError):
        for _ in range(rng.randrange(1, 40)):
            peer.sock.send(command * 50)


def flood_to_the_end(peer: Peer, rng: random.Random) -> None:
    """As many large replies as the server holds for a client that does not read them."""
    peer.send(frame(VERSION, version()))
    command = frame(REGION_READ, region_read(BAR0, 0, 65536))
    peer.sock.setblocking(False)
    with suppress(BlockingIOError):
        while select.select([], [peer.sock], [], 0.05)[1]:
            peer.sock.send(command * 50)


def flood_in_silence(peer: Peer, rng: random.Random) -> None:
    """Commands that need no reply."""
    peer.send(frame(VERSION, version()))
    write = frame(REGION_WRITE, region_write(BAR0, EDU_LIVENESS, u32(1)), 1, NO_REPLY)
    peer.send(write * rng.randrange(1, 3000))


def stall(peer: Peer, rng: random.Random) -> None:
    """A message that is begun and not finished, while other clients come."""
    whole = frame(VERSION, version()) + frame(REGION_WRITE, region_write(BAR0, 0, bytes(4096)))
    peer.send(whole[: rng.randrange(len(whole))])
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(peer.path)


def stall_a_request(peer: Peer, rng: random.Random) -> None:
    """A request of the server's that is never answered, or answered wrongly."""
    peer.send(frame(VERSION, version()))
    peer.receive()
    peer.map(AT, SIZE)
    write = rng.random() < 0.5
    source, destination = (EDU_BUFFER, AT) if write else (AT, EDU_BUFFER)
    peer.edu_post(source, destination, 4096, EDU_TO_GUEST if write else 0)
    request = peer.expect(DMA_WRITE if write else DMA_READ)
    if rng.random() < 0.7:
        peer.answer(request, rng.randbytes(rng.choice([0, 8, 16, 4112])), rng.randrange(64))


def cut_memory(peer: Peer, rng: random.Random) -> None:
    """Memory that goes away under the device's hands."""
    memory = Memory(SIZE)
    try:
        peer.send(frame(VERSION, version()))
        peer.receive()
        peer.map(AT, SIZE, memory.fd)
        os.ftruncate(memory.fd, rng.choice([0, 4096]))
        write = rng.random() < 0.5
        far = AT + 8192
        source, destination = (EDU_BUFFER, far) if write else (far, EDU_BUFFER)
        peer.edu_post(source, destination, 4096, EDU_TO_GUEST if write else 0)
        with pytest.raises(Hangup):
            peer.receive()
    finally:
        memory.close()


def garbage(peer: Peer, rng: random.Random) -> None:
    """Bytes without a meaning."""
    if rng.random() < 0.5:
        peer.send(frame(VERSION, version()))
    peer.send(rng.randbytes(rng.randrange(1, 5000)))


def bad_version(peer: Peer, rng: random.Random) -> None:
    """Proposals that are none."""
    text = rng.choice([b"{", b"[]", b'{"capabilities":1}', rng.randbytes(50), b"[" * 9000])
    peer.send(frame(VERSION, S_VERSION.pack(rng.randrange(3), 0) + text))


def descriptors(peer: Peer, rng: random.Random) -> None:
    """Descriptors of all kinds, more than anybody asked for."""
    fds = [os.eventfd(0) for _ in range(rng.randrange(1, 40))]
    fds += [os.memfd_create("x") for _ in range(rng.randrange(1, 5))]
    try:
        peer.send(frame(VERSION, version()))
        kinds = [
            frame(DMA_MAP, dma_map(AT, SIZE)),
            frame(SET_IRQS, set_irqs(DATA_EVENTFD | TRIGGER, MSI, 0, rng.randrange(3))),
            frame(GET_INFO, S_INFO.pack(16, 0, 0, 0)),
        ]
        for _ in range(rng.randrange(1, 6)):
            rng.shuffle(fds)
            peer.send(rng.choice(kinds), tuple(fds[: rng.randrange(len(fds))]))
    finally:
        for fd in fds:
            os.close(fd)


SESSION = [
    frame(VERSION, version()),
    frame(DMA_MAP, dma_map(AT, SIZE)),
    frame(GET_REGION_INFO, get_region_info(BAR0)),
    frame(SET_IRQS, set_irqs(DATA_NONE | TRIGGER, INTX)),
    frame(REGION_WRITE_MULTI, write_multi([(BAR0, EDU_LIVENESS, u32(1))] * 5)),
    frame(REGION_READ, region_read(BAR0, 0, 64)),
    frame(DEVICE_FEATURE, feature(FEATURE_PROBE | FEATURE_GET | FEATURE_MIGRATION)),
    frame(DMA_UNMAP, dma_unmap(AT, SIZE)),
    frame(RESET),
]


def mutated(peer: Peer, rng: random.Random) -> None:
    """A session with some bits that are not as they should be."""
    data = bytearray(b"".join(SESSION))
    for _ in range(rng.randrange(1, 10)):
        # The proposal stays as it is as a rule, to come further.
        first = 0 if rng.random() < 0.1 else len(SESSION[0])
        data[rng.randrange(first, len(data))] ^= 1 << rng.randrange(8)
    peer.send(bytes(data[: rng.randrange(len(SESSION[0]), len(data) + 1)]))


def maps(peer: Peer, rng: random.Random) -> None:
    """Many maps, and a departure without unmapping."""
    peer.send(frame(VERSION, version()))
    many = (dma_map(AT + i * 4096, 4096) for i in range(rng.randrange(500)))
    peer.send(b"".join(frame(DMA_MAP, one, 1, NO_REPLY) for one in many))


ATTACKS = [
    flood,
    flood_in_silence,
    stall,
    stall_a_request,
    cut_memory,
    garbage,
    bad_version,
    descriptors,
    mutated,
    maps,
]


class Victim(threading.Thread):
    """A client whose disk must work all the time: it writes, reads back, and compares."""

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.disk = Disk(peer, shared=False)
        self.ended = threading.Event()
        self.verified = threading.Event()
        self.rounds = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.ended.is_set():
                self.verify()
        except BaseException as error:  # the test looks at it
            self.error = error
            self.verified.set()

    def wait_round(self) -> None:
        """Until it has verified something, or failed to."""
        self.verified.clear()
        assert self.verified.wait(LIMIT), "the victim is held up"

    def verify(self) -> None:
        disk = self.disk
        block, data = self.rounds * 16 % 256, os.urandom(8192)
        disk.store(disk.DATA, data)
        assert disk.transfer(WRITE, block, 16) == 0
        disk.store(disk.DATA, bytes(8192))
        assert disk.transfer(READ, block, 16) == 0
        assert disk.load(disk.DATA, 8192) == data
        self.rounds += 1
        self.verified.set()


@pytest.fixture
def two_devices(start: Callable[..., Process]) -> Process:
    process = start("edu", "socket=hostile", "--", "nvme", "size=1M", "socket=victim", "-q")
    process.warm_up("hostile")
    return process


@pytest.fixture
def victim(two_devices: Process) -> Iterator[Victim]:
    with Peer(two_devices.folder / "victim") as peer:
        thread = Victim(peer)
        thread.start()
        yield thread
        thread.ended.set()
        thread.join()
        thread.disk.close()


def attack(
    process: Process,
    number: int,
    rng: random.Random,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """One attack; meanwhile is called before the attacker leaves."""
    with Peer(process.folder / "hostile", False) as peer:
        with suppress(Hangup, BrokenPipeError, ErrorReply):
            ATTACKS[number % len(ATTACKS)](peer, rng)
        meanwhile()


def attack_many(process: Process, victim: Victim, rounds: range, rng: random.Random) -> None:
    for number in rounds:
        attack(process, number, rng, victim.wait_round)
        assert process.process.poll() is None, f"round {number}: {process.errors()[-2000:]}"
        assert victim.error is None, f"round {number}: {victim.error!r}"


def served_fds(process: Process) -> int:
    """Descriptors of the process while the victim and one more client are connected."""
    with Peer(process.folder / "hostile") as peer:
        assert peer.read(BAR0, EDU_ID, 4) == u32(EDU_ID_VALUE)
        return process.fd_count()


def test_attacks_on_one_device_do_not_reach_another(
    two_devices: Process, victim: Victim
) -> None:
    """A client that floods, stalls, lies and cuts its memory harms no other, and leaves nothing
    behind."""
    rng = random.Random(SEED)
    # First what is made once, and the most that the server ever holds: malloc() keeps some of that.
    for _ in range(5):
        with Peer(two_devices.folder / "hostile", False) as peer:
            flood_to_the_end(peer, rng)
    attack_many(two_devices, victim, range(10 * len(ATTACKS)), rng)
    fds, rss, verified = served_fds(two_devices), two_devices.rss(), victim.rounds
    attack_many(two_devices, victim, range(ROUNDS), rng)
    assert served_fds(two_devices) == fds
    if not is_sanitized():
        assert two_devices.rss() <= rss + GROWTH
    assert victim.rounds > verified
    assert victim.error is None


@pytest.mark.parametrize("number", range(len(ATTACKS)), ids=[a.__name__ for a in ATTACKS])
def test_attack_leaves_nothing_behind(start: Callable[..., Process], number: int) -> None:
    """After each kind of attack the next client is served, and descriptors are as before."""
    process = start("edu", "socket=hostile", "-q")
    process.warm_up("hostile")
    rng = random.Random(SEED)
    for _ in range(20):
        attack(process, number, rng)
        with Peer(process.folder / "hostile") as peer:
            assert peer.read(BAR0, EDU_ID, 4) == u32(EDU_ID_VALUE)
            wait_until(lambda: process.fd_count() == process.idle_fds + 1)

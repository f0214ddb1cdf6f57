# SPDX-License-Identifier: BSD-3-Clause
"""obctl on an edu device: probe, read, write, ping, trace, the command line and its documents."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Start
from obctl import OBCTL, Trace, bad, good, good_json, obctl
from outboard import BIN, LIMIT, REPO, is_sanitized, sockets_in, wait_until
from vfio_user import REGION_BAR0, Client, Memory

COMMANDS = ["probe", "read", "write", "ping", "trace", "nvme-io", "migrate"]
COMMANDS += ["list", "info", "add", "del", "resize", "stats", "events", "top", "qmp"]


@pytest.fixture
def edu(outboard: Start, folder: Path) -> Path:
    outboard("edu", "socket=a")
    return folder


def test_probe(edu: Path) -> None:
    text = good(edu, "probe", "a")
    for line in (
        "Unclassified device [00ff00]: 1234:11e8 (rev 10)",
        "Command: I/O- Mem- BusMaster- ParErr- SERR- DisINTx-",
        "Interrupt: pin A",
        "Region 0 (bar0): memory, 32-bit, non-prefetchable, 1 MiB, read, write",
        "Region 7 (config): 256 bytes, read, write",
        "Interrupts: INTx Count=1 EventFd+ Maskable+ AutoMasked+ NoResize-",
    ):
        assert line in text.splitlines()
    assert re.search(r"^Capabilities: \[..\] MSI: Enable- Count=1/1 .* 64bit\+", text, re.MULTILINE)
    assert re.search(r"^Capabilities: \[..\] Power Management: version 3 .* Status=D0", text, re.M)
    assert re.search(r"^Session: version 0\.1 .*max_data_xfer_size=1048576 .*write_multiple\+", text, re.M)


def test_probe_json(edu: Path) -> None:
    report = good_json(edu, "probe", "a")
    assert (report["pci"]["vendor"], report["pci"]["device"]) == (0x1234, 0x11E8)
    assert report["pci"]["command"]["bus_master"] is False
    assert {"MSI", "Power Management", "Advanced Features"} == {cap["name"] for cap in report["pci"]["capabilities"]}
    regions = {region["name"]: region for region in report["regions"]}
    assert regions["bar0"]["size"] == 1 << 20
    assert regions["bar0"]["writeable"] is True
    assert {irq["name"]: irq["count"] for irq in report["interrupts"]}["MSI"] == 1
    assert report["device"] == {"pci": True, "reset": True, "regions": 9, "irqs": 5}
    assert report["session"]["twin_socket"] is False


def test_probe_changes_nothing(edu: Path) -> None:
    good(edu, "write", "a", "config", "4", "6", "--size=2")
    good(edu, "write", "a", "bar0", "0x08", "5")
    before = good(edu, "read", "a", "config", "0", "--count=64")
    assert "Mem+ BusMaster+" in good(edu, "probe", "a")
    assert good(edu, "read", "a", "config", "0", "--count=64") == before


def test_twin_socket(edu: Path) -> None:
    assert good_json(edu, "probe", "a", "--twin-socket")["session"]["twin_socket"] is True


def test_read_and_write(edu: Path) -> None:
    assert good(edu, "read", "a", "bar0", "0") == "0x010000ed\n"
    good(edu, "write", "a", "0", "4", "0x12345678")
    assert good(edu, "read", "a", "bar0", "0x4") == "0xedcba987\n"
    assert good(edu, "read", "a", "config", "0", "--size", "2") == "0x1234\n"
    assert good(edu, "read", "a", "7", "2", "--size=1") == "0xe8\n"
    assert good_json(edu, "read", "a", "config", "0", "--size=2", "--count=2") == [0x1234, 0x11E8]
    dump = good(edu, "read", "a", "config", "0", "--count=8").splitlines()
    assert [line[:9] for line in dump] == ["00000000:", "00000010:"]
    assert dump[0].split()[1] == "11e81234"


@pytest.mark.parametrize(
    "words, said",
    [
        (["read", "a", "bar1", "0"], "read: the device has no bar1, but bar0, config"),
        (["write", "a", "bar5", "0", "1"], "write: the device has no bar5, but bar0, config"),
        (["read", "a", "77", "0"], "read: the device has no region 77, but bar0, config"),
        (["read", "a", "bar6", "0"], "bar0 to bar5, rom, config, vga or a number"),
        (["read", "a", "bar0", "0x100000"], "its size is 0x100000"),
        (["read", "a", "bar0", "-1"], "decimal or hexadecimal"),
        (["read", "a", "bar0", "0", "--size=3"], "1, 2, 4 or 8"),
        (["read", "a", "bar0"], "read SOCKET REGION OFFSET"),
        (["read", "a", "bar0", "0", "1"], "one word too many"),
        (["write", "a", "bar0", "0", "256", "--size=1"], "at most 0xff"),
        (["read", "b", "bar0", "0"], "b: No such file or directory"),
        (["read", "x" * 200, "bar0", "0"], "at most 107 bytes"),
        (["ping", "a", "--count"], "--count needs a value"),
        (["ping", "a", "--count=0"], "count=0"),
        (["ping", "a", "--cuont=1"], "did you mean '--count'?"),
        (["ping", "a", "--nothing"], "obctl ping --help"),
        (["pong", "a"], "did you mean 'ping'?"),
        (["dance", "a"], "obctl --help"),
        (["nvme-io", "a"], "does not look like an NVMe controller"),
        (["trace", "a", "a"], "is there already"),
    ],
)
def test_mistakes(edu: Path, words: list[str], said: str) -> None:
    assert said in bad(edu, *words)


def test_server_is_busy(edu: Path) -> None:
    with Client(edu / "a"):
        assert "does it serve another client?" in bad(edu, "probe", "a")
    assert "1234:11e8" in good(edu, "probe", "a")


def test_nobody_listens(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "keep"))
    assert "nobody listens" in bad(folder, "probe", "keep")


def test_server_that_does_not_answer(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "keep"))
        sock.listen()
        assert "no answer within 50 ms" in bad(folder, "probe", "keep", "--timeout=50")


@pytest.mark.parametrize("how", [[], ["--poll"]])
def test_ping(edu: Path, how: list[str]) -> None:
    times = good_json(edu, "ping", "a", "--count=200", *how)
    assert times["count"] == 200
    names = ["min", "median", "p90", "p99", "p99_9", "max"]
    values = [times[f"{name}_ns"] for name in names]
    assert values == sorted(values)
    assert values[0] > 0
    text = good(edu, "ping", "a", "--count=10", *how)
    assert re.match(r"10 round trips.*: min [0-9.]+  median .*p99\.9 .* us\n", text)


@pytest.mark.parametrize("operation", ["read", "write", "post", "multi"])
@pytest.mark.parametrize("depth", [1, 32])
def test_ping_operations(edu: Path, operation: str, depth: int) -> None:
    good(edu, "write", "a", "config", "0x3c", "0x5a", "--size=1")
    words = [f"--operation={operation}", f"--depth={depth}", "--count=50"]
    times = good_json(edu, "ping", "a", *words)
    assert (times["operation"], times["depth"], times["count"]) == (operation, depth, 50)
    assert good(edu, "read", "a", "config", "0x3c", "--size=1") == "0x5a\n"


@pytest.fixture
def trace(edu: Path) -> Iterator[Trace]:
    process = Trace(edu, "a", "--pcap=capture")
    yield process
    if process.process.poll() is None:
        process.process.kill()
        process.process.wait()


def read_capture(path: Path) -> list[tuple[bytes, bytes]]:
    """Pseudo-header and message of each packet."""
    data = path.read_bytes()
    magic, major, minor, _, _, snap, link = struct.unpack_from("<IHHIIII", data)
    assert (magic, major, minor, link) == (0xA1B23C4D, 2, 4, 147)
    packets, at = [], 24
    while at < len(data):
        _, nanoseconds, captured, length = struct.unpack_from("<IIII", data, at)
        assert nanoseconds < 10**9
        assert captured == length <= snap
        packets.append((data[at + 16 : at + 24], data[at + 24 : at + 16 + length]))
        at += 16 + length
    return packets


def test_trace(trace: Trace, edu: Path) -> None:
    memory = Memory(0x10000)
    with Client(trace.socket) as client:
        client.dma_map(0x100000, 0x10000, memory.fd)
        client.write32(REGION_BAR0, 4, 0x12345678)
        assert client.read32(REGION_BAR0, 4) == 0xEDCBA987
        # The descriptor came through: the device reads and writes that memory.
        memory.write(0, b"through the trace")
        client.write(7, 4, b"\x06\x00")
        for source, destination, command in ((0x100000, 0x40000, 1), (0x40000, 0x108000, 3)):
            client.write64(REGION_BAR0, 0x80, source)
            client.write64(REGION_BAR0, 0x88, destination)
            client.write64(REGION_BAR0, 0x90, 17)
            client.write64(REGION_BAR0, 0x98, command)
            while client.read64(REGION_BAR0, 0x98) & 1:
                pass
        assert memory.read(0x8000, 17) == b"through the trace"
    memory.close()
    # The next client, after the first.
    assert "1234:11e8" in good(edu, "probe", "traced")
    lines = trace.stop()
    decoded = [re.sub(r"^ +[0-9.]+ ", "", line) for line in lines]
    assert '> #1 VERSION major=0 minor=0 {"capabilities"' in decoded[0]
    assert decoded[1].startswith("< #1 VERSION reply major=0 minor=0 {")
    assert decoded[2] == "> #2 DMA_MAP fds=1 flags=0x3 address=0x100000 size=0x10000 offset=0x0"
    assert decoded[3] == "< #2 DMA_MAP reply"
    assert decoded[4] == "> #3 REGION_WRITE region=bar0 offset=0x4 count=4 data=78563412"
    assert decoded[5] == "< #3 REGION_WRITE reply region=bar0 offset=0x4 count=4"
    assert decoded[7] == "< #4 REGION_READ reply region=bar0 offset=0x4 count=4 data=87a9cbed"
    packets = read_capture(edu / "capture")
    assert len(packets) == len(lines)
    assert [pseudo[:4] for pseudo, _ in packets[:3]] == [b"\1\0\0\0", b"\1\1\0\0", b"\1\0\0\1"]
    for _, message in packets:
        assert struct.unpack_from("<HHI", message)[2] == len(message)


def test_trace_json_and_errors(edu: Path) -> None:
    trace = Trace(edu, "a", "--json")
    bad(edu, "read", "traced", "bar0", "0x100000")
    messages = [json.loads(line) for line in trace.stop()]
    reply = next(m for m in messages if m["command"] == "REGION_READ" and m["type"] == "reply")
    assert (reply["from"], reply["socket"], reply["error"]) == ("server", "main", 22)
    assert reply["error_text"] == "Invalid argument"
    assert [m["time"] for m in messages] == sorted(m["time"] for m in messages)


def test_trace_passes_the_twin_socket_on(edu: Path) -> None:
    trace = Trace(edu, "a")
    assert good_json(edu, "probe", "traced", "--twin-socket")["session"]["twin_socket"] is True
    assert any("VERSION reply fds=1" in line for line in trace.stop())


def test_trace_of_nonsense(edu: Path) -> None:
    trace = Trace(edu, "a")
    with Client(trace.socket) as client:
        client.send(struct.pack("<HHIII", 9, 777, 20, 2, 0) + b"abcd")
        # The server hangs up, and the tracer with it.
        client.sock.recv(1)
    good(edu, "probe", "traced")
    assert any("#9 unknown command (777) neither data=61626364" in line for line in trace.stop())


def test_capture_on_standard_output(edu: Path) -> None:
    """Packets come as they pass, and lines are elsewhere."""
    with open(edu / "lines", "wb") as lines:
        process = subprocess.Popen(
            [str(OBCTL), "trace", "a", "traced", "--once", "--pcap", "-"],
            cwd=edu, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=lines,
        )  # fmt: skip
    assert process.stdout
    with process.stdout as output:
        wait_until((edu / "traced").exists)
        with Client(edu / "traced") as client:
            client.read32(REGION_BAR0, 0)
            # While the client is there: all up to the reply.
            seen = b""
            while b"\xed\x00\x00\x01" not in seen:
                seen += output.read1()
        seen += output.read()
    assert process.wait(LIMIT) == 0
    (edu / "capture").write_bytes(seen)
    packets = read_capture(edu / "capture")
    assert len(packets) == 4
    assert len((edu / "lines").read_text().splitlines()) == 4


def test_trace_once_and_quiet(edu: Path) -> None:
    trace = Trace(edu, "a", "--once", "--quiet", "--pcap=capture")
    good(edu, "read", "traced", "bar0", "0")
    assert trace.process.wait(10) == 0
    assert trace.output.read_text() == ""
    assert len(read_capture(edu / "capture")) == 4
    assert not trace.socket.exists()


PROGRAM = """
#include <outboard/client.h>
#include <stdio.h>

int main(int argc, char **argv)
{
	struct ob_error err = {0};
	struct ob_client *client;
	uint64_t value;

	if (argc != 2 || ob_client_connect(argv[1], NULL, &client, &err)) {
		fprintf(stderr, "%s\\n", err.message);
		return 1;
	}
	if (ob_client_read_value(client, OB_REGION_BAR0, 0, 4, &value))
		return 1;
	printf("%llx\\n", (unsigned long long)value);
	ob_client_free(client);
	return 0;
}
"""


def test_library(edu: Path) -> None:
    """A program that has the header and the shared library and nothing else."""
    if is_sanitized():
        pytest.skip("the program would have to be sanitized too")
    (edu / "program.c").write_text(PROGRAM)
    subprocess.run(
        ["cc", "-Wall", "-Wextra", "-Werror", f"-I{REPO}/include", "program.c", "-o", "program",
         f"-L{BIN.parent}", f"-Wl,-rpath,{BIN.parent}", "-loutboard-client"],
        cwd=edu,
        check=True,
    )  # fmt: skip
    result = subprocess.run(["./program", "a"], cwd=edu, capture_output=True, text=True, check=True)
    assert result.stdout == "10000ed\n"
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", str(BIN.parent / "liboutboard-client.so")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    names = {line.split()[-1].split("@")[0] for line in symbols if line}
    header = (REPO / "include" / "outboard" / "client.h").read_text()
    declared = set(re.findall(r"\b(ob_client_\w+)\(", header))
    assert declared <= names
    assert names - declared == {"OUTBOARD_CLIENT_0", "ob_error_set", "ob_error_prefix"}


def test_trace_replaces_a_socket_that_nobody_holds(edu: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(edu / "traced"))
    trace = Trace(edu, "a")
    wait_until(lambda: obctl(edu, "read", "traced", "bar0", "0").returncode == 0)
    assert trace.stop()
    assert {path.name for path in sockets_in(edu)} == {"a"}


def test_help_and_manual_page(folder: Path) -> None:
    manual = (REPO / "docs" / "man" / "obctl.1.rst").read_text()
    summary = good(folder, "--help")
    assert good(folder, "--version").startswith("obctl ")
    assert re.findall(r"^  ([a-z-]+) ", summary, re.MULTILINE) == COMMANDS
    for command in COMMANDS:
        text = good(folder, command, "--help")
        assert text.startswith(f"Usage: obctl {command} ")
        options = re.findall(r"^  --([a-z-]+)", text, re.MULTILINE)
        assert options
        for option in options:
            assert f"**--{option}**" in manual
    result = obctl(folder)
    assert result.returncode == 1
    assert result.stderr == summary


COMPLETIONS = [
    ("obctl|", {*COMMANDS, "-s", "--help", "--version"}),
    ("obctl|pr", {"probe"}),
    ("obctl|trace|a|b|--p", {"--pcap"}),
    ("obctl|read|a|bar", {f"bar{n}" for n in range(6)}),
    ("obctl|nvme-io|a|--doorbells|=|m", {"mmap", "mmap-shadow", "message"}),
    ("obctl|nvme-io|--interrupts|ms", {"msix"}),
    ("obctl|write|--size|=|4|a|co", {"config"}),
    ("obctl|migrate|du", {"dump"}),
    ("obctl|migrate|--json|sa", {"save"}),
]


@pytest.mark.parametrize("line, expected", COMPLETIONS)
def test_completion(folder: Path, line: str, expected: set[str]) -> None:
    words = line.split("|")
    script = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        '_obctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    completion = REPO / "packaging" / "completion" / "obctl.bash"
    result = subprocess.run(
        ["bash", "-c", script, "bash", str(completion), str(OBCTL), *words[1:]],
        cwd=folder / "run",
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(result.stdout.split()) == expected
    assert result.stderr == ""

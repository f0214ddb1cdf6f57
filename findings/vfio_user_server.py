# SPDX-License-Identifier: BSD-3-Clause
#
# The smallest vfio-user server that QEMU takes, for the findings about QEMU's client: a PCI device
# without BARs and interrupts that notes what it is sent and does nothing. Beside it: a QEMU in front of
# it, and what talks to QEMU.

import array
import json
import os
import socket
import struct
import subprocess
import threading
import time

COMMANDS = {1: "VERSION", 2: "DMA_MAP", 3: "DMA_UNMAP", 4: "GET_INFO", 5: "GET_REGION_INFO",
            6: "GET_REGION_IO_FDS", 7: "GET_IRQ_INFO", 8: "SET_IRQS", 9: "REGION_READ",
            10: "REGION_WRITE", 11: "DMA_READ", 12: "DMA_WRITE", 13: "RESET",
            15: "REGION_WRITE_MULTI", 16: "DEVICE_FEATURE"}
CONFIG_REGION = 7
ERROR_IRQ = 3
REPLY, ERROR, NO_REPLY = 0x1, 0x20, 0x10


class Server:
    """Serves one client on a socket at path; messages holds the names of all commands so far."""

    def __init__(self, path):
        self.messages = []
        self.replies = []  # (message, command, body) to what we asked
        self.pause = 0  # seconds before the body of a reply is read
        self.received = 0  # bytes of the message that is being read
        self.maps = {}  # address: (size, offset in the file, descriptor or None)
        self.config = bytearray(256)
        struct.pack_into("<HHHHBBH", self.config, 0, 0x1b36, 0x00ff, 0, 0, 0, 0, 0xff00)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def receive(self, size):
        data = b""
        while len(data) < size:
            self.received = len(data)
            more, control, _, _ = self.client.recvmsg(size - len(data), socket.CMSG_SPACE(16 * 4))
            if not more:
                return None
            for _, _, fds in control:
                self.fds.extend(array.array("i", fds))
            data += more
        return data

    def serve(self):
        self.client, _ = self.listener.accept()
        while True:
            self.fds = []
            header = self.receive(16)
            if header is None:
                return
            message, command, size, flags, _ = struct.unpack("<HHIII", header)
            if flags & 0xf == REPLY:
                time.sleep(self.pause)
            body = self.receive(size - 16) if size > 16 else b""
            if body is None:
                return
            if flags & 0xf == REPLY:
                self.replies.append((message, command, body))
                continue
            name = COMMANDS.get(command, str(command))
            self.messages.append(name)
            reply = getattr(self, name.lower(), lambda body: None)(body)
            if flags & NO_REPLY:
                continue
            failed = reply is None
            self.client.sendall(struct.pack(
                "<HHIII", message, command, 16 + len(reply or b""),
                REPLY | (ERROR if failed else 0), 95 if failed else 0) + (reply or b""))

    def ask(self, message, command, body):
        self.client.sendall(struct.pack("<HHIII", message, command, 16 + len(body), 0, 0) + body)

    def version(self, body):
        capabilities = {"max_msg_fds": 8, "migration": {"pgsize": 4096}}
        return body[:4] + json.dumps({"capabilities": capabilities}).encode() + b"\0"

    def dma_map(self, body):
        _, _, offset, address, size = struct.unpack_from("<IIQQQ", body)
        self.maps[address] = size, offset, self.fds[0] if self.fds else None
        return b""

    def dma_unmap(self, body):
        start, size = struct.unpack_from("<QQ", body, 8)
        for address in [a for a in self.maps if start <= a < start + size]:
            del self.maps[address]
        return body

    def get_info(self, body):
        return struct.pack("<IIII", 16, 0x3, 9, 5)  # can be reset, is PCI

    def get_region_info(self, body):
        index, = struct.unpack_from("<I", body, 8)
        is_config = index == CONFIG_REGION
        return struct.pack("<IIIIQQ", 32, 0x3 if is_config else 0, index, 0,
                           len(self.config) if is_config else 0, 0)

    def get_irq_info(self, body):
        index, = struct.unpack_from("<I", body, 8)
        is_error = index == ERROR_IRQ  # without it QEMU warns
        return struct.pack("<IIII", 16, 0x1 if is_error else 0, index, int(is_error))

    def set_irqs(self, body):
        return b""

    def reset(self, body):
        return b""

    def region_read(self, body):
        offset, _, count = struct.unpack_from("<QII", body)
        return body[:16] + bytes(self.config[offset:offset + count]).ljust(count, b"\0")

    def region_write(self, body):
        return body[:16]


class Lines:
    """A connection to one of QEMU's line protocols."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.file = self.socket.makefile("r")

    def ask(self, line):
        self.socket.sendall(line.encode() + b"\n")
        return self.file.readline()


class Qmp(Lines):
    def __init__(self, path):
        super().__init__(path)
        self.file.readline()
        self("qmp_capabilities")

    def __call__(self, command, **arguments):
        reply = json.loads(self.ask(json.dumps({"execute": command, "arguments": arguments})))
        while "event" in reply:
            reply = json.loads(self.file.readline())
        return reply


class Qemu:
    """$QEMU without a processor, in front of a server of its own; all files are name.something."""

    def __init__(self, name, memory, *options):
        self.server = Server(name + ".server")
        device = {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": name + ".server"}}
        self.process = subprocess.Popen([
            os.environ["QEMU"], "-accel", "qtest", "-machine", "q35,memory-backend=memory",
            "-m", "64M", "-object", memory + ",id=memory,size=64M", "-nodefaults", "-display", "none",
            "-device", json.dumps(device), "-qtest", f"unix:{name}.qtest,server=on,wait=off",
            "-qtest-log", "/dev/null", "-qmp", f"unix:{name}.qmp,server=on,wait=off", *options])
        # QMP answers when the machine is made.
        self.qmp = self.when_there(Qmp, name + ".qmp")
        self.qtest = self.when_there(Lines, name + ".qtest")

    def when_there(self, kind, path):
        while self.process.poll() is None:
            try:
                return kind(path)
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.05)
        raise SystemExit("QEMU did not start")

    def end(self):
        self.process.terminate()
        self.process.wait()

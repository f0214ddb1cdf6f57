# SPDX-License-Identifier: BSD-3-Clause
"""A small QMP client for tests. It can send bytes that are no QMP at all, and holds everything that
it hears against the schema that the server itself tells (query-qmp-schema)."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from outboard import LIMIT, wait_until

BUILT_IN = {"string": str, "int": int, "boolean": bool, "value": object}


class QmpError(Exception):
    def __init__(self, error: dict[str, str]) -> None:
        super().__init__(f"{error['class']}: {error['desc']}")
        self.kind = error["class"]
        self.desc = error["desc"]


class Schema:
    """Judges replies and events by what query-qmp-schema says."""

    def __init__(self, infos: list[dict[str, Any]]) -> None:
        self.types = {info["name"]: info for info in infos if info["meta-type"] not in ("command", "event")}
        self.commands = {info["name"]: info for info in infos if info["meta-type"] == "command"}
        self.events = {info["name"]: info for info in infos if info["meta-type"] == "event"}
        assert len(infos) == len(self.types) + len(self.commands) + len(self.events)

    def check(self, name: str, value: Any, where: str) -> None:
        info = self.types[name]
        kind = info["meta-type"]
        if kind == "builtin":
            wanted = BUILT_IN[info["json-type"]]
            assert isinstance(value, wanted), where
            assert wanted is not int or not isinstance(value, bool), where
        elif kind == "enum":
            assert value in info["values"], where
        elif kind == "array":
            assert isinstance(value, list), where
            for element in value:
                self.check(info["element-type"], element, f"{where}[]")
        else:
            self.check_object(info, value, where)

    def check_object(self, info: dict[str, Any], value: Any, where: str) -> None:
        assert isinstance(value, dict), where
        members = {member["name"]: member for member in info["members"]}
        assert set(value) <= set(members), f"{where}: {set(value) - set(members)}"
        for name, member in members.items():
            if name in value:
                self.check(member["type"], value[name], f"{where}.{name}")
            else:
                assert "default" in member, f"{where}: no {name}"

    def check_reply(self, command: str, value: Any) -> None:
        self.check(self.commands[command]["ret-type"], value, command)

    def check_event(self, event: dict[str, Any]) -> None:
        assert set(event) <= {"timestamp", "event", "data"}
        assert abs(event["timestamp"]["seconds"] - time.time()) < 600
        assert 0 <= event["timestamp"]["microseconds"] < 1000000
        self.check(self.events[event["event"]]["arg-type"], event.get("data", {}), event["event"])


class Qmp:
    """A connection. With negotiate, commands can be given at once, and all that is heard is judged."""

    def __init__(self, where: Path | str | socket.socket, negotiate: bool = True) -> None:
        self.events: list[dict[str, Any]] = []
        self.schema: Schema | None = None
        self.buffer = b""
        self.started = ""
        if isinstance(where, socket.socket):
            self.socket = where
        else:
            wait_until(Path(where).exists)
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(where))
        self.socket.settimeout(LIMIT)
        self.greeting = self.receive() if negotiate else {}
        if negotiate:
            assert set(self.greeting) == {"QMP"}
            self.execute("qmp_capabilities")
            self.schema = Schema(self.execute("query-qmp-schema"))

    def __enter__(self) -> Qmp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> dict[str, Any]:
        """The next message, whatever it is. EOFError after the last one."""
        while b"\n" not in self.buffer:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r") and line.isascii()
        message = json.loads(line)
        if self.schema and "event" in message:
            self.schema.check_event(message)
        return message

    def receive_reply(self) -> dict[str, Any]:
        """The next reply; events are kept."""
        while True:
            message = self.receive()
            if "event" not in message:
                return message
            self.events.append(message)

    def execute(self, command: str, **arguments: Any) -> Any:
        """'_' in names of commands and arguments stands for itself; '-' is written as '__'."""
        self.start(command, **arguments)
        return self.finish()

    def start(self, command: str, **arguments: Any) -> None:
        """The same in two steps: finish() has the reply."""
        request: dict[str, Any] = {"execute": command, "id": {"for": command}}
        if arguments:
            request["arguments"] = {name.replace("__", "-"): value for name, value in arguments.items()}
        self.send(json.dumps(request).encode())
        self.started = command

    def finish(self) -> Any:
        command = self.started
        reply = self.receive_reply()
        assert reply.pop("id") == {"for": command}
        if "error" in reply:
            raise QmpError(reply["error"])
        assert set(reply) == {"return"}
        if self.schema:
            self.schema.check_reply(command, reply["return"])
        return reply["return"]

    def wait_event(self, name: str) -> dict[str, Any]:
        """The data of the next event with that name; those before it are dropped."""
        while True:
            event = self.events.pop(0) if self.events else self.receive()
            if event.get("event") == name:
                return event.get("data", {})

    def hmp(self, line: str) -> str:
        return self.execute("human-monitor-command", command__line=line)

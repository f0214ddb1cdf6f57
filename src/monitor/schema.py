# SPDX-License-Identifier: BSD-3-Clause
"""What comes of schema.json, so that code, introspection and manual say the same:

    schema.py header SCHEMA OUTPUT           prototypes of the commands' functions
    schema.py code SCHEMA OUTPUT             the tables of schema.h
    schema.py manual SCHEMA INPUT OUTPUT     a page, with the line ".. schema" replaced

A name that the schema uses but does not have is an error, and so is a type that nothing uses.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

BUILT_IN = {"str": "string", "int": "int", "bool": "boolean", "any": "value"}
ARG_TYPES = {"str": "ARG_STR", "int": "ARG_INT", "bool": "ARG_BOOL", "any": "ARG_ANY"}
NOTICE = "/* Made by schema.py from schema.json. */\n"

Members = dict[str, list[str]]


class Schema:
    def __init__(self, path: str) -> None:
        parts = json.loads(Path(path).read_text())
        self.enums: dict[str, dict] = parts["enums"]
        self.types: dict[str, dict] = parts["types"]
        self.commands: dict[str, dict] = parts["commands"]
        self.events: dict[str, dict] = parts["events"]
        self.infos: list[dict] = []
        self.numbers: dict[str, str] = {}
        self.introspect()
        unused = {*self.enums, *self.types} - {*self.numbers}
        if unused:
            sys.exit(f"{path}: nothing uses {', '.join(sorted(unused))}")

    def number(self, key: str) -> str:
        """The name that introspection has for a type of ours: a number, as with QEMU."""
        return self.numbers.setdefault(key, str(len(self.numbers)))

    def reach(self, name: str) -> str:
        """Adds a type to what introspection tells, and returns its name there."""
        if name.startswith("["):
            element = self.reach(name[1:-1])
            listed = f"[{element}]"
            self.add({"name": listed, "meta-type": "array", "element-type": element})
            return listed
        if name in BUILT_IN:
            self.add({"name": name, "meta-type": "builtin", "json-type": BUILT_IN[name]})
            return name
        if name in self.numbers:
            return self.numbers[name]
        number = self.number(name)
        if name in self.enums:
            values = self.enums[name]["values"]
            members = [{"name": value} for value in values]
            self.add({"name": number, "meta-type": "enum", "members": members, "values": values})
        elif name in self.types:
            self.add_object(number, self.types[name]["members"])
        else:
            sys.exit(f"schema: there is no type {name}")
        return number

    def add(self, info: dict) -> None:
        if info not in self.infos:
            self.infos.append(info)

    def add_object(self, number: str, members: Members) -> None:
        described = []
        for name, (kind, _) in members.items():
            member: dict = {"name": name.lstrip("*"), "type": self.reach(kind)}
            if name.startswith("*"):
                member["default"] = None
            described.append(member)
        self.add({"name": number, "meta-type": "object", "members": described})

    def anonymous(self, key: str, members: Members) -> str:
        """The type of a command's arguments, an event's data, or of {}."""
        number = self.number(key if members else "")
        self.add_object(number, members)
        return number

    def introspect(self) -> None:
        for name, command in self.commands.items():
            arg = self.anonymous(f"args of {name}", command.get("args", {}))
            ret = self.reach(command["returns"]) if "returns" in command else self.anonymous("", {})
            info = {"name": name, "meta-type": "command", "arg-type": arg, "ret-type": ret}
            self.infos.append(info)
        for name, event in self.events.items():
            arg = self.anonymous(f"data of {name}", event.get("data", {}))
            self.infos.append({"name": name, "meta-type": "event", "arg-type": arg})


def quoted(text: str) -> str:
    return json.dumps(text)


def function(command: str) -> str:
    return "qmp_" + command.replace("-", "_")


def header(schema: Schema) -> str:
    lines = [NOTICE, '#include "schema.h"', ""]
    lines += [f"command_fn {function(name)};" for name in schema.commands]
    return "\n".join(lines) + "\n"


def argument(schema: Schema, name: str, kind: str) -> str:
    optional = "true" if name.startswith("*") else "false"
    is_list = "true" if kind.startswith("[") else "false"
    element = kind.strip("[]")
    values = "NULL"
    if element in schema.enums:
        words = ", ".join(map(quoted, schema.enums[element]["values"]))
        values = f"(const char *const[]){{{words}, NULL}}"
    elif element not in ARG_TYPES:
        sys.exit(f"schema: an argument cannot be of type {kind}")
    code = ARG_TYPES.get(element, "ARG_ENUM")
    return f"\t{{{quoted(name.lstrip('*'))}, {code}, {optional}, {is_list}, {values}}},"


def code(schema: Schema) -> str:
    lines = [NOTICE, '#include "commands_made.h"', "", "#include <stddef.h>", ""]
    rows = []
    for name, command in schema.commands.items():
        args = command.get("args", {})
        table = "NULL"
        if args:
            table = f"args_of_{function(name)}"
            lines.append(f"static const struct arg {table}[] = {{")
            lines += [argument(schema, arg, kind) for arg, (kind, _) in args.items()]
            lines.append("};")
        is_open = "true" if command.get("open") else "false"
        rows.append(f"\t{{{quoted(name)}, {function(name)}, {table}, {len(args)}, {is_open}}},")
    lines += ["const struct command monitor_commands[] = {", *rows, "\t{0},", "};", ""]
    lines.append("const char *const monitor_events[] = {")
    lines += [f"\t{quoted(name)}," for name in schema.events]
    lines += ["\tNULL,", "};", "", "const char monitor_schema[] ="]
    infos = [json.dumps(info, separators=(",", ":")) for info in schema.infos]
    texts = ["[" + infos[0], *("," + info for info in infos[1:]), "]"]
    lines += [f"\t{quoted(text)}" for text in texts]
    return "\n".join(lines) + ";\n"


def escape(text: str) -> str:
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def members_text(members: Members) -> list[str]:
    lines = []
    for name, (kind, doc) in members.items():
        optional = ", optional" if name.startswith("*") else ""
        lines += [f"    **{escape(name.lstrip('*'))}** (*{escape(kind)}*\\ {optional})"]
        lines += [f"        {escape(doc)}" if doc else "        \\ ", ""]
    return lines


def entry(name: str, thing: dict, members: str, extra: str = "") -> list[str]:
    text = escape(thing["doc"]) + extra
    return [f"**{escape(name)}**", f"    {text}", "", *members_text(thing.get(members, {}))]


def title(text: str) -> list[str]:
    return [text, "=" * len(text), ""]


def manual(schema: Schema, page: str) -> str:
    lines = title("Commands")
    for name, command in schema.commands.items():
        returns = f" Returns *{escape(command['returns'])}*." if "returns" in command else ""
        more = " Further arguments are properties." if command.get("open") else ""
        lines += entry(name, command, "args", more + returns)
    lines += title("Events")
    for name, event in schema.events.items():
        lines += entry(name, event, "data")
    lines += title("Types")
    for name, enum in schema.enums.items():
        lines += entry(name, enum, "", " One of: " + ", ".join(enum["values"]) + ".")
    for name, struct in schema.types.items():
        lines += entry(name, struct, "members")
    before, after = page.split("\n.. schema\n")
    return "\n".join([before, "", *lines, after])


def main() -> None:
    what, source, *files = sys.argv[1:]
    schema = Schema(source)
    if what == "header":
        text = header(schema)
    elif what == "code":
        text = code(schema)
    else:
        text = manual(schema, Path(files[0]).read_text())
    Path(files[-1]).write_text(text)


main()

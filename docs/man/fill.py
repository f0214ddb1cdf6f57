# SPDX-License-Identifier: BSD-3-Clause
"""Makes outboard.1.rst whole: puts what `outboard --list --json` says of models and block drivers in
the place of the line ".. properties", so that the page can't fall behind the program. The server's
properties are described by hand: one that is not is an error.

Usage: fill.py OUTBOARD INPUT OUTPUT
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ARGUMENTS = {
    "bool": "on\\|off",
    "number": "NUMBER",
    "size": "SIZE",
    "string": "TEXT",
    "block-nodes": "NODE",
    "chardev": "CHARDEV",
}
NO_BOUND = 1 << 62


def escape(text: str) -> str:
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def argument(prop: dict) -> str:
    return "\\|".join(prop["choices"]) if prop["type"] == "enum" else ARGUMENTS[prop["type"]]


def bounds(prop: dict) -> str:
    if prop.get("max", NO_BOUND) >= NO_BOUND:
        return ""
    if prop["type"] == "string":
        return f"; at most {prop['max']} characters"
    return f"; {prop.get('min', 0)} to {prop['max']}"


def describe(prop: dict) -> str:
    default = f" (default: {escape(prop['default'])})" if "default" in prop else ""
    text = escape(prop["help"]) + bounds(prop) + default
    return f"**{prop['name']}=**\\ *{argument(prop)}*\n    {text}\n"


def section(kind: str, thing: dict) -> str:
    head = f"{kind} **{thing['name']}**: {escape(thing['summary'])}\n"
    return "\n".join([head, *map(describe, thing["properties"])])


def main() -> None:
    outboard, source, target = sys.argv[1:]
    known = json.loads(subprocess.check_output([outboard, "--list", "--json"]))
    page = Path(source).read_text()
    for prop in known["objects"][0]["properties"]:
        if f"{prop['name']}=" not in page:
            sys.exit(f"{source}: the server's property {prop['name']} is not described")
    sections = [section("Model", model) for model in known["models"]]
    sections += [section("Part of a device", part) for part in known["parts"]]
    sections += [section("Block driver", driver) for driver in known["block-drivers"]]
    sections += [section("Any", node) for node in known["block-nodes"]]
    before, after = page.split("\n.. properties\n")
    Path(target).write_text("\n".join([before, *sections, after]))


main()

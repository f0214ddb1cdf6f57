# SPDX-License-Identifier: BSD-3-Clause
"""The client library's header in C++: as it is included there, and with C's names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from outboard import REPO

PROGRAM = """\
#include <outboard/client.h>
#include <outboard/client.h>

int read_id(const char *path)
{
	ob_error err = {};
	ob_client *client = nullptr;
	uint32_t id = 0;

	if (!client)
		return ob_error_set(&err, -1, "no client for %s", path);
	return ob_client_read(client, OB_REGION_BAR0, 0, &id, sizeof(id));
}
"""


@pytest.mark.parametrize("standard", ["c++11", "c++20"])
def test_client_header(tmp_path: Path, standard: str) -> None:
    if not shutil.which("g++"):
        pytest.skip("g++ is not there: apt install g++")
    source, compiled = tmp_path / "client.cc", tmp_path / "client.o"
    source.write_text(PROGRAM)
    words = [f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{REPO / 'include'}"]
    result = subprocess.run(
        ["g++", *words, "-c", source, "-o", compiled], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    names = subprocess.run(["nm", "-u", compiled], capture_output=True, text=True, check=True).stdout.split()
    assert "ob_client_read" in names and "ob_error_set" in names

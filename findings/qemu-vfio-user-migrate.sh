#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# QEMU migrates a machine with a vfio-user-pci device, says "completed", and leaves the device behind.
#
# A device whose state QEMU cannot move is to block `migrate` with an error, as vfio-pci does when the
# kernel's driver cannot migrate, and -only-migratable is to refuse it from the start. vfio-user-pci does
# neither, and it asks the server for nothing, though this one says in VERSION that it can migrate: no
# DEVICE_FEATURE ever, and no message at all during `migrate`. Both sides then report "completed", with
# vfio's count of bytes at 0, and the guest goes on with a device that was just reset. Who runs such
# machines has to see to it that they are not migrated.
#
# Source: what is seen below. Two QEMU run without a processor (-accel qtest), each in front of a server
# that notes what it is sent (vfio_user_server.py; it would answer DEVICE_FEATURE with an error).
#
# Expected by a reader of QEMU's manual: an error that names the device, or that its state is moved.
# Seen (QEMU 11.1.3): "completed", and no message; with -only-migratable as well.

set -euo pipefail

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# shellcheck source=findings/qemu-root.sh
. "$here/qemu-root.sh"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
(get_qemu "$dir" 11.1.3) # which has a trap of its own

cd "$dir"
QEMU=$dir/qemu PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 python3 - <<'END_OF_PYTHON'
import sys
import time
from vfio_user_server import Qemu

MEMORY = "memory-backend-memfd,share=on"
source = Qemu("source", MEMORY, "-only-migratable")
target = Qemu("target", MEMORY, "-incoming", "unix:migration")
try:
    assert "RESET" in source.server.messages and "RESET" in target.server.messages
    before = [len(qemu.server.messages) for qemu in (source, target)]
    answer = source.qmp("migrate", uri="unix:migration")
    state = source.qmp("query-migrate")["return"]
    while "error" not in answer and state.get("status") not in ("completed", "failed"):
        time.sleep(0.1)
        state = source.qmp("query-migrate")["return"]
    target_state = target.qmp("query-migrate")["return"]
    asked = any("DEVICE_FEATURE" in qemu.server.messages for qemu in (source, target))
    sent = [qemu.server.messages[n:] for qemu, n in zip((source, target), before)]
finally:
    source.end()
    target.end()

print(f"migrate        expected: an error, or the device's state moved; seen: {answer}")
print(f"query-migrate  seen at the source: {state.get('status')}, vfio: {state.get('vfio')}; "
      f"at the target: {target_state.get('status')}")
print(f"messages       before: {before[0]} and {before[1]}; "
      f"since then: to the source's server {sent[0]}, to the target's {sent[1]}")
if (answer == {"return": {}} and state.get("status") == "completed"
        and state.get("vfio") == {"transferred": 0} and sent == [[], []] and not asked):
    print("as found: migrate completes without the device, and does not say so")
else:
    print("this is no longer what was seen: completed, 0 bytes, no message to either server")
    sys.exit(1)
END_OF_PYTHON

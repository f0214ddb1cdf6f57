# SPDX-License-Identifier: BSD-3-Clause
"""The installed units under systemd, as "As a service" in outboard.conf(5) says."""

from __future__ import annotations

from conftest import Machine, wait_until


def disk(name: str, where: str, *more: str) -> str:
    lines = [f'[nvme "{name}"]', where, f"socket = /run/outboard/{name}/d0.sock", *more]
    return "\n".join(lines) + "\n"


def test_runs_without_rights(machine: Machine) -> None:
    machine.start("plain", disk("plain", "size = 16M"))
    machine.run("obctl", "ping", "/run/outboard/plain/d0.sock")
    status = machine.run("cat", f"/proc/{machine.show('plain', 'MainPID')}/status")
    user = machine.run("id", "-u", "outboard")
    assert user != "0"
    assert f"\nUid:\t{user}\t{user}\t{user}\t{user}\n" in status
    for kind in ("Prm", "Eff", "Bnd", "Amb"):
        assert f"\nCap{kind}:\t{0:016x}\n" in status
    assert "\nNoNewPrivs:\t1\n" in status
    before = machine.show("plain", "MainPID")
    machine.run("systemctl", "reload", "outboard@plain")
    machine.run("obctl", "ping", "/run/outboard/plain/d0.sock")
    assert machine.show("plain", "MainPID") == before
    machine.run("systemctl", "stop", "outboard@plain")
    assert machine.show("plain", "Result") == "success"
    machine.shell("! test -e /run/outboard/plain")


def test_comes_back_after_a_crash(machine: Machine) -> None:
    machine.shell("truncate -s 16M /var/lib/vm.img")  # the folder is made by the first start
    machine.start("crash", disk("crash", "size = 1M"))
    machine.run("systemctl", "stop", "outboard@crash")
    machine.shell("mv /var/lib/vm.img /var/lib/outboard; chown outboard: /var/lib/outboard/vm.img")
    machine.start("crash", disk("crash", "file = /var/lib/outboard/vm.img"))
    io = ("obctl", "nvme-io", "/run/outboard/crash/d0.sock", "--verify")
    machine.run(*io, "--write", "--destroy")
    before = machine.show("crash", "MainPID")
    machine.shell(f"kill -KILL {before}")
    wait_until(lambda: machine.show("crash", "MainPID") not in (before, "0"))
    wait_until(lambda: machine.state("outboard@crash") == "active")
    machine.run(*io, "--read")
    machine.run("systemctl", "stop", "outboard@crash")


def test_images_of_others(machine: Machine) -> None:
    """What the user may not open is refused with a word; what it may, wherever it is, works."""
    machine.shell("mkdir -p /srv/images /home/me; truncate -s 16M /srv/images/a.img /home/me/b.img")
    machine.shell("chmod 600 /srv/images/a.img /home/me/b.img; chown outboard /home/me/b.img")
    (machine.config / "others.conf").write_text(disk("others", "file = /srv/images/a.img"))
    machine.run("systemctl", "start", "--no-block", "outboard@others")
    wait_until(lambda: "/srv/images/a.img" in machine.journal("others"))
    assert "Permission denied" in machine.journal("others")
    machine.run("systemctl", "stop", "outboard@others")
    machine.run("chown", "outboard:", "/srv/images/a.img")
    for image in ("/srv/images/a.img", "/home/me/b.img"):
        machine.start("others", disk("others", f"file = {image}"))
        machine.run("obctl", "nvme-io", "/run/outboard/others/d0.sock", "--write", "--verify", "--destroy")
        machine.run("systemctl", "stop", "outboard@others")


def drop_in(machine: Machine, unit: str, *lines: str) -> None:
    folder = f"/run/systemd/system/{unit}.d"
    text = "\n".join(lines)
    machine.shell(f"mkdir -p {folder}; printf '%s\\n' '{text}' >{folder}/more.conf")
    machine.run("systemctl", "daemon-reload")


def test_clients_of_a_group(machine: Machine) -> None:
    machine.shell("groupadd --system guests; useradd --system -G guests -M monitor")
    drop_in(machine, "outboard@group.service", "[Service]", "SupplementaryGroups=guests")
    more = ("socket-group = guests", "socket-mode = 0660")
    machine.start("group", disk("group", "size = 16M", *more))
    ping = "obctl ping /run/outboard/group/d0.sock"
    machine.shell(f"setpriv --reuid monitor --regid monitor --init-groups {ping}")
    machine.shell(f"! setpriv --reuid nobody --regid nogroup --clear-groups {ping}")
    machine.run("systemctl", "stop", "outboard@group")


def test_first_client_starts_it(machine: Machine) -> None:
    machine.start("late", '[nvme "d0"]\nsize = 16M\n', "socket")
    assert machine.state("outboard@late") == "inactive"
    machine.run("obctl", "ping", "/run/outboard/late.sock")
    assert machine.state("outboard@late") == "active"
    machine.run("systemctl", "stop", "outboard@late")
    machine.run("obctl", "ping", "/run/outboard/late.sock")
    machine.run("systemctl", "stop", "outboard@late.socket", "outboard@late")


def why_not_moved(machine: Machine) -> str:
    monitor = "/run/outboard/move/qmp.sock"
    machine.start("move", disk("move", "size = 16M") + f"[qmp]\npath = {monitor}\n")
    machine.run("obctl", "-s", monitor, "qmp", "migrate", '{"uri": "tcp:127.0.0.1:1"}', check=False)
    said = machine.run("obctl", "-s", monitor, "qmp", "query-migrate")
    machine.run("systemctl", "stop", "outboard@move")
    return said + machine.journal("move")


def test_network_on_request(machine: Machine) -> None:
    assert "Address family" in why_not_moved(machine)
    lines = ("[Service]", "PrivateNetwork=no", "RestrictAddressFamilies=AF_INET AF_INET6")
    drop_in(machine, "outboard@move.service", *lines)
    assert "Connection refused" in why_not_moved(machine)

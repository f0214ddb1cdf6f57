/* SPDX-License-Identifier: BSD-3-Clause */
/* What outboard does not do, by the names that QEMU has for it; see qemu_options.h. */
#include "qemu_options.h"

#include <string.h>

#include "base/list.h"

static const char memory[] = "memory and CPUs are those of the client's guest";
static const char guest[] = "outboard runs no guest: give it to the client, which does";
static const char screen[] = "outboard has no display, keyboard or sound";
static const char network[] = "outboard has no network devices";
static const char disk[] = "make the disk with -blockdev (or -drive if=none,id=ID,file=FILE) and "
			   "-device nvme,drive=ID";
static const char character[] = "outboard has no such character devices";
static const char serial[] =
	"say which device it is, and serve that: -chardev pty,id=ID and -device "
	"pci-serial,chardev=ID, or outboard pci-serial chardev=pty";
static const char debug[] =
	"there is no guest CPU to debug; --verbose and -trace show what devices "
	"do";
static const char confine[] = "let the service manager confine the process: see outboard@.service";
static const char host[] = "outboard shares no such thing of the host with guests";
static const char tuning[] = "give properties with the -device or -object that they are for";
static const char monitor[] = "the line-oriented monitor is not offered: use -qmp, and its command "
			      "human-monitor-command";
static const char migration[] = "outboard migrates devices as their client asks for it";

static const struct qemu_option options[] = {
	{"m", true, QEMU_OPTION_NO_EFFECT, memory},
	{"smp", true, QEMU_OPTION_NO_EFFECT, memory},
	{"cpu", true, QEMU_OPTION_NO_EFFECT, memory},
	{"accel", true, QEMU_OPTION_NO_EFFECT, memory},
	{"enable-kvm", false, QEMU_OPTION_NO_EFFECT, memory},
	{"overcommit", true, QEMU_OPTION_NO_EFFECT, memory},
	{"uuid", true, QEMU_OPTION_NO_EFFECT, guest},
	{"rtc", true, QEMU_OPTION_NO_EFFECT, guest},
	{"no-reboot", false, QEMU_OPTION_NO_EFFECT, guest},
	{"no-shutdown", false, QEMU_OPTION_NO_EFFECT, guest},
	{"no-hpet", false, QEMU_OPTION_NO_EFFECT, guest},
	{"no-acpi", false, QEMU_OPTION_NO_EFFECT, guest},
	{"L", true, QEMU_OPTION_NO_EFFECT, guest},

	{"mem-path", true, QEMU_OPTION_REFUSED, memory},
	{"mem-prealloc", false, QEMU_OPTION_REFUSED, memory},
	{"numa", true, QEMU_OPTION_REFUSED, memory},
	{"icount", true, QEMU_OPTION_REFUSED, memory},
	{"kernel", true, QEMU_OPTION_REFUSED, guest},
	{"initrd", true, QEMU_OPTION_REFUSED, guest},
	{"append", true, QEMU_OPTION_REFUSED, guest},
	{"shim", true, QEMU_OPTION_REFUSED, guest},
	{"dtb", true, QEMU_OPTION_REFUSED, guest},
	{"bios", true, QEMU_OPTION_REFUSED, guest},
	{"pflash", true, QEMU_OPTION_REFUSED, guest},
	{"boot", true, QEMU_OPTION_REFUSED, guest},
	{"option-rom", true, QEMU_OPTION_REFUSED, guest},
	{"fw_cfg", true, QEMU_OPTION_REFUSED, guest},
	{"smbios", true, QEMU_OPTION_REFUSED, guest},
	{"acpitable", true, QEMU_OPTION_REFUSED, guest},
	{"watchdog-action", true, QEMU_OPTION_REFUSED, guest},
	{"action", true, QEMU_OPTION_REFUSED, guest},
	{"semihosting", false, QEMU_OPTION_REFUSED, guest},
	{"loadvm", true, QEMU_OPTION_REFUSED, migration},
	{"only-migratable", false, QEMU_OPTION_REFUSED, migration},

	{"display", true, QEMU_OPTION_NONE_ONLY, screen},
	{"vga", true, QEMU_OPTION_NONE_ONLY, screen},
	{"audio", true, QEMU_OPTION_NONE_ONLY, screen},
	{"audiodev", true, QEMU_OPTION_REFUSED, screen},
	{"vnc", true, QEMU_OPTION_NONE_ONLY, screen},
	{"spice", true, QEMU_OPTION_REFUSED, screen},
	{"sdl", false, QEMU_OPTION_REFUSED, screen},
	{"curses", false, QEMU_OPTION_REFUSED, screen},
	{"full-screen", false, QEMU_OPTION_REFUSED, screen},
	{"k", true, QEMU_OPTION_REFUSED, screen},
	{"usb", false, QEMU_OPTION_REFUSED, screen},
	{"usbdevice", true, QEMU_OPTION_REFUSED, screen},

	{"netdev", true, QEMU_OPTION_REFUSED, network},
	{"net", true, QEMU_OPTION_NONE_ONLY, network},
	{"nic", true, QEMU_OPTION_NONE_ONLY, network},

	{"hda", true, QEMU_OPTION_REFUSED, disk},
	{"hdb", true, QEMU_OPTION_REFUSED, disk},
	{"hdc", true, QEMU_OPTION_REFUSED, disk},
	{"hdd", true, QEMU_OPTION_REFUSED, disk},
	{"fda", true, QEMU_OPTION_REFUSED, disk},
	{"fdb", true, QEMU_OPTION_REFUSED, disk},
	{"cdrom", true, QEMU_OPTION_REFUSED, disk},
	{"sd", true, QEMU_OPTION_REFUSED, disk},
	{"mtdblock", true, QEMU_OPTION_REFUSED, disk},
	{"snapshot", false, QEMU_OPTION_REFUSED, disk},
	{"add-fd", true, QEMU_OPTION_REFUSED, disk},

	{"serial", true, QEMU_OPTION_NONE_ONLY, serial},
	{"parallel", true, QEMU_OPTION_NONE_ONLY, character},
	{"debugcon", true, QEMU_OPTION_REFUSED, character},
	{"tpmdev", true, QEMU_OPTION_REFUSED, character},
	{"monitor", true, QEMU_OPTION_NONE_ONLY, monitor},

	{"fsdev", true, QEMU_OPTION_REFUSED, host},
	{"virtfs", true, QEMU_OPTION_REFUSED, host},

	{"s", false, QEMU_OPTION_REFUSED, debug},
	{"gdb", true, QEMU_OPTION_REFUSED, debug},
	{"d", true, QEMU_OPTION_REFUSED, debug},
	{"dfilter", true, QEMU_OPTION_REFUSED, debug},
	{"plugin", true, QEMU_OPTION_REFUSED, debug},
	{"qtest", true, QEMU_OPTION_REFUSED, debug},
	{"qtest-log", true, QEMU_OPTION_REFUSED, debug},

	{"sandbox", true, QEMU_OPTION_REFUSED, confine},
	{"run-with", true, QEMU_OPTION_REFUSED, confine},
	{"runas", true, QEMU_OPTION_REFUSED, confine},
	{"chroot", true, QEMU_OPTION_REFUSED, confine},

	{"global", true, QEMU_OPTION_REFUSED, tuning},
	{"set", true, QEMU_OPTION_REFUSED, tuning},
	{"compat", true, QEMU_OPTION_REFUSED, tuning},
};

const struct qemu_option *qemu_option_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (!strcmp(options[i].name, name))
			return &options[i];
	}
	return NULL;
}

const struct qemu_option *qemu_option_at(size_t index)
{
	return index < ARRAY_SIZE(options) ? &options[index] : NULL;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The monitor for people, as far as human-monitor-command needs it: commands of QEMU's monitor with
 * the arguments that they have there. What it prints is for people and may change.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct hmp_command {
	const char *name, *args, *help;
	void (*run)(struct monitors *monitors, const char *args, struct text *out);
};

static void say_error(struct text *out, int rc, const struct ob_error *err)
{
	if (rc)
		text_format(out, "Error: %s\n", err->message);
}

/* Makes something of options as on the command line. */
static void add(struct monitors *monitors, const char *args, const char *first_key,
                int (*make)(struct machine *machine, struct opts *opts, struct ob_error *err),
                struct text *out)
{
	cleanup_opts struct opts opts = {0};
	struct ob_error err = {""};
	int rc = opts_parse(&opts, args, first_key, &err);

	if (!rc)
		rc = make(monitors->env.machine, &opts, &err);
	say_error(out, rc, &err);
}

static void device_add(struct monitors *monitors, const char *args, struct text *out)
{
	add(monitors, args, "driver", machine_add_device, out);
}

static void object_add(struct monitors *monitors, const char *args, struct text *out)
{
	add(monitors, args, "qom-type", machine_add_object, out);
}

/* Nothing waits here: how the opening of a file ends, the log says. */
static int chardev_begin(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	int rc = machine_open_chardev(machine, opts, NULL, err);

	return rc == -EINPROGRESS ? 0 : rc;
}

static void chardev_add(struct monitors *monitors, const char *args, struct text *out)
{
	add(monitors, args, "backend", chardev_begin, out);
}

static void chardev_remove(struct monitors *monitors, const char *args, struct text *out)
{
	struct ob_error err = {""};

	say_error(out, machine_remove_chardev(monitors->env.machine, args, &err), &err);
}

static void send_break(struct monitors *monitors, const char *args, struct text *out)
{
	struct ob_error err = {""};
	struct ob_chardev *chardev = machine_find_chardev(monitors->env.machine, args, &err);

	if (chardev)
		chardev_send_break(chardev);
	say_error(out, chardev ? 0 : -ENOENT, &err);
}

static void device_del(struct monitors *monitors, const char *args, struct text *out)
{
	struct ob_error err = {""};

	say_error(out, machine_remove_device(monitors->env.machine, args, &err), &err);
}

static void object_del(struct monitors *monitors, const char *args, struct text *out)
{
	struct ob_error err = {""};

	say_error(out, machine_remove_object(monitors->env.machine, args, &err), &err);
}

static void stop(struct monitors *monitors, const char *args, struct text *out)
{
	machine_pause(monitors->env.machine, NULL);
}

static void cont(struct monitors *monitors, const char *args, struct text *out)
{
	struct ob_error err = {""};
	int rc = moves_go_on(monitors->env.moves, NULL, &err);

	/* A disk that somebody seems to have is waited for; the log says how that ends. */
	say_error(out, rc == -EINPROGRESS ? 0 : rc, &err);
}

static void system_reset(struct monitors *monitors, const char *args, struct text *out)
{
	machine_reset(monitors->env.machine);
}

static void quit(struct monitors *monitors, const char *args, struct text *out)
{
	machine_shutdown(monitors->env.machine, MACHINE_SHUTDOWN_QUIT);
}

/* Walks over what query-pci says. */
static uint64_t number(struct json_object *object, const char *key)
{
	return json_object_get_uint64(json_object_object_get(object, key));
}

static void each_function(struct monitors *monitors, struct text *out,
                          void (*bus_begins)(struct json_object *bus, struct text *out),
                          void (*print)(struct monitors *monitors, struct json_object *device,
                                        struct text *out))
{
	struct json_object *buses = qmp_pci(monitors->env.machine), *bus, *devices;

	for (size_t i = 0; i < json_object_array_length(buses); i++) {
		bus = json_object_array_get_idx(buses, i);
		devices = json_object_object_get(bus, "devices");
		if (bus_begins)
			bus_begins(bus, out);
		for (size_t j = 0; j < json_object_array_length(devices); j++)
			print(monitors, json_object_array_get_idx(devices, j), out);
	}
	json_object_put(buses);
}

static void qtree_bus(struct json_object *bus, struct text *out)
{
	text_format(out, "bus: %s\n  type PCI\n", get_str(bus, "root"));
}

static int name_property(void *context, const struct machine_property_info *info)
{
	static const char *const said[] = {"type", "bus", "addr"};

	for (unsigned i = 0; i < ARRAY_SIZE(said); i++) {
		if (!strcmp(said[i], info->name))
			return 0;
	}
	json_object_object_add(context, info->name, NULL);
	return 0;
}

static void qtree_property(const struct machine *machine, const char *id, const char *name,
                           struct text *out)
{
	cleanup_opts struct opts pairs = {0};

	if (machine_get_property(machine, id, name, &pairs, NULL, NULL))
		return;
	for (size_t i = 0; i < pairs.count; i++)
		text_format(out, "    %s = %s\n", pairs.list[i].key, pairs.list[i].value);
}

static void qtree_properties(const struct machine *machine, const char *id, struct text *out)
{
	struct json_object *names = json_object_new_object();

	machine_each_property(machine, id, name_property, names, NULL);
	json_object_object_foreach(names, name, ignored)
	{
		(void)ignored;
		qtree_property(machine, id, name, out);
	}
	json_object_put(names);
}

/* Parts of a device follow it, as what is on the bus that it has. */
struct qtree_walk {
	const struct machine *machine;
	const char *device; /* NULL: those of none */
	struct text *out;
};

static int qtree_part(void *context, const struct machine_part_info *info)
{
	struct qtree_walk *walk = context;

	if (!info->device != !walk->device ||
	    (info->device && strcmp(info->device, walk->device) != 0))
		return 0;
	text_format(walk->out, "  dev: %s, id \"%s\"\n", info->type, info->id);
	if (info->device)
		text_format(walk->out, "    bus = %s\n", info->device);
	qtree_properties(walk->machine, info->id, walk->out);
	return 0;
}

static void qtree_device(struct monitors *monitors, struct json_object *device, struct text *out)
{
	const struct machine *machine = monitors->env.machine;
	const char *id = get_str(device, "qdev_id");
	cleanup_opts struct opts type = {0};

	if (!machine_get_property(machine, id, "type", &type, NULL, NULL) && type.count)
		text_format(out, "  dev: %s, id \"%s\"\n", type.list[0].value, id);
	text_format(out, "    addr = %02" PRIx64 ".%" PRIx64 "\n", number(device, "slot"),
	            number(device, "function"));
	qtree_properties(machine, id, out);
	machine_each_part(machine, qtree_part, &(struct qtree_walk){machine, id, out});
}

static void info_qtree(struct monitors *monitors, struct text *out)
{
	const struct machine *machine = monitors->env.machine;

	each_function(monitors, out, qtree_bus, qtree_device);
	machine_each_part(machine, qtree_part, &(struct qtree_walk){machine, NULL, out});
}

static void pci_region(struct json_object *region, struct text *out)
{
	struct json_object *at = json_object_object_get(region, "address");
	uint64_t size = number(region, "size");
	bool memory = !strcmp(get_str(region, "type"), "memory");

	text_format(out, "      BAR%" PRIu64 ": %s%s", number(region, "bar"),
	            !memory                           ? "I/O"
	            : get_bool(region, "mem_type_64") ? "64 bit memory"
	                                              : "32 bit memory",
	            get_bool(region, "prefetch") ? " (prefetchable)" : "");
	if (json_object_get_int64(at) < 0)
		text_format(out, ", %" PRIu64 " bytes, not decoded\n", size);
	else
		text_format(out, " at 0x%" PRIx64 " [0x%" PRIx64 "]\n", json_object_get_uint64(at),
		            json_object_get_uint64(at) + size - 1);
}

static void pci_device(struct monitors *monitors, struct json_object *device, struct text *out)
{
	struct json_object *regions = json_object_object_get(device, "regions");
	struct json_object *ids = json_object_object_get(device, "id");

	text_format(out, "  Bus %2" PRIu64 ", device %3" PRIu64 ", function %" PRIu64 ":\n",
	            number(device, "bus"), number(device, "slot"), number(device, "function"));
	text_format(out, "    Class %04" PRIx64 ": PCI device %04" PRIx64 ":%04" PRIx64 "\n",
	            number(json_object_object_get(device, "class_info"), "class"),
	            number(ids, "vendor"), number(ids, "device"));
	if (number(device, "irq_pin"))
		text_format(out, "      IRQ %" PRIu64 ", pin %c\n", number(device, "irq"),
		            (int)('A' + number(device, "irq_pin") - 1));
	for (size_t i = 0; i < json_object_array_length(regions); i++)
		pci_region(json_object_array_get_idx(regions, i), out);
	text_format(out, "      id \"%s\"\n", get_str(device, "qdev_id"));
}

static void info_pci(struct monitors *monitors, struct text *out)
{
	each_function(monitors, out, NULL, pci_device);
}

static int print_block(void *context, const struct machine_block_info *info)
{
	struct text *out = context;

	text_format(out, "%s: %s (%s%s)\n", info->node_name,
	            info->filename[0] ? info->filename : "[no file]", info->driver,
	            info->info->read_only ? ", read-only" : "");
	if (info->user_path)
		text_format(out, "    Attached to:      %s\n", info->user_path);
	if (info->stops)
		text_format(out, "    I/O status:       %s\n",
		            info->io_status == MACHINE_IO_OK       ? "ok"
		            : info->io_status == MACHINE_IO_FAILED ? "failed"
		                                                   : "nospace");
	text_format(out, "    Size:             %" PRIu64 " bytes\n", info->info->size);
	text_format(out, "    Cache mode:       %s\n",
	            info->info->volatile_cache ? "writeback" : "writethrough");
	return 0;
}

static void info_block(struct monitors *monitors, struct text *out)
{
	machine_each_block(monitors->env.machine, print_block, out);
}

static int print_chardev(void *context, const struct machine_chardev_info *info)
{
	text_format(context, "%s: filename=%s\n", info->id, info->filename);
	return 0;
}

static void info_chardev(struct monitors *monitors, struct text *out)
{
	machine_each_chardev(monitors->env.machine, print_chardev, out);
}

static void info_status(struct monitors *monitors, struct text *out)
{
	const struct machine *machine = monitors->env.machine;

	text_format(out, "VM status: %s%s\n", machine_is_paused(machine) ? "paused" : "running",
	            machine_has_io_error(machine) ? " (io-error)" : "");
}

static void info_version(struct monitors *monitors, struct text *out)
{
	text_format(out, "outboard " OUTBOARD_VERSION "\n");
}

static const struct {
	const char *name, *help;
	void (*print)(struct monitors *monitors, struct text *out);
} infos[] = {
	{"block", "block nodes", info_block},
	{"chardev", "chardevs", info_chardev},
	{"pci", "PCI functions, by root", info_pci},
	{"qtree", "devices and their properties, by root", info_qtree},
	{"status", "whether devices work", info_status},
	{"version", "the version", info_version},
};

static void info(struct monitors *monitors, const char *args, struct text *out)
{
	for (unsigned i = 0; i < ARRAY_SIZE(infos); i++) {
		if (!strcmp(infos[i].name, args)) {
			infos[i].print(monitors, out);
			return;
		}
	}
	if (args[0])
		text_format(out, "unknown: info %s\n", args);
	for (unsigned i = 0; i < ARRAY_SIZE(infos); i++)
		text_format(out, "info %s -- %s\n", infos[i].name, infos[i].help);
}

static void help(struct monitors *monitors, const char *args, struct text *out);

static const struct hmp_command commands[] = {
	{"chardev-add", "backend,id=str[,prop=value][,...]", "add a chardev", chardev_add},
	{"chardev-remove", "id", "remove a chardev", chardev_remove},
	{"chardev-send-break", "id", "have a device receive a break", send_break},
	{"cont", "", "have devices go on", cont},
	{"device_add", "driver[,prop=value][,...]", "add a device", device_add},
	{"device_del", "device", "remove a device", device_del},
	{"help", "[command]", "what there is", help},
	{"info", "[subject]", "tell about something", info},
	{"object_add", "[qom-type=]type,id=str[,prop=value][,...]", "add an object", object_add},
	{"object_del", "id", "remove an object", object_del},
	{"quit", "", "end the process", quit},
	{"stop", "", "have devices be quiet", stop},
	{"system_reset", "", "reset all devices", system_reset},
};

static void help(struct monitors *monitors, const char *args, struct text *out)
{
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!args[0] || !strcmp(args, commands[i].name))
			text_format(out, "%s %s -- %s\n", commands[i].name, commands[i].args,
			            commands[i].help);
	}
}

/* The word that *at begins with, or what is left behind it, without the space around. */
static char *trimmed(char *at)
{
	char *end;

	while (isspace((unsigned char)*at))
		at++;
	for (end = at + strlen(at); end > at && isspace((unsigned char)end[-1]);)
		*--end = '\0';
	return at;
}

void hmp_run(struct monitors *monitors, const char *line, struct text *out)
{
	cleanup_free char *copy = strdup(line);
	char *name, *args;

	if (!copy)
		return;
	name = trimmed(copy);
	args = name + strcspn(name, " \t");
	if (*args) {
		*args = '\0';
		args = trimmed(args + 1);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!strcmp(commands[i].name, name)) {
			commands[i].run(monitors, args, out);
			return;
		}
	}
	if (*name)
		text_format(out, "unknown command: '%s'\n", name);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Commands about devices and PCI: QEMU's qapi/qdev.json and pci.json. */
#include <errno.h>
#include <string.h>

#include "base/opts_json.h"
#include "commands_made.h"
#include "internal.h"

int qmp_device_add(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                   struct qmp_error *err)
{
	cleanup_opts struct opts opts = {0};
	int rc = opts_from_json(&opts, args, &err->text);

	return rc ? rc : machine_add_device(monitor->set->env.machine, &opts, &err->text);
}

int qmp_device_del(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                   struct qmp_error *err)
{
	static const char folder[] = "/machine/peripheral/";
	const char *id = get_str(args, "id");
	int rc;

	if (!strncmp(id, folder, sizeof(folder) - 1))
		id += sizeof(folder) - 1;
	rc = machine_remove_device(monitor->set->env.machine, id, &err->text);
	if (rc == -ENOENT)
		err->class = "DeviceNotFound";
	return rc;
}

/* A walk over devices for query-pci. */
struct walk {
	const struct machine *machine;
	struct json_object *buses; /* the result */
	struct json_object *by_root;
};

static int add_root(void *context, const struct machine_root_info *info)
{
	struct walk *walk = context;
	struct json_object *bus = json_object_new_object();

	put_int(bus, "bus", json_object_array_length(walk->buses));
	put_str(bus, "root", info->id);
	json_object_object_add(bus, "devices", json_object_new_array());
	json_object_array_add(walk->buses, bus);
	json_object_object_add(walk->by_root, info->id, json_object_get(bus));
	return 0;
}

static struct json_object *region_of(const struct machine_bar_info *bar)
{
	struct json_object *region = json_object_new_object();

	put_int(region, "bar", bar->number);
	put_str(region, "type", bar->io ? "io" : "memory");
	json_object_object_add(region, "address",
	                       bar->decodes ? json_object_new_uint64(bar->address)
	                                    : json_object_new_int64(-1));
	put_int(region, "size", bar->size);
	if (!bar->io) {
		put_bool(region, "prefetch", bar->prefetch);
		put_bool(region, "mem_type_64", bar->is_64);
	}
	return region;
}

static void put_pci(struct json_object *device, const struct machine_pci_info *pci)
{
	struct json_object *class_info = json_object_new_object();
	struct json_object *id = json_object_new_object();
	struct json_object *regions = json_object_new_array();

	put_int(class_info, "class", pci->class_code >> 8);
	json_object_object_add(device, "class_info", class_info);
	put_int(id, "vendor", pci->vendor);
	put_int(id, "device", pci->device);
	put_int(id, "subsystem-vendor", pci->subsystem_vendor);
	put_int(id, "subsystem", pci->subsystem);
	json_object_object_add(device, "id", id);
	if (pci->interrupt_pin)
		put_int(device, "irq", pci->interrupt_line);
	put_int(device, "irq_pin", pci->interrupt_pin);
	for (unsigned i = 0; i < pci->bar_count; i++)
		json_object_array_add(regions, region_of(&pci->bars[i]));
	json_object_object_add(device, "regions", regions);
}

static int add_device(void *context, const struct machine_device_info *info)
{
	struct walk *walk = context;
	struct json_object *bus = json_object_object_get(walk->by_root, info->root);
	struct json_object *device;
	struct machine_pci_info pci;

	if (!bus || machine_pci_info(walk->machine, info->id, &pci, NULL))
		return 0;
	device = json_object_new_object();
	json_object_object_add(device, "bus", json_object_get(json_object_object_get(bus, "bus")));
	put_int(device, "slot", info->slot);
	put_int(device, "function", info->function);
	put_str(device, "qdev_id", info->id);
	put_pci(device, &pci);
	json_object_array_add(json_object_object_get(bus, "devices"), device);
	return 0;
}

struct json_object *qmp_pci(const struct machine *machine)
{
	struct walk walk = {
		.machine = machine,
		.buses = json_object_new_array(),
		.by_root = json_object_new_object(),
	};

	machine_each_root(machine, add_root, &walk);
	machine_each_device(machine, add_device, &walk);
	json_object_put(walk.by_root);
	return walk.buses;
}

int qmp_query_pci(struct monitor *monitor, struct json_object *args, struct json_object **ret,
                  struct qmp_error *err)
{
	*ret = qmp_pci(monitor->set->env.machine);
	return 0;
}

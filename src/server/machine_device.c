/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine's devices and the roots that they are on. A device is freed when its server has let
 * it go and nothing of its work is in flight any more; its own root goes with it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "device_options.h"
#include "objects.h"

static const char root_driver[] = "pci-root-bus";

struct root *root_find(const struct machine *machine, const char *id)
{
	struct name *name = names_find(&machine->root_names, id);

	return name ? container_of(name, struct root, name) : NULL;
}

struct machine_device *device_find(const struct machine *machine, const char *id)
{
	struct name *name = names_find(&machine->device_names, id);

	return name ? container_of(name, struct machine_device, name) : NULL;
}

int device_refuse_id(const struct machine *machine, const char *id, struct ob_error *err)
{
	struct nearest nearest = nearest_to(id);
	struct machine_device *device;

	list_for_each (device, &machine->devices, struct machine_device, link) {
		if (!device->removing)
			nearest_try(&nearest, device->id);
	}
	refuse_unknown(&nearest, "device", NULL, NULL, err);
	return -ENOENT;
}

static bool id_is_taken(const struct machine *machine, const char *id)
{
	return device_find(machine, id) || root_find(machine, id) || part_find(machine, id) ||
	       subsys_find(machine, id);
}

/* Takes id= out of opts, or makes one: "nvme0", "edu1". */
static int take_id(struct machine *machine, const char *driver, struct opts *opts, char *id,
                   struct ob_error *err)
{
	cleanup_free char *given = opts_take(opts, "id");
	int rc;

	if (!given) {
		do
			snprintf(id, ID_MAX + 1, "%.40s%u", driver, machine->next_id++);
		while (id_is_taken(machine, id));
		return 0;
	}
	rc = check_id("id", given, err);
	if (!rc && id_is_taken(machine, given))
		rc = ob_error_set(err, -EEXIST, "there is a device '%s' already", given);
	if (!rc)
		snprintf(id, ID_MAX + 1, "%s", given);
	return rc;
}

static int root_add(struct machine *machine, const char *id, bool own, struct root **out,
                    struct ob_error *err)
{
	struct root *root = root_new(id, own);

	if (!root || (!own && names_add(&machine->root_names, &root->name, root->id))) {
		root_free(root);
		return ob_error_set(err, -ENOMEM, "out of memory");
	}
	list_append(&machine->roots, &root->link);
	*out = root;
	return 0;
}

static int add_root_device(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	static const struct ob_prop *const tables[] = {NULL};
	static const char *const words[] = {"id", NULL};
	char id[ID_MAX + 1];
	struct root *root;
	int rc = refuse_unknown_keys(opts, root_driver, tables, words, NULL, err);

	if (!rc)
		rc = take_id(machine, root_driver, opts, id, err);
	return rc ? rc : root_add(machine, id, false, &root, err);
}

static int refuse_bus(const struct machine *machine, const char *id, struct ob_error *err)
{
	struct nearest nearest = nearest_to(id);
	struct root *root;

	list_for_each (root, &machine->roots, struct root, link) {
		if (!root->own)
			nearest_try(&nearest, root->id);
	}
	if (nearest.best)
		return ob_error_set(err, -ENOENT,
		                    "bus=%s: there is no such bus: did you mean '%s'?", id,
		                    nearest.best);
	return ob_error_set(err, -ENOENT,
	                    "bus=%s: there is no such bus: add it first, as device %s,id=%s", id,
	                    root_driver, id);
}

/* A place on the root that bus= names, or on one of the device's own. */
static int place(struct machine_device *device, struct opts *opts, struct ob_error *err)
{
	struct machine *machine = device->machine;
	cleanup_free char *bus = opts_take(opts, "bus"), *addr = opts_take(opts, "addr");
	struct root *root = bus ? root_find(machine, bus) : NULL;
	int rc = 0;

	if (bus && !root)
		return refuse_bus(machine, bus, err);
	if (!bus)
		rc = root_add(machine, device->id, true, &root, err);
	if (!rc)
		rc = root_place(root, &device->place, addr, err);
	if (rc && root && !bus)
		root_remove(machine, root);
	return rc;
}

static void displace(struct machine_device *device)
{
	struct root *root = device->place.root;

	root_leave(&device->place);
	if (root && root->own)
		root_remove(device->machine, root);
}

static void on_failed(void *context, struct ob_dev *dev, const char *message)
{
	char path[MACHINE_PATH_SIZE];
	struct machine_event event = {
		.kind = MACHINE_DEVICE_ERROR,
		.id = ob_dev_id(dev),
		.path = device_path(path, ob_dev_id(dev)),
		.message = message,
	};

	machine_tell(context, &event);
}

static void memory_mapped(struct dma_listener *listener, void *base, size_t length)
{
	struct machine_device *device = container_of(listener, struct machine_device, memory);

	block_memory_add(device->machine->loop, base, length);
}

static void memory_unmapping(struct dma_listener *listener, void *base)
{
	struct machine_device *device = container_of(listener, struct machine_device, memory);

	block_memory_remove(device->machine->loop, base);
}

static int start(struct machine_device *device, const struct ob_model *model, struct opts *opts,
                 struct ob_error *err)
{
	struct device_env env = {
		.loop = device->machine->loop,
		.log = device->machine->log,
		.claim_block = blocks_claim,
		.release_block = blocks_release,
		.claim_chardev = chardevs_claim,
		.release_chardev = chardevs_release,
		.failed = on_failed,
		.block_error = machine_block_error,
		.context = device->machine,
		.dma_budget = device->machine->dma_budget,
		.qemu_ident = device->machine->remote,
		.bounce = &device->machine->bounce,
	};

	device->dev = device_new(model, device->id, &env, opts, err);
	if (!device->dev)
		return -EINVAL;
	device->memory =
		(struct dma_listener){.mapped = memory_mapped, .unmapping = memory_unmapping};
	dma_set_listener(device_dma(device->dev), &device->memory);
	return 0;
}

static void run_free(struct ob_task *task)
{
	struct machine_device *device = container_of(task, struct machine_device, free);
	struct machine *machine = device->machine;

	/* Whoever is told of its end finds it nowhere. */
	displace(device);
	names_remove(&machine->device_names, &device->name);
	list_remove(&device->link);
	parts_gone(device);
	if (device->subsys)
		device->subsys->user[0] = '\0';
	device_free(device->dev);
	device_tell_deleted(machine, device->id);
	free(device);
	machine_something_gone(machine);
}

static void on_quiet(struct device_hold *hold)
{
	struct machine_device *device = container_of(hold, struct machine_device, unplug);

	/* From a task: the model may be calling. */
	ob_task_schedule(device->machine->loop, &device->free);
}

static int make(struct machine_device *device, const struct ob_model *model, struct opts *opts,
                struct ob_error *err)
{
	struct machine *machine = device->machine;
	int rc = take_id(machine, model->name, opts, device->id, err);

	if (!rc)
		rc = place(device, opts, err);
	if (!rc && names_add(&machine->device_names, &device->name, device->id))
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	if (!rc)
		rc = start(device, model, opts, err);
	if (!rc)
		rc = opts_refuse_rest(opts, model->name, err);
	return rc;
}

/* Whether both go to one guest is not known here; that one would take only the first. */
static void warn_of_serial(const struct machine_device *device)
{
	const char *serial = device_serial(device->dev);
	const struct machine_device *other;

	list_for_each (other, &device->machine->devices, struct machine_device, link) {
		if (!*serial || device_model(other->dev) != device_model(device->dev) ||
		    strcmp(device_serial(other->dev), serial) != 0)
			continue;
		log_warn(device->machine->log,
		         "devices '%s' and '%s' have the same serial number, %s: a guest that gets "
		         "both will use one of them; serial= gives another",
		         other->id, device->id, serial);
		return;
	}
}

static int add_model_device(struct machine *machine, const struct ob_model *model,
                            struct subsys *subsys, struct opts *opts, struct ob_error *err)
{
	struct machine_device *device = calloc(1, sizeof(*device));
	int rc;

	if (!device)
		return ob_error_set(err, -ENOMEM, "out of memory");
	device->machine = machine;
	device->unplug.done = on_quiet;
	device->free.run = run_free;
	rc = make(device, model, opts, err);
	if (rc) {
		device_free(device->dev);
		names_remove(&machine->device_names, &device->name);
		displace(device);
		free(device);
		return rc;
	}
	root_attach(&device->place, device->dev);
	warn_of_serial(device);
	list_append(&machine->devices, &device->link);
	device->subsys = subsys;
	if (subsys)
		snprintf(subsys->user, sizeof(subsys->user), "%s", device->id);
	device_join_pause(device);
	return 0;
}

const struct ob_model *machine_find_model(const char *name, struct ob_error *err)
{
	struct nearest nearest = nearest_to(name);

	for (const struct ob_model *const *model = device_models(); *model; model++) {
		if (!strcmp((*model)->name, name))
			return *model;
		nearest_try(&nearest, (*model)->name);
	}
	refuse_unknown(&nearest, "device model", NULL, "outboard --list shows all", err);
	return NULL;
}

/* What is a device by name, and no PCI function: see machine_part.c. */
static int add_no_function(struct machine *machine, const char *driver, struct opts *opts,
                           struct ob_error *err)
{
	char id[ID_MAX + 1];
	int rc = take_id(machine, driver, opts, id, err);

	if (rc)
		return rc;
	return subsys_is_driver(driver) ? subsys_add(machine, id, opts, err)
	                                : part_add(machine, part_model(driver), id, opts, err);
}

int machine_add_device(struct machine *machine, struct opts *opts, struct ob_error *err)
{
	static const char *const words[] = {"id", "bus", "addr", NULL};
	cleanup_free char *driver = opts_take(opts, "driver");
	const struct ob_model *model;
	struct subsys *subsys = NULL;
	char hint[128];
	int rc = machine_refuse_ending(machine, err);

	if (rc)
		return rc;
	if (!driver)
		return ob_error_set(err, -EINVAL,
		                    "a device needs driver=, for example driver=nvme");
	if (!strcmp(driver, root_driver))
		return add_root_device(machine, opts, err);
	if (subsys_is_driver(driver) || part_model(driver))
		return add_no_function(machine, driver, opts, err);
	if (device_options_why_not(driver))
		return ob_error_set(err, -EINVAL, "device %s: %s", driver,
		                    device_options_why_not(driver));
	model = machine_find_model(driver, err);
	if (!model)
		return -EINVAL;
	if (model->part)
		rc = subsys_take(machine, opts, &subsys, err);
	if (!rc)
		rc = device_options_translate(model->name, model->props, opts, machine->log, err);
	if (rc)
		return rc;
	snprintf(hint, sizeof(hint), "outboard %s --help shows all", model->name);
	rc = refuse_unknown_keys(
		opts, model->name,
		(const struct ob_prop *const[]){device_common_props, model->props, NULL}, words,
		hint, err);
	if (!rc)
		rc = add_model_device(machine, model, subsys, opts, err);
	return rc;
}

void device_remove(struct machine_device *device)
{
	device->removing = true;
	if (device->server || device->unplug.held)
		return;
	if (device_hold(device->dev, &device->unplug, DEVICE_HOLD_UNPLUG) == 0)
		ob_task_schedule(device->machine->loop, &device->free);
}

static int remove_root(struct machine *machine, struct root *root, struct ob_error *err)
{
	const struct root_member *first =
		container_of(root->members.next, struct root_member, link);
	char id[ID_MAX + 1];

	if (root->count)
		return ob_error_set(err, -EBUSY,
		                    "bus '%s' has %u device%s, '%s' for one: remove %s first",
		                    root->id, root->count, root->count == 1 ? "" : "s",
		                    ob_dev_id(first->dev), root->count == 1 ? "it" : "them");
	snprintf(id, sizeof(id), "%s", root->id);
	root_remove(machine, root);
	device_tell_deleted(machine, id);
	return 0;
}

int machine_remove_device(struct machine *machine, const char *id, struct ob_error *err)
{
	struct machine_device *device = device_find(machine, id);
	struct machine_part *part = part_find(machine, id);
	struct subsys *subsys = subsys_find(machine, id);
	struct root *root = root_find(machine, id);

	if (root)
		return remove_root(machine, root, err);
	if (part)
		return part_remove(part, err);
	if (subsys)
		return subsys_remove(machine, subsys, err);
	if (!device)
		return device_refuse_id(machine, id, err);
	if (device->removing)
		return ob_error_set(err, -EBUSY, "device '%s' is being removed already", id);
	if (device->server && !device->server->closing)
		return ob_error_set(
			err, -EBUSY,
			"device '%s' is in use by server object '%s': remove that first", id,
			device->server->id);
	device_remove(device);
	return 0;
}

struct ob_dev *machine_find_device(const struct machine *machine, const char *id)
{
	const struct machine_device *device = device_find(machine, id);

	return device && !device->removing ? device->dev : NULL;
}

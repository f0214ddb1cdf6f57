/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices that are no PCI functions by themselves, under the names that QEMU has for them: parts of
 * a device (nvme-ns), and NVM subsystems, which are a name for a controller that is made after
 * them.
 *
 * A part is removed while its device is quiet, and goes with its device.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "device_options.h"
#include "objects.h"

static const char subsys_driver[] = "nvme-subsys";

/* Parts */

struct machine_part *part_find(const struct machine *machine, const char *id)
{
	struct name *name = names_find(&machine->part_names, id);

	return name ? container_of(name, struct machine_part, name) : NULL;
}

const struct ob_model *part_model(const char *driver)
{
	for (const struct ob_model *const *model = device_models(); *model; model++) {
		if ((*model)->part && !strcmp((*model)->part->name, driver))
			return *model;
	}
	return NULL;
}

/* The device that bus= names; without it, the only one that there is. */
static struct machine_device *find_bus(struct machine *machine, const struct ob_model *model,
                                       const char *bus, struct ob_error *err)
{
	struct nearest nearest = nearest_to(bus ? bus : "");
	struct machine_device *device, *found = NULL;
	unsigned count = 0;

	list_for_each (device, &machine->devices, struct machine_device, link) {
		if (device_model(device->dev) != model || device->removing ||
		    (bus && strcmp(bus, device->id) != 0)) {
			if (device_model(device->dev) == model)
				nearest_try(&nearest, device->id);
			continue;
		}
		found = device;
		count++;
	}
	if (count == 1)
		return found;
	if (count)
		ob_error_set(err, -EINVAL, "%s: there are %u devices %s: say which one with bus=ID",
		             model->part->name, count, model->name);
	else if (bus && nearest.best)
		ob_error_set(err, -ENOENT,
		             "bus=%s: there is no device %s of that id: did you mean '%s'?", bus,
		             model->name, nearest.best);
	else
		ob_error_set(
			err, -ENOENT,
			"bus=%s: there is no such device: add it first, as %s,id=%s,serial=TEXT",
			bus ? bus : "ID", model->name, bus ? bus : "ID");
	return NULL;
}

static int check_opts(struct machine *machine, const struct ob_part *type, struct opts *opts,
                      struct ob_error *err)
{
	static const char *const words[] = {"bus", NULL};
	const struct ob_prop *const tables[] = {type->props, NULL};
	int rc = device_options_translate(type->name, type->props, opts, machine->log, err);

	return rc ? rc
	          : refuse_unknown_keys(opts, type->name, tables, words,
	                                "outboard nvme --help shows all", err);
}

static int refuse_moving(const struct machine_device *device, struct ob_error *err)
{
	if (!device_needs_parts(device->dev))
		return 0;
	return ob_error_set(err, -EBUSY,
	                    "device '%s' is being migrated: nothing of it can be added or removed "
	                    "until that has ended",
	                    device->id);
}

int part_add(struct machine *machine, const struct ob_model *model, const char *id,
             struct opts *opts, struct ob_error *err)
{
	cleanup_free char *bus = opts_take(opts, "bus");
	int rc = check_opts(machine, model->part, opts, err);
	struct machine_device *device = rc ? NULL : find_bus(machine, model, bus, err);
	struct machine_part *part;

	if (!device)
		return rc ? rc : -ENOENT;
	rc = refuse_moving(device, err);
	if (rc)
		return rc;
	part = calloc(1, sizeof(*part));
	if (!part)
		return ob_error_set(err, -ENOMEM, "out of memory");
	part->device = device;
	snprintf(part->id, sizeof(part->id), "%s", id);
	if (names_add(&machine->part_names, &part->name, part->id))
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	if (!rc) {
		part->part = device_part_add(device->dev, opts, err);
		rc = part->part ? 0 : -EINVAL;
	}
	if (rc) {
		names_remove(&machine->part_names, &part->name);
		free(part);
		return rc;
	}
	list_append(&machine->parts, &part->link);
	return 0;
}

static void part_free(struct machine_part *part)
{
	struct machine *machine = part->device->machine;

	ob_task_cancel(&part->free);
	device_release(part->device->dev, &part->hold);
	names_remove(&machine->part_names, &part->name);
	list_remove(&part->link);
	device_tell_deleted(machine, part->id);
	free(part);
}

static void run_free(struct ob_task *task)
{
	struct machine_part *part = container_of(task, struct machine_part, free);
	struct ob_dev *dev = part->device->dev;

	device_part_remove(dev, part->part);
	part_free(part);
}

static void on_quiet(struct device_hold *hold)
{
	struct machine_part *part = container_of(hold, struct machine_part, hold);

	/* From a task: the model may be calling. */
	ob_task_schedule(part->device->machine->loop, &part->free);
}

int part_remove(struct machine_part *part, struct ob_error *err)
{
	int rc = refuse_moving(part->device, err);

	if (part->removing)
		return ob_error_set(err, -EBUSY, "device '%s' is being removed already", part->id);
	if (rc)
		return rc;
	part->removing = true;
	part->free.run = run_free;
	part->hold.done = on_quiet;
	if (device_hold(part->device->dev, &part->hold, DEVICE_HOLD_UNPLUG) == 0)
		on_quiet(&part->hold);
	return 0;
}

void parts_gone(struct machine_device *device)
{
	struct machine_part *part;

	list_for_each (part, &device->machine->parts, struct machine_part, link) {
		if (part->device == device)
			part_free(part);
	}
}

int machine_each_part(const struct machine *machine,
                      int (*each)(void *context, const struct machine_part_info *info),
                      void *context)
{
	struct machine_part *part;
	struct subsys *subsys;
	char path[MACHINE_PATH_SIZE];
	int rc = 0;

	list_for_each (part, &machine->parts, struct machine_part, link) {
		struct machine_part_info info = {
			.id = part->id,
			.path = device_path(path, part->id),
			.type = device_model(part->device->dev)->part->name,
			.device = part->device->id,
		};

		rc = each(context, &info);
		if (rc)
			return rc;
	}
	list_for_each (subsys, &machine->subsystems, struct subsys, link) {
		struct machine_part_info info = {
			.id = subsys->id,
			.path = device_path(path, subsys->id),
			.type = subsys_driver,
		};

		rc = each(context, &info);
		if (rc)
			return rc;
	}
	return 0;
}

/* Subsystems */

const struct ob_prop subsys_props[] = {
	{"nqn", OB_PROP_STRING, offsetof(struct subsys, nqn), .max = 180,
         .help = "the last part of its qualified name, nqn.2019-08.org.qemu:NQN (default: its id)"},
	{.name = NULL},
};

bool subsys_is_driver(const char *driver)
{
	return !strcmp(driver, subsys_driver);
}

struct subsys *subsys_find(const struct machine *machine, const char *id)
{
	struct name *name = names_find(&machine->subsys_names, id);

	return name ? container_of(name, struct subsys, name) : NULL;
}

static void subsys_free(struct machine *machine, struct subsys *subsys)
{
	names_remove(&machine->subsys_names, &subsys->name);
	if (subsys->link.next)
		list_remove(&subsys->link);
	props_free(subsys_props, subsys);
	free(subsys);
}

int subsys_add(struct machine *machine, const char *id, struct opts *opts, struct ob_error *err)
{
	static const struct ob_prop *const tables[] = {subsys_props, NULL};
	static const char *const none[] = {NULL};
	struct subsys *subsys;
	int rc = device_options_translate(subsys_driver, subsys_props, opts, machine->log, err);

	if (!rc)
		rc = refuse_unknown_keys(opts, subsys_driver, tables, none, NULL, err);
	if (rc)
		return rc;
	subsys = calloc(1, sizeof(*subsys));
	if (!subsys)
		return ob_error_set(err, -ENOMEM, "out of memory");
	snprintf(subsys->id, sizeof(subsys->id), "%s", id);
	if (names_add(&machine->subsys_names, &subsys->name, subsys->id))
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	if (!rc)
		rc = props_apply(subsys_props, subsys, opts, NULL, err);
	if (rc)
		subsys_free(machine, subsys);
	else
		list_append(&machine->subsystems, &subsys->link);
	return rc;
}

static int refuse_subsys(const struct machine *machine, const char *id, struct ob_error *err)
{
	struct nearest nearest = nearest_to(id);
	struct subsys *subsys;

	list_for_each (subsys, &machine->subsystems, struct subsys, link)
		nearest_try(&nearest, subsys->id);
	if (nearest.best)
		return ob_error_set(err, -ENOENT,
		                    "subsys=%s: there is no such subsystem: did you mean '%s'?", id,
		                    nearest.best);
	return ob_error_set(
		err, -ENOENT,
		"subsys=%s: there is no such subsystem: add it first, as device %s,id=%s", id,
		subsys_driver, id);
}

int subsys_take(struct machine *machine, struct opts *opts, struct subsys **out,
                struct ob_error *err)
{
	cleanup_free char *id = opts_take(opts, "subsys");
	struct subsys *subsys = id ? subsys_find(machine, id) : NULL;
	char name[256];

	*out = NULL;
	if (!id)
		return 0;
	if (!subsys)
		return refuse_subsys(machine, id, err);
	if (subsys->user[0])
		return ob_error_set(
			err, -EBUSY,
			"subsys=%s: it has controller '%s' already. Several controllers "
			"of one subsystem would share its namespaces, and a disk has one "
			"device here: make a subsystem for each",
			id, subsys->user);
	if (opts_get(opts, "subnqn"))
		return ob_error_set(err, -EINVAL, "subsys= and subnqn= are the same: give one");
	snprintf(name, sizeof(name), "nqn.2019-08.org.qemu:%s", subsys->nqn ? subsys->nqn : id);
	if (opts_add(opts, "subnqn", name))
		return ob_error_set(err, -ENOMEM, "out of memory");
	*out = subsys;
	return 0;
}

int subsys_remove(struct machine *machine, struct subsys *subsys, struct ob_error *err)
{
	char id[ID_MAX + 1];

	if (subsys->user[0])
		return ob_error_set(err, -EBUSY,
		                    "subsystem '%s' has controller '%s': remove that first",
		                    subsys->id, subsys->user);
	snprintf(id, sizeof(id), "%s", subsys->id);
	subsys_free(machine, subsys);
	device_tell_deleted(machine, id);
	return 0;
}

void subsystems_free(struct machine *machine)
{
	struct subsys *subsys;

	list_for_each (subsys, &machine->subsystems, struct subsys, link)
		subsys_free(machine, subsys);
	names_free(&machine->subsys_names);
	names_free(&machine->part_names);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The devices that move. They are found by id each time, since a monitor may remove one meanwhile;
 * then the move fails, and nothing else.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct gathering {
	struct move_set *set;
	struct ob_error *err;
};

static int count_device(void *context, const struct machine_device_info *info)
{
	++*(unsigned *)context;
	return 0;
}

static int add_device(void *context, const struct machine_device_info *info)
{
	struct gathering *gathering = context;
	struct move_set *set = gathering->set;
	struct move_device *device = &set->devices[set->count];
	struct migration *migration;

	memcpy(device->id, info->id, strnlen(info->id, sizeof(device->id) - 1));
	memcpy(device->model, info->model->name,
	       strnlen(info->model->name, sizeof(device->model) - 1));
	device->set = set;
	migration = set_migration(set, set->count++);
	if (!migration)
		return ob_error_set(gathering->err, -ENOTSUP,
		                    "device '%s' can't move: its model (%s) does not migrate",
		                    info->id, info->model->name);
	device->before = migrate_state(migration);
	return 0;
}

int set_make(struct move_set *set, struct moves *moves, struct ob_error *err)
{
	struct gathering gathering = {set, err};
	unsigned count = 0;
	int rc;

	set->moves = moves;
	machine_each_device(moves->machine, count_device, &count);
	if (count > MOVE_MAX_DEVICES)
		return ob_error_set(err, -E2BIG, "%u devices are more than %d", count,
		                    MOVE_MAX_DEVICES);
	set->devices = calloc(count ? count : 1, sizeof(*set->devices));
	if (!set->devices)
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = machine_each_device(moves->machine, add_device, &gathering);
	if (rc)
		set_free(set);
	return rc;
}

void set_free(struct move_set *set)
{
	free(set->devices);
	set->devices = NULL;
	set->count = 0;
}

struct migration *set_migration(const struct move_set *set, unsigned number)
{
	struct ob_dev *dev = machine_find_device(set->moves->machine, set->devices[number].id);

	return dev ? migrate_of(dev) : NULL;
}

bool set_has(const struct move_device *device)
{
	return set_migration(device->set, (unsigned)(device - device->set->devices)) != NULL;
}

int set_find(const struct move_set *set, const char *id)
{
	for (unsigned i = 0; i < set->count; i++) {
		if (!strcmp(set->devices[i].id, id))
			return (int)i;
	}
	return -ENOENT;
}

static void fail(struct move_set *set, const struct move_device *device, int error,
                 const char *text)
{
	if (set->failed)
		return;
	set->failed = ob_error_set(&set->failure, error, "device '%s': %s", device->id, text);
}

static const char *why(const struct migration *migration, int error)
{
	const char *text = migrate_why(migration);

	return text[0] ? text : strerror(-error);
}

static void on_changed(struct migrate_waiter *waiter, int status)
{
	struct move_device *device = container_of(waiter, struct move_device, waiter);
	struct move_set *set = device->set;
	const struct migration *migration = set_migration(set, (unsigned)(device - set->devices));

	device->waiting = false;
	set->waiting--;
	if (status)
		fail(set, device, status, migration ? why(migration, status) : "it is gone");
	if (!set->waiting)
		set->settled(set);
}

static void change(struct move_set *set, unsigned number, enum migrate_state state)
{
	struct move_device *device = &set->devices[number];
	struct migration *migration = set_migration(set, number);
	int rc;

	if (!migration) {
		fail(set, device, -ENODEV, "it is gone");
		return;
	}
	device->waiter.done = on_changed;
	rc = migrate_set_state(migration, state, &device->waiter);
	device->waiting = rc == -EINPROGRESS;
	set->waiting += device->waiting;
	if (rc && rc != -EINPROGRESS)
		fail(set, device, rc, why(migration, rc));
}

int set_change(struct move_set *set, enum migrate_state state,
               bool (*which)(const struct move_device *device))
{
	set->failed = 0;
	for (unsigned i = 0; i < set->count; i++) {
		if (!which || which(&set->devices[i]))
			change(set, i, state);
	}
	return set->waiting ? -EINPROGRESS : set->failed;
}

void set_hold(struct move_set *set, bool hold)
{
	for (unsigned i = 0; i < set->count; i++) {
		struct migration *migration = set_migration(set, i);

		if (migration && migrate_state(migration) != MIGRATE_RUNNING)
			migrate_hold(migration, hold);
	}
}

void set_outdated(struct move_set *set)
{
	for (unsigned i = 0; i < set->count; i++) {
		struct ob_dev *dev = machine_find_device(set->moves->machine, set->devices[i].id);

		if (dev)
			device_set_outdated(dev);
	}
}

static void never(struct device_hold *hold)
{
	(void)hold;
}

static void clear(struct move_set *set, unsigned number)
{
	struct ob_dev *dev = machine_find_device(set->moves->machine, set->devices[number].id);
	struct migration *migration = dev ? migrate_of(dev) : NULL;
	struct device_hold hold = {.done = never};

	if (!migration)
		return;
	/* It is quiet already, as it waits; one that is not runs, and is not ours. */
	if (device_hold(dev, &hold, DEVICE_HOLD_RESET)) {
		device_release(dev, &hold);
		return;
	}
	device_reset(dev);
	(void)migrate_reset(migration, NULL);
	device_release(dev, &hold);
}

void set_clear(struct move_set *set)
{
	/* First, or they would run once more, and take their drives for that. */
	set_hold(set, true);
	for (unsigned i = 0; i < set->count; i++)
		clear(set, i);
	(void)set_change(set, MIGRATE_STOP, NULL);
	set_hold(set, true);
}

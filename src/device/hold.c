/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What keeps a device from running. Everything that must not happen while work is in flight (a
 * reset, a client's departure, unplug, migration) holds the device first, so that a model has one
 * place to get that right: its quiesce() is called for the first hold, its resume() after the last
 * one.
 */
#include <assert.h>
#include <errno.h>

#include "base/list.h"
#include "internal.h"

static const char *const names[DEVICE_HOLD_REASONS] = {
	[DEVICE_HOLD_RESET] = "reset",         [DEVICE_HOLD_FUNCTION_RESET] = "function-reset",
	[DEVICE_HOLD_BUS] = "bus-off",         [DEVICE_HOLD_CLIENT_LEAVES] = "client-leaves",
	[DEVICE_HOLD_NO_CLIENT] = "no-client", [DEVICE_HOLD_MIGRATION] = "migration",
	[DEVICE_HOLD_PAUSE] = "pause",         [DEVICE_HOLD_UNPLUG] = "unplug",
};

bool device_is_held(const struct ob_dev *dev, enum device_hold_reason reason)
{
	for (const struct device_hold *hold = dev->holds; hold; hold = hold->next) {
		if (hold->reason == reason)
			return true;
	}
	return false;
}

struct device_held_by device_held_by(const struct ob_dev *dev)
{
	struct device_held_by by = {0};
	unsigned count = 0;

	for (unsigned reason = 0; reason < DEVICE_HOLD_REASONS; reason++) {
		if (device_is_held(dev, (enum device_hold_reason)reason))
			by.names[count++] = names[reason];
	}
	return by;
}

static struct device_hold *first_waiting(const struct ob_dev *dev)
{
	struct device_hold *hold = dev->holds;

	while (hold && !hold->waiting)
		hold = hold->next;
	return hold;
}

static void tell_waiting(struct ob_task *task)
{
	struct ob_dev *dev = container_of(task, struct ob_dev, quiet_task);
	struct device_hold *hold;

	/* Whoever is told may release, and others may hold: so each time from the front. */
	while (dev->quiet && (hold = first_waiting(dev))) {
		hold->waiting = false;
		hold->done(hold);
	}
}

static void resume_model(struct ob_dev *dev)
{
	dev->quiet = false;
	if (dev->model->resume)
		dev->model->resume(dev);
	device_doorbells_resume(dev);
	device_tell_irqs(dev);
}

static void quiesce_model(struct ob_dev *dev)
{
	dev->quieting = true;
	if (dev->model->quiesce)
		dev->model->quiesce(dev);
	else
		ob_dev_quiet(dev);
}

void ob_dev_quiet(struct ob_dev *dev)
{
	if (!dev->quieting)
		return;
	dev->quieting = false;
	dev->quiet = true;
	/* Everybody who wanted quiet may have gone in the meantime. */
	if (!dev->holds)
		resume_model(dev);
	else if (first_waiting(dev))
		ob_task_schedule(dev->env.loop, &dev->quiet_task);
}

int device_hold(struct ob_dev *dev, struct device_hold *hold, enum device_hold_reason reason)
{
	struct device_hold **end = &dev->holds;
	bool first = !dev->holds, behind = false;

	assert(!hold->held);
	for (; *end; end = &(*end)->next)
		behind |= (*end)->waiting;
	*hold = (struct device_hold){.done = hold->done, .reason = reason, .held = true};
	*end = hold;
	log_trace(&dev->log, "is held: %s", names[reason]);
	if (first && !dev->quieting && !dev->quiet)
		quiesce_model(dev);
	if (dev->quiet && !behind)
		return 0;
	hold->waiting = true;
	return -EINPROGRESS;
}

void device_release(struct ob_dev *dev, struct device_hold *hold)
{
	struct device_hold **at = &dev->holds;

	if (!hold->held)
		return;
	while (*at != hold)
		at = &(*at)->next;
	*at = hold->next;
	hold->held = hold->waiting = false;
	log_trace(&dev->log, "is no longer held: %s", names[hold->reason]);
	if (!dev->holds && dev->quiet)
		resume_model(dev);
}

void device_hold_init(struct ob_dev *dev)
{
	dev->quiet_task.run = tell_waiting;
}

/* Clients */

void device_client_came(struct ob_dev *dev)
{
	dev->client = true;
}

void device_client_uses(struct ob_dev *dev)
{
	device_release(dev, &dev->no_client);
}

void device_client_left(struct ob_dev *dev)
{
	dev->client = false;
	if (!dev->no_client.held)
		(void)device_hold(dev, &dev->no_client, DEVICE_HOLD_NO_CLIENT);
}

bool device_has_client(const struct ob_dev *dev)
{
	return dev->client;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens to all of a machine at once: pause and resume, reset, and asking the program to end.
 * All of it goes through device_hold(), the one way to a device without work in flight.
 */
#include <errno.h>

#include "objects.h"

void machine_waiters_ready(struct machine *machine, struct list *waiters)
{
	if (list_empty(waiters))
		return;
	while (!list_empty(waiters)) {
		struct list *first = waiters->next;

		list_remove(first);
		list_append(&machine->ready_waiters, first);
	}
	ob_task_schedule(machine->loop, &machine->ready_task);
}

static void run_ready(struct ob_task *task)
{
	struct machine *machine = container_of(task, struct machine, ready_task);

	while (!list_empty(&machine->ready_waiters)) {
		struct machine_waiter *waiter =
			container_of(machine->ready_waiters.next, struct machine_waiter, link);

		list_remove(&waiter->link);
		waiter->done(waiter);
	}
}

static void run_shutdown(struct ob_task *task)
{
	struct machine *machine = container_of(task, struct machine, shutdown_task);

	machine->quit(machine->quit_context, machine->shutdown_reason);
}

static void run_stop(struct ob_task *task)
{
	struct machine *machine = container_of(task, struct machine, stop_task);

	if (!machine->stopping)
		machine_pause(machine, NULL);
}

void machine_run_init(struct machine *machine)
{
	list_init(&machine->pause_waiters);
	list_init(&machine->ready_waiters);
	machine->ready_task.run = run_ready;
	machine->stop_task.run = run_stop;
	machine->shutdown_task.run = run_shutdown;
}

void machine_run_end(struct machine *machine)
{
	ob_task_cancel(&machine->ready_task);
	ob_task_cancel(&machine->stop_task);
	ob_task_cancel(&machine->shutdown_task);
}

/* Pause */

static void tell_paused(struct machine *machine)
{
	machine->told_paused = true;
	machine_tell(machine, &(struct machine_event){.kind = MACHINE_STOP});
	machine_waiters_ready(machine, &machine->pause_waiters);
}

static void one_is_quiet(struct machine *machine)
{
	if (--machine->unquiet == 0 && machine->paused && !machine->told_paused)
		tell_paused(machine);
}

static void on_paused(struct device_hold *hold)
{
	one_is_quiet(container_of(hold, struct machine_device, pause)->machine);
}

static void hold(struct machine_device *device)
{
	device->pause.done = on_paused;
	if (device_hold(device->dev, &device->pause, DEVICE_HOLD_PAUSE))
		device->machine->unquiet++;
}

static void let_go(struct machine_device *device)
{
	device->machine->unquiet -= device->pause.waiting;
	device_release(device->dev, &device->pause);
}

void device_join_pause(struct machine_device *device)
{
	if (device->machine->paused)
		hold(device);
}

int machine_pause(struct machine *machine, struct machine_waiter *waiter)
{
	struct machine_device *device;

	if (!machine->paused) {
		machine->paused = true;
		list_for_each (device, &machine->devices, struct machine_device, link)
			hold(device);
		if (!machine->unquiet)
			tell_paused(machine);
	}
	if (machine->told_paused)
		return 0;
	if (waiter)
		list_append(&machine->pause_waiters, &waiter->link);
	return -EINPROGRESS;
}

void machine_cancel_wait(struct machine_waiter *waiter)
{
	if (waiter->link.next)
		list_remove(&waiter->link);
}

/* Whoever says `cont` has seen to it, or hears again. */
static void forget_errors(struct machine *machine)
{
	struct machine_block *block;

	machine->io_error = false;
	ob_task_cancel(&machine->stop_task);
	list_for_each (block, &machine->blocks, struct machine_block, link)
		block->io_status = MACHINE_IO_OK;
}

void machine_resume(struct machine *machine)
{
	struct machine_device *device;

	if (!machine->paused)
		return;
	machine->paused = false;
	/* What was about to be paused has been, for whoever counts the events. */
	if (!machine->told_paused)
		tell_paused(machine);
	machine->told_paused = false;
	forget_errors(machine);
	list_for_each (device, &machine->devices, struct machine_device, link)
		let_go(device);
	machine_tell(machine, &(struct machine_event){.kind = MACHINE_RESUME});
}

bool machine_is_paused(const struct machine *machine)
{
	return machine->paused;
}

/* Errors of disks */

bool block_stops(const struct machine_block *block)
{
	const struct machine_device *device = device_find(block->machine, block->user);
	bool stops = false;

	for (unsigned write = 0; device && device->dev && write < 2; write++) {
		enum ob_on_error chosen = device_on_error(device->dev, block->block, write);

		stops |= chosen == OB_ON_ERROR_STOP || chosen == OB_ON_ERROR_ENOSPC;
	}
	return stops;
}

/* From a task: a device is in the midst of a command. Until then it may find more errors. */
static void stop_for(struct machine *machine, struct machine_block *block, int error)
{
	if (block->io_status == MACHINE_IO_OK)
		block->io_status = error == -ENOSPC ? MACHINE_IO_NOSPACE : MACHINE_IO_FAILED;
	if (machine->paused || machine->io_error)
		return;
	machine->io_error = true;
	log_fact(machine->log, LOG_ERROR,
	         "all devices stop for an error of drive %s: query-block has it, and cont has them "
	         "go on",
	         ob_block_name(block->block));
	ob_task_schedule(machine->loop, &machine->stop_task);
}

void machine_block_error(void *context, struct ob_dev *dev, const struct device_error *error)
{
	struct machine *machine = context;
	struct machine_block *block = block_find(machine, ob_block_name(error->block));
	char path[MACHINE_PATH_SIZE];
	struct machine_event event = {
		.kind = MACHINE_BLOCK_IO_ERROR,
		.id = ob_dev_id(dev),
		.path = device_path(path, ob_dev_id(dev)),
		.block_error = error,
		.stops = block_stops(block),
	};

	if (error->action == OB_ERROR_STOP)
		stop_for(machine, block, error->error);
	machine_tell(machine, &event);
}

bool machine_has_io_error(const struct machine *machine)
{
	return machine->paused && machine->io_error;
}

/* Reset */

static void reset_quiet(struct machine_device *device)
{
	device_reset(device->dev);
	device_release(device->dev, &device->reset);
}

static void on_reset_quiet(struct device_hold *hold)
{
	reset_quiet(container_of(hold, struct machine_device, reset));
}

void machine_reset(struct machine *machine)
{
	struct machine_device *device;

	machine_tell(machine, &(struct machine_event){.kind = MACHINE_RESET});
	list_for_each (device, &machine->devices, struct machine_device, link) {
		if (device->reset.held || device->unplug.held)
			continue;
		device->reset.done = on_reset_quiet;
		if (device_hold(device->dev, &device->reset, DEVICE_HOLD_RESET) == 0)
			reset_quiet(device);
	}
}

/* The end */

void machine_on_shutdown(struct machine *machine,
                         void (*quit)(void *context, enum machine_shutdown reason), void *context)
{
	machine->quit = quit;
	machine->quit_context = context;
}

void machine_shutdown(struct machine *machine, enum machine_shutdown reason)
{
	if (machine->shutting_down)
		return;
	machine->shutting_down = true;
	machine->shutdown_reason = reason;
	machine_tell(machine, &(struct machine_event){.kind = MACHINE_SHUTDOWN, .reason = reason});
	if (machine->quit)
		ob_task_schedule(machine->loop, &machine->shutdown_task);
}

void machine_set_remote(struct machine *machine, bool on)
{
	machine->remote = on;
}

void machine_set_auto_shutdown(struct machine *machine, bool on)
{
	machine->auto_shutdown = on;
}

bool machine_auto_shutdown(const struct machine *machine)
{
	return machine->auto_shutdown;
}

void machine_client_ended(struct machine *machine)
{
	if (machine->auto_shutdown && !machine->stopping && !machine_has_client(machine))
		machine_shutdown(machine, MACHINE_SHUTDOWN_LAST_CLIENT);
}

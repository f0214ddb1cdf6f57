/* SPDX-License-Identifier: BSD-3-Clause */
/* What is common to both directions; see move.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum { LOG_LINES_A_SECOND = 10 };

/* QEMU's bandwidth. Its limit of downtime is 300 ms; ours can be less, as little is left. */
static const struct move_parameters defaults = {
	.max_bandwidth = 128 << 20,
	.downtime_limit = 50,
};

struct moves *moves_new(struct ob_loop *loop, const struct log *log, struct machine *machine)
{
	struct moves *moves = calloc(1, sizeof(*moves));

	if (!moves)
		return NULL;
	moves->loop = loop;
	moves->machine = machine;
	moves->parameters = defaults;
	list_init(&moves->listeners);
	list_init(&moves->go_on_waiters);
	log_init(&moves->log, log, LOG_LINES_A_SECOND, "migration");
	return moves;
}

void moves_free(struct moves *moves)
{
	if (!moves)
		return;
	out_free(moves->out);
	in_free(moves->in);
	set_free(&moves->going);
	log_end(&moves->log);
	free(moves);
}

void moves_listen(struct moves *moves, struct moves_listener *listener)
{
	list_append(&moves->listeners, &listener->link);
}

void moves_unlisten(struct moves_listener *listener)
{
	list_remove(&listener->link);
}

const char *move_status_name(enum move_status status)
{
	static const char *const names[] = {
		[MOVE_NONE] = "none",
		[MOVE_SETUP] = "setup",
		[MOVE_ACTIVE] = "active",
		[MOVE_DEVICE] = "device",
		[MOVE_CANCELLING] = "cancelling",
		[MOVE_CANCELLED] = "cancelled",
		[MOVE_FAILED] = "failed",
		[MOVE_COMPLETED] = "completed",
	};

	return names[status];
}

void moves_set_status(struct moves *moves, enum move_status status)
{
	struct moves_listener *listener;

	if (moves->status == status)
		return;
	moves->status = status;
	list_for_each (listener, &moves->listeners, struct moves_listener, link)
		listener->changed(listener);
}

void moves_start(struct moves *moves, bool incoming)
{
	moves->incoming = incoming;
	moves->error.message[0] = '\0';
	moves->began = ob_loop_now();
	moves->setup = moves->stopped = moves->resumed = moves->ended = 0;
	moves->transferred = moves->remaining = 0;
	moves->passes = 0;
	moves_set_status(moves, MOVE_SETUP);
}

void moves_ended(struct moves *moves, enum move_status status, const struct ob_error *error)
{
	moves->ended = ob_loop_now();
	moves->remaining = 0;
	if (error)
		moves->error = *error;
	if (status == MOVE_COMPLETED)
		log_fact(&moves->log, LOG_INFO, "all devices have moved %s",
		         moves->incoming ? "here" : "away");
	else
		log_fact(&moves->log, LOG_WARN, "devices have not moved %s: %s",
		         moves->incoming ? "here" : "away", error->message);
	moves_set_status(moves, status);
}

int moves_begin(struct moves *moves, const char *uri, struct ob_error *err)
{
	if (moves->out)
		return ob_error_set(err, -EBUSY, "a migration is under way");
	if (moves_held(moves) || moves->in)
		return ob_error_set(err, -EBUSY,
		                    "the devices are not here: they wait for a migration, or have "
		                    "gone");
	return out_new(moves, uri, err);
}

int moves_accept(struct moves *moves, const char *uri, struct ob_error *err)
{
	if (moves->in)
		return ob_error_set(err, -EBUSY, "a migration is waited for, or under way");
	if (moves->going.count)
		return ob_error_set(err, -EBUSY, "'cont' waits for a disk: its devices are to run");
	if (!moves_held(moves))
		return ob_error_set(err, -EINVAL,
		                    "the devices are in use here: a process that waits for others' "
		                    "is started with -incoming");
	return in_new(moves, uri, err);
}

int moves_cancel(struct moves *moves, struct ob_error *err)
{
	if (!moves->out)
		return ob_error_set(err, -EINVAL, "nothing migrates away");
	return out_cancel(moves->out, err);
}

/* Holding */

static void nothing(struct move_set *set)
{
	(void)set;
}

static bool is_held(const struct move_device *device)
{
	const struct move_set *set = device->set;
	const struct migration *migration = set_migration(set, (unsigned)(device - set->devices));

	return migration && migrate_is_held(migration);
}

int moves_hold(struct moves *moves, struct ob_error *err)
{
	struct move_set set = {.settled = nothing};
	int rc = set_make(&set, moves, err);

	if (rc)
		return rc;
	/* Devices that were just made are quiet at once. */
	rc = set_change(&set, MIGRATE_STOP, NULL);
	if (rc)
		*err = set.failure;
	else
		set_hold(&set, true);
	set_free(&set);
	return rc;
}

static int find_held(void *context, const struct machine_device_info *info)
{
	const struct moves *moves = context;
	struct ob_dev *dev = machine_find_device(moves->machine, info->id);
	const struct migration *migration = dev ? migrate_of(dev) : NULL;

	return migration && migrate_is_held(migration);
}

bool moves_held(const struct moves *moves)
{
	return machine_each_device(moves->machine, find_held, (void *)moves);
}

struct outdated_search {
	struct moves *moves;
	struct ob_error *err;
};

static int refuse_outdated(void *context, const struct machine_device_info *info)
{
	const struct outdated_search *search = context;
	const struct ob_dev *dev = machine_find_device(search->moves->machine, info->id);

	if (!dev || !device_is_outdated(dev))
		return 0;
	return ob_error_set(
		search->err, -EBUSY,
		"device '%s' has run in the other process: its state here is old, and with it the "
		"guest's data would be damaged. If that process is gone for good, say "
		"'system_reset', which has the guest's drivers begin anew, and then 'cont'. Disks "
		"in memory are as they were when they left",
		info->id);
}

/* They all run, or one of them can't. */
static int end_go_on(struct moves *moves, int rc)
{
	set_free(&moves->going);
	if (rc)
		return rc;
	in_free(moves->in);
	moves->in = NULL;
	machine_resume(moves->machine);
	return 0;
}

static void gone_on(struct move_set *set)
{
	struct moves *moves = set->moves;
	struct ob_error failure = {""};
	struct list waiters;

	if (set->failed)
		failure = set->failure;
	end_go_on(moves, set->failed);
	list_init(&waiters);
	while (!list_empty(&moves->go_on_waiters)) {
		struct list *first = moves->go_on_waiters.next;

		list_remove(first);
		list_append(&waiters, first);
	}
	while (!list_empty(&waiters)) {
		struct machine_waiter *waiter =
			container_of(waiters.next, struct machine_waiter, link);

		list_remove(&waiter->link);
		waiter->failure = failure;
		waiter->done(waiter);
	}
}

static int begin_go_on(struct moves *moves, struct ob_error *err)
{
	struct move_set *set = &moves->going;
	int rc;

	if (moves->out || (moves->in && moves->status != MOVE_SETUP))
		return ob_error_set(err, -EBUSY, "a migration is under way");
	rc = machine_each_device(moves->machine, refuse_outdated,
	                         &(struct outdated_search){moves, err});
	if (rc)
		return rc;
	*set = (struct move_set){.settled = gone_on};
	rc = set_make(set, moves, err);
	if (rc)
		return rc;
	rc = set_change(set, MIGRATE_RUNNING, is_held);
	if (rc == -EINPROGRESS)
		return rc;
	if (rc)
		*err = set->failure;
	return end_go_on(moves, rc);
}

int moves_go_on(struct moves *moves, struct machine_waiter *waiter, struct ob_error *err)
{
	int rc = -EINPROGRESS;

	if (!moves->going.count) {
		if (!moves_held(moves)) {
			machine_resume(moves->machine);
			return 0;
		}
		rc = begin_go_on(moves, err);
	}
	if (rc == -EINPROGRESS && waiter)
		list_append(&moves->go_on_waiters, &waiter->link);
	return rc;
}

/* What there is to know */

struct move_parameters moves_parameters(const struct moves *moves)
{
	return moves->parameters;
}

void moves_set_parameters(struct moves *moves, const struct move_parameters *parameters)
{
	moves->parameters = *parameters;
}

static uint64_t since(uint64_t from, uint64_t to)
{
	return from && to > from ? to - from : 0;
}

void moves_info(const struct moves *moves, struct move_info *info)
{
	uint64_t now = moves->ended ? moves->ended : ob_loop_now();
	uint64_t going = since(moves->setup, now);

	*info = (struct move_info){
		.status = moves->status,
		.incoming = moves->incoming,
		.error = moves->error.message,
		.setup_ns = since(moves->began, moves->setup ? moves->setup : now),
		.total_ns = since(moves->began, now),
		.transferred = moves->transferred,
		.remaining = moves->remaining,
		.passes = moves->passes,
	};
	if (going)
		info->bytes_per_second =
			(uint64_t)((double)moves->transferred * 1e9 / (double)going);
	if (moves->stopped)
		info->downtime_ns = since(moves->stopped, moves->resumed ? moves->resumed : now);
	else if (info->bytes_per_second)
		info->downtime_ns =
			(uint64_t)((double)moves->remaining * 1e9 / (double)info->bytes_per_second);
}

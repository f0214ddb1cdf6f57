/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The devices of a process move to another process of the same make, as a whole: what QEMU's
 * monitor calls migration (qapi/migration.json). The other process has the same devices by id, was
 * told to wait (-incoming), and gets each device's state as a stream (src/migrate). What is large
 * goes ahead while devices run.
 *
 * Never do both run. The source stops its devices, sends the rest, and asks; the destination
 * answers that it has everything, is told to go, and says that it runs. Until it is told to go, a
 * failure has the source go on, and the destination stays stopped. docs/migration.md has all of it.
 *
 * Nothing here waits. What the other process sends is checked like what a client sends.
 */
#ifndef MOVE_MOVE_H
#define MOVE_MOVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/log.h"
#include "loop/loop.h"
#include "outboard/error.h"
#include "server/machine.h"

struct moves;

/* QEMU's MigrationStatus. */
enum move_status {
	MOVE_NONE,
	MOVE_SETUP,      /* connecting, or waiting for somebody who connects */
	MOVE_ACTIVE,     /* devices run, and what is large goes ahead */
	MOVE_DEVICE,     /* devices are stopped, the rest goes */
	MOVE_CANCELLING, /* on the way back */
	MOVE_CANCELLED,
	MOVE_FAILED,
	MOVE_COMPLETED,
};

struct move_parameters {
	uint64_t max_bandwidth;  /* bytes a second while devices run; 0: as fast as it goes */
	uint64_t downtime_limit; /* ms that what is left may take when devices are stopped */
};

struct move_info {
	enum move_status status;
	bool incoming;
	const char *error;           /* why it failed; "" otherwise */
	uint64_t setup_ns, total_ns; /* until devices' state began to go; until now, or the end */
	uint64_t downtime_ns;        /* devices were stopped so long; while active, an estimate */
	uint64_t transferred;        /* bytes of state sent or taken so far */
	uint64_t remaining;          /* that are still to go; an estimate. Incoming: 0 */
	uint64_t bytes_per_second;   /* of the whole so far */
	unsigned passes;             /* how often all that was there had gone */
};

/* Told when the status changes, from the midst of it: for looking only. */
struct moves_listener {
	void (*changed)(struct moves_listener *listener);
	struct list link;
};

/* loop, log and machine outlive it. NULL on ENOMEM. */
struct moves *moves_new(struct ob_loop *loop, const struct log *log, struct machine *machine);

/* What is under way is dropped. May be NULL. */
void moves_free(struct moves *moves);

void moves_listen(struct moves *moves, struct moves_listener *listener);
void moves_unlisten(struct moves_listener *listener);

/*
 * Begins to move everything to the process at uri: unix:PATH, tcp:HOST:PORT (HOST is a numeric
 * address or localhost: names would have to be waited for), fd:N (a connected socket, taken over on
 * success). 0 or -errno with a message; how it ends the status tells.
 */
int moves_begin(struct moves *moves, const char *uri, struct ob_error *err);

/*
 * Waits for a process that moves its devices here, at the same kinds of places (fd:N may also be a
 * listening socket). What is here stays stopped until then; see moves_hold(). Once at a time, and
 * again after a failure.
 */
int moves_accept(struct moves *moves, const char *uri, struct ob_error *err);

/*
 * All devices that there are stop until the state of others comes, or moves_go_on(). -errno with a
 * message if one of them can't move.
 */
int moves_hold(struct moves *moves, struct ob_error *err);

/* Whether devices are held: by moves_hold(), or since they have gone. */
bool moves_held(const struct moves *moves);

/*
 * Has devices run here that are held, as they are: after the move failed elsewhere, or never came.
 * The machine is resumed then. -errno with a message if one of them can't: perhaps the other
 * process has its disk, or has run it (-EBUSY: only after a reset, see device_set_outdated()).
 * -EINPROGRESS: a disk is waited for that somebody seems to have; waiter (or nobody, if NULL) is
 * told how that ends.
 */
int moves_go_on(struct moves *moves, struct machine_waiter *waiter, struct ob_error *err);

/* Ends what goes out; devices go on here. -EINVAL if nothing goes, -EBUSY if it is too late. */
int moves_cancel(struct moves *moves, struct ob_error *err);

struct move_parameters moves_parameters(const struct moves *moves);
void moves_set_parameters(struct moves *moves, const struct move_parameters *parameters);

void moves_info(const struct moves *moves, struct move_info *info);

/* "none", "setup", "active", "device" and so on. */
const char *move_status_name(enum move_status status);

#endif

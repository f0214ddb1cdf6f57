/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that moves to another process: the states of VFIO's migration protocol (version 2, in
 * the form that vfio-user has it), the stream that its state is saved to and loaded from, and the
 * hand-over of its drives. docs/migration.md says what all of it means to users.
 *
 * It knows no messages: a session, or whoever moves devices by other means, asks for states and
 * reads or writes the stream. One at a time: whoever asks while a move is under way is refused.
 */
#ifndef MIGRATE_MIGRATE_H
#define MIGRATE_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "device/device.h"
#include "outboard/error.h"

/* VFIO_DEVICE_STATE_* */
enum migrate_state {
	MIGRATE_ERROR = 0, /* what the device is cannot be relied on: only a reset leads out */
	MIGRATE_STOP = 1,
	MIGRATE_RUNNING = 2,
	MIGRATE_STOP_COPY = 3, /* stopped, and its state may be read */
	MIGRATE_RESUMING = 4,  /* stopped, and another's state may be written */
	MIGRATE_PRE_COPY = 6,  /* running, and what is large may be read already */
	MIGRATE_STATES = 8,    /* 5 and 7 are not used in vfio-user */
};

/* "RUNNING" and so on; "?" */
const char *migrate_state_name(unsigned state);

/*
 * The state that follows from on the way to another one, or -EINVAL: there is no way. The last step
 * of a way leads to `to` itself.
 */
int migrate_next(unsigned from, unsigned to);

struct migration;

/*
 * The device's migration, which is made when it is first asked for and lives as long as the device.
 * NULL if its model does not migrate, or on ENOMEM.
 */
struct migration *migrate_of(struct ob_dev *dev);

/* Whether the device can move at all, without making anything. */
bool migrate_supported(const struct ob_dev *dev);

enum migrate_state migrate_state(const struct migration *migration);

/* Why the last thing that failed did: one line, "" if nothing did. The log has it too. */
const char *migrate_why(const struct migration *migration);

/*
 * Goes to a state by the shortest way. Returns 0 when it is there, -errno when it cannot get there
 * (migrate_state() says where it is now: perhaps on the way, perhaps in ERROR; migrate_why() says
 * why), or -EINPROGRESS: waiter->done will tell, from the loop. -EBUSY while another one waits.
 */
struct migrate_waiter {
	void (*done)(struct migrate_waiter *waiter, int status);
};
int migrate_set_state(struct migration *migration, unsigned state, struct migrate_waiter *waiter);

/*
 * Reads on in the stream, while in PRE_COPY or STOP_COPY. Returns how many bytes, less than size
 * only if there is no more: for now in PRE_COPY, and at all in STOP_COPY. -EINVAL in other states,
 * -errno if something cannot be saved, and then each time.
 */
ssize_t migrate_read(struct migration *migration, void *buffer, size_t size);

/* Bytes of the stream that are still to come if the device were stopped now; an estimate. */
uint64_t migrate_pending(const struct migration *migration);

/*
 * Writes on in the stream, while in RESUMING. 0, or -EINVAL: another state, or something is wrong
 * with the stream, and then all that follows is refused.
 */
int migrate_write(struct migration *migration, const void *bytes, size_t size);

/* Whether a write has been refused, or all that is needed has been written: for progress. */
bool migrate_is_complete(const struct migration *migration);

/*
 * The device is held: it does not run again by itself, neither after a reset nor when whoever moved
 * it is gone, but only when it is told to, by migrate_set_state(). So are devices that wait for
 * another process's drives (active=off), until they have run.
 */
void migrate_hold(struct migration *migration, bool hold);
bool migrate_is_held(const struct migration *migration);

/*
 * The device was reset, and is quiet: what was under way is dropped, and it runs again. One that
 * waits for another process's drives (active=off) goes on waiting, stopped. Whoever waits for a
 * state is told -ECANCELED; -ENODEV if the device is freed meanwhile. 0, or -EINPROGRESS: it runs
 * when its drives have been taken back, which waiter (NULL: nobody) is told as above.
 */
int migrate_reset(struct migration *migration, struct migrate_waiter *waiter);

/*
 * Whoever moved it is gone. A device that was stopped, or was being saved, runs again, if its
 * drives can be had; one that was half loaded is in ERROR. Not while -EINPROGRESS.
 */
void migrate_abandon(struct migration *migration);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of this folder know of each other; others include chardev.h. */
#ifndef CHARDEV_INTERNAL_H
#define CHARDEV_INTERNAL_H

#include <sys/types.h>

#include "base/budget.h"
#include "chardev.h"
#include "loop/closer.h"
#include "loop/loop.h"

/* How a descriptor is read or written. */
enum chardev_way {
	CHARDEV_NONE,   /* there is no such direction */
	CHARDEV_SOCKET, /* each call says that it must not sleep */
	CHARDEV_OWN,    /* an open file description of our own, non-blocking */
	CHARDEV_HELPER, /* by a helper thread */
};

struct chardev_job;

/* One direction of the stream. */
struct chardev_side {
	struct ob_chardev *chardev;
	enum chardev_way way;
	struct loop_fd watch; /* of our descriptor; -1: none */
	bool watched;
	bool is_file;            /* a regular file: what it was given is waited for */
	bool ended;              /* no more will come, or is taken */
	struct chardev_job *job; /* CHARDEV_HELPER: under way */
	/* Bytes that wait: for the user, or to be sent. */
	size_t taken, filled;
	uint8_t buffer[CHARDEV_BUFFER];
};

struct ob_chardev {
	char id[64];
	const struct chardev_driver *driver;
	struct ob_loop *loop;
	struct log log;
	void *props, *runtime;

	struct ob_chardev_user *user;
	struct chardev_stats stats;
	bool attached;          /* the stream has descriptors: somebody is there */
	bool told;              /* what the user knows of that */
	bool cut_short;         /* a write of the user's: writable() is due */
	bool readable, breaks;  /* to be told */
	bool gone;              /* nobody is there any more, but bytes of his may be */
	bool hung_up;           /* the driver is to hear of it */
	bool closing, stopping; /* stopping: no part of it begins anything */
	struct ob_task turn;
	struct chardev_side in, out;
	struct chardev_wait *opening, *closed;
	/* Descriptors of the stream that are being closed, which may take as long as it likes. */
	struct loop_closer *closer;
	struct budget_share unclosed;
};

/*
 * stream.c: the descriptors. Both are the chardev's from here on, even if this fails; -1: there is
 * no such direction; they may be the same. 0 or -errno.
 */
int chardev_attach(struct ob_chardev *chardev, int in, int out);
/*
 * The same for descriptors that others have too, which stay open and as they are: what is used is
 * made of them.
 */
int chardev_attach_foreign(struct ob_chardev *chardev, int in, int out);
/* Closes them. What was received stays to be read; what was not sent is dropped. */
void chardev_detach(struct ob_chardev *chardev);
/* Nobody takes what is written any more: it is dropped, until others are attached. */
void chardev_end_output(struct ob_chardev *chardev);
/* Has everything happen that is due: bytes that wait are sent, room is filled. */
void chardev_stream_update(struct ob_chardev *chardev);
/* Sends what can be sent. */
void chardev_stream_flush(struct ob_chardev *chardev);
/* Whether what waits to be written is going to a file. */
bool chardev_stream_is_busy(const struct ob_chardev *chardev);

/* chardev.c: an opening that took its time has ended. err may be NULL if status is 0. */
void chardev_opened(struct ob_chardev *chardev, int status, const struct ob_error *err);
/* Somebody came or went, or something has to be told. */
void chardev_schedule(struct ob_chardev *chardev);

static inline size_t chardev_waiting(const struct chardev_side *side)
{
	return side->filled - side->taken;
}

extern const struct chardev_driver chardev_fd, chardev_file, chardev_null, chardev_pty,
	chardev_socket, chardev_stdio;

#endif

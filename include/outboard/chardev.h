/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A character device: a stream of bytes to and from something outside of the guest (a terminal, a
 * socket, a file), for serial ports and consoles. Nothing here ever waits.
 *
 * Both directions are pulled by whoever has room. What has come is kept until the user reads it,
 * and no more is taken from outside meanwhile. What is written is taken as far as there is room for
 * it; the user keeps the rest, and hears when there is room again. Where nobody is on the other
 * side (no client of a socket, nobody at a terminal), what is written is taken and dropped, as a
 * line drops it that is not plugged in.
 */
#ifndef OUTBOARD_CHARDEV_H
#define OUTBOARD_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>

struct ob_chardev;

enum ob_chardev_event {
	OB_CHARDEV_OPENED, /* somebody is on the other side */
	OB_CHARDEV_CLOSED, /* nobody is any more */
	OB_CHARDEV_BREAK,  /* a break condition was received */
};

/*
 * Who uses a chardev: one at a time. Embedded in a model's runtime, callbacks set first. They are
 * called from the loop, never from within a function below, and none is called any more after
 * ob_chardev_set_user(). Each may be NULL.
 */
struct ob_chardev_user {
	/* Bytes have come. Whoever has no room for them now reads them later, on its own. */
	void (*readable)(struct ob_chardev_user *user);
	/* There is room again, after a write that was not taken as a whole. */
	void (*writable)(struct ob_chardev_user *user);
	void (*event)(struct ob_chardev_user *user, enum ob_chardev_event event);
};

/*
 * Has user told from now on, or (NULL) nobody. Bytes that have come already are told of. For a
 * model's start and stop; the chardev itself is the property's (OB_PROP_CHARDEV), and is let go by
 * the core.
 */
void ob_chardev_set_user(struct ob_chardev *chardev, struct ob_chardev_user *user);

/* Takes up to length bytes that have come; returns how many. 0: none are there. */
size_t ob_chardev_read(struct ob_chardev *chardev, void *bytes, size_t length);

/* Hands up to length bytes over; returns how many were taken. */
size_t ob_chardev_write(struct ob_chardev *chardev, const void *bytes, size_t length);

/* Whether somebody is on the other side. */
bool ob_chardev_is_open(const struct ob_chardev *chardev);

/* The id, for messages. Owned by the chardev. */
const char *ob_chardev_id(const struct ob_chardev *chardev);

#endif

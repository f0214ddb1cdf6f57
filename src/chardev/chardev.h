/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chardevs: made from options, opened, told of and closed. Implements outboard/chardev.h, the side
 * that devices see; this is the one of who makes and removes them. Nothing here knows that devices
 * exist.
 *
 * No call waits for what is outside. Sockets and terminals are written as far as they take it at
 * once; what may sleep (files, and descriptors that others made and that can't be asked not to) is
 * read and written by helper threads. Each direction has one buffer of CHARDEV_BUFFER bytes.
 */
#ifndef CHARDEV_CHARDEV_H
#define CHARDEV_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/opts.h"
#include "outboard/chardev.h"
#include "outboard/error.h"
#include "outboard/loop.h"
#include "outboard/prop.h"

enum { CHARDEV_BUFFER = 4096 };

/* What a kind of chardev is; backend= names it. */
struct chardev_driver {
	const char *name, *summary;
	size_t props_size;
	const struct ob_prop *props;

	/* Zeroed, and made for the driver alone: chardev->runtime. */
	size_t runtime_size;

	/*
	 * Begins: 0, -errno with a message (close is then called as well), or -EINPROGRESS:
	 * chardev_opened() follows.
	 */
	int (*open)(struct ob_chardev *chardev, struct ob_error *err);
	/* Ends, in whatever state it is. The descriptors of the stream are closed already. */
	void (*close)(struct ob_chardev *chardev);
	/*
	 * The other side is gone, and the driver may look for another one. Mostly the stream is
	 * detached; while it is not, bytes of it are still to be read. NULL: there is no other, and
	 * the stream stays.
	 */
	void (*hung_up)(struct ob_chardev *chardev);
	/* As query-chardev has it: "pty:/dev/pts/3". */
	void (*describe)(const struct ob_chardev *chardev, char *text, size_t size);
};

/* Ended by NULL. */
const struct chardev_driver *const *chardev_drivers(void);
/* NULL with a message that suggests the nearest, or that says why there is no such one. */
const struct chardev_driver *chardev_find_driver(const char *name, struct ob_error *err);

/*
 * A chardev that is not opened. Takes backend= and its properties out of opts, and refuses the
 * rest. NULL with a message.
 */
struct ob_chardev *chardev_new(struct ob_loop *loop, const struct log *log, const char *id,
                               struct opts *opts, struct ob_error *err);

/* done is called from the loop. status: 0 or -errno, and then err has the message. */
struct chardev_wait {
	void (*done)(struct chardev_wait *wait, int status, const struct ob_error *err);
};

/* 0, -errno with a message (chardev_close() all the same), or -EINPROGRESS: wait->done follows. */
int chardev_open(struct ob_chardev *chardev, struct chardev_wait *wait, struct ob_error *err);

/*
 * Closes and frees it, opened or not; nobody uses it any more. 0: it is gone. -EINPROGRESS: what a
 * file has not got yet is still being written, and wait->done tells when it is gone. May be NULL.
 */
int chardev_close(struct ob_chardev *chardev, struct chardev_wait *wait);

/* Tells the user of a break, as if it had been received. */
void chardev_send_break(struct ob_chardev *chardev);

struct chardev_stats {
	uint64_t received, sent; /* bytes that were read by the user, and taken from it */
	uint64_t dropped;        /* of what was taken: nobody was there, or it failed */
};

const struct chardev_driver *chardev_driver(const struct ob_chardev *chardev);
const struct chardev_stats *chardev_stats(const struct ob_chardev *chardev);
/* What QEMU calls its filename. Cut at size; returns text. */
char *chardev_describe(const struct ob_chardev *chardev, char *text, size_t size);

/* The terminal that it made; "" if it is none. */
const char *chardev_pty_name(const struct ob_chardev *chardev);

/*
 * The short form, as QEMU's -serial has it: null, stdio, pty[:PATH], file:PATH, fd:N,
 * unix:PATH[,key=value...], tcp:HOST:PORT[,key=value...]. Whether text is one at all, and if so
 * what it stands for.
 */
bool chardev_is_short(const char *text);
int chardev_parse_short(struct opts *opts, const char *text, struct ob_error *err);

/*
 * Options as the monitor's chardev-add has them ("backend.type", "backend.data.addr.data.path"), to
 * those of the command line in place, and the other way round. -EINVAL or -ENOMEM with a message.
 */
int chardev_from_qapi(struct opts *opts, struct ob_error *err);
int chardev_to_qapi(struct opts *opts, struct ob_error *err);

#endif

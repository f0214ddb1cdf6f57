/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this folder share. On the wire there are frames, little-endian: u32 kind, u32
 * length, and so many bytes.
 *
 *	HELLO     "outboard", u32 format, u32 flags, u32 devices; for each: u8 flags, u8 length and
 *	          id, u8 length and model
 *	WELCOME   the devices are there, and wait
 *	DATA      u32 number of a device, and bytes of its stream
 *	END       u32 number: its stream is whole
 *	PREPARE   all are: take them
 *	READY     they are taken. They are as the source's, and stopped
 *	GO        run
 *	RUNNING   they do
 *	REFUSED   text: why not; instead of any of the others
 */
#ifndef MOVE_INTERNAL_H
#define MOVE_INTERNAL_H

#include "migrate/migrate.h"
#include "move.h"
#include "transport/listener.h"

enum frame_kind {
	FRAME_HELLO = 1,
	FRAME_DATA,
	FRAME_END,
	FRAME_PREPARE,
	FRAME_GO,
	FRAME_WELCOME = 16,
	FRAME_READY,
	FRAME_RUNNING,
	FRAME_REFUSED,
};

enum {
	FRAME_FORMAT = 1,
	FRAME_HEADER = 8,
	FRAME_MAX_DATA = 128 << 10,
	FRAME_MAX = FRAME_MAX_DATA + 4, /* bytes behind the header */
	MOVE_ID = 64,
	MOVE_MAX_DEVICES = 1000,
	/* of HELLO, in front of its devices, and at most for one of them */
	HELLO_FRONT = 20,
	HELLO_DEVICE = 1 + 2 * MOVE_ID,

	HELLO_PAUSED = 1u << 0,  /* the machine was told to stop before it moved */
	HELLO_STOPPED = 1u << 0, /* of a device: its client had stopped it */
};

_Static_assert(HELLO_FRONT + MOVE_MAX_DEVICES * HELLO_DEVICE <= FRAME_MAX, "HELLO is one frame");

/* peer.c: frames over a socket */

struct peer;

struct peer_ops {
	/* The peer may be freed meanwhile, here and below. */
	void (*frame)(void *context, uint32_t kind, const uint8_t *bytes, size_t length);
	void (*drained)(void *context); /* all that was put is sent */
	void (*lost)(void *context, int error);
};

/* The socket is taken over, even on failure; it may be still connecting. NULL on ENOMEM. */
struct peer *peer_new(struct ob_loop *loop, int fd, const struct peer_ops *ops, void *context);
/* Tries once to send what is unsent. From within callbacks as well. May be NULL. */
void peer_free(struct peer *peer);
/* Puts a frame of two pieces. Without memory for it the peer is lost, from the loop. */
void peer_put(struct peer *peer, enum frame_kind kind, const void *head, size_t head_length,
              const void *bytes, size_t length);
size_t peer_unsent(const struct peer *peer);
/* Paused: no frames are handed over. */
void peer_pause(struct peer *peer, bool paused);

/* address.c */

/* A connected socket, or one that connects. -errno with a message. */
int address_connect(const char *uri, struct ob_error *err);
/*
 * A listening one, or a connected one (fd:N). With *listener, the socket is that one's, and the
 * caller's to free.
 */
int address_listen(const char *uri, bool *connected, struct listener **listener,
                   struct ob_error *err);

/* set.c: the devices that move */

struct move_device {
	char id[MOVE_ID], model[MOVE_ID];
	struct migrate_waiter waiter;
	struct move_set *set;
	enum migrate_state before; /* it was in that state */
	bool waiting;              /* for the waiter */
	bool dry, ended;           /* out: nothing to read now, or ever. in: the stream is whole */
};

struct move_set {
	struct moves *moves;
	struct move_device *devices;
	unsigned count, waiting;
	struct ob_error failure; /* of a change of state */
	int failed;
	void (*settled)(struct move_set *set); /* nobody is waited for any more */
};

/* All devices of the machine. -errno with a message that names one that can't move. */
int set_make(struct move_set *set, struct moves *moves, struct ob_error *err);
void set_free(struct move_set *set);
/* NULL: it has gone. */
struct migration *set_migration(const struct move_set *set, unsigned number);
int set_find(const struct move_set *set, const char *id);
bool set_has(const struct move_device *device);
/*
 * Has devices go to a state. Returns 0 if they are there, -EINPROGRESS if settled will be called,
 * or another -errno: failure says why, and as far as others wait, settled is called too. which (may
 * be NULL) picks some.
 */
int set_change(struct move_set *set, enum migrate_state state,
               bool (*which)(const struct move_device *device));
/* Devices that are stopped stay so, until they are told to run, or no longer: migrate_hold(). */
void set_hold(struct move_set *set, bool hold);
/* Devices run elsewhere: what they are here is old. */
void set_outdated(struct move_set *set);
/* Devices are reset, and held. */
void set_clear(struct move_set *set);

/* moves.c */

struct out;
struct in;

struct moves {
	struct ob_loop *loop;
	struct log log;
	struct machine *machine;
	struct list listeners;
	struct move_parameters parameters;
	struct out *out;       /* what goes; NULL: nothing does */
	struct in *in;         /* what comes, or is waited for */
	struct move_set going; /* what moves_go_on() waits for; count 0: nothing */
	struct list go_on_waiters;

	enum move_status status;
	bool incoming;
	struct ob_error error;
	uint64_t began, setup, stopped, resumed, ended; /* ns of the clock; 0: not yet */
	uint64_t transferred, remaining;
	unsigned passes;
};

void moves_set_status(struct moves *moves, enum move_status status);

/* A new one begins. */
void moves_start(struct moves *moves, bool incoming);

/* It ended, well (error NULL) or not. Says so in the log. */
void moves_ended(struct moves *moves, enum move_status status, const struct ob_error *error);

/* out.c, in.c */
int out_new(struct moves *moves, const char *uri, struct ob_error *err);
int out_cancel(struct out *out, struct ob_error *err);
void out_free(struct out *out); /* drops it */
int in_new(struct moves *moves, const char *uri, struct ob_error *err);
void in_free(struct in *in);

#endif

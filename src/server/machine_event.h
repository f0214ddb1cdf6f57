/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What happens in a machine by itself, or because somebody else asked for it: told to whoever
 * listens (monitors, the program). Several may listen.
 */
#ifndef SERVER_MACHINE_EVENT_H
#define SERVER_MACHINE_EVENT_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/list.h"

struct machine;
struct device_error;

enum machine_event_kind {
	MACHINE_CLIENT_CONNECTED, /* id, path: the server's; device_id, device_path; peer */
	MACHINE_CLIENT_HANGUP,    /* the same; its session may take a moment to end */
	MACHINE_DEVICE_DELETED,   /* id, path: a device or a root; it is gone, the id is free */
	MACHINE_DEVICE_ERROR,     /* id, path: the device's; message: what its model said */
	MACHINE_BLOCK_IO_ERROR,   /* id, path: the device's; block_error, stops */
	MACHINE_STOP,             /* all devices are quiet: machine_pause() */
	MACHINE_RESUME,           /* they go on: machine_resume() */
	MACHINE_RESET,            /* all devices begin to be reset: machine_reset() */
	MACHINE_SHUTDOWN,         /* the process is about to end; reason. Once */
};

/* What machine_shutdown_name() says is one of QEMU's ShutdownCause. */
enum machine_shutdown {
	MACHINE_SHUTDOWN_QUIT,        /* host-qmp-quit: a monitor said so */
	MACHINE_SHUTDOWN_SIGNAL,      /* host-signal */
	MACHINE_SHUTDOWN_LAST_CLIENT, /* guest-shutdown: auto-shutdown=on, and nobody is left */
	MACHINE_SHUTDOWN_ERROR,       /* host-error, while the program began */
	MACHINE_SHUTDOWN_COMMAND,     /* host-signal: the command of --run has ended */
};

struct machine_peer {
	pid_t pid;
	uid_t uid;
	gid_t gid;
};

/* Valid for the time of the call. What a kind does not have is NULL or 0. */
struct machine_event {
	enum machine_event_kind kind;
	const char *id, *path;                  /* path: as QEMU's objects have them */
	const char *device_id, *device_path;    /* CLIENT_* */
	struct machine_peer peer;               /* CLIENT_* */
	const char *message;                    /* DEVICE_ERROR; CLIENT_HANGUP after an error */
	const struct device_error *block_error; /* BLOCK_IO_ERROR */
	bool stops;                             /* the same: some errors of the disk do */
	enum machine_shutdown reason;           /* SHUTDOWN */
};

/*
 * event is called when it happens, from the midst of whatever makes it happen: it may look at the
 * machine, but neither make, change nor remove anything in it; a task of the loop may.
 */
struct machine_listener {
	void (*event)(struct machine_listener *listener, const struct machine_event *event);
	struct list link;
};

/* Told first: who listened first. A listener may unlisten itself from within event. */
void machine_listen(struct machine *machine, struct machine_listener *listener);
void machine_unlisten(struct machine_listener *listener);

/* "host-qmp-quit", and so on. */
const char *machine_shutdown_name(enum machine_shutdown reason);

#endif

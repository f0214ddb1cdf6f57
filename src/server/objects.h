/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the machine know of each other; others include machine.h. */
#ifndef SERVER_OBJECTS_H
#define SERVER_OBJECTS_H

#include "base/budget.h"
#include "base/list.h"
#include "base/props.h"
#include "base/suggest.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "dma/dma.h"
#include "machine.h"
#include "names.h"
#include "root.h"
#include "session/session.h"

struct machine {
	struct ob_loop *loop;
	struct log *log;
	struct list blocks, roots, devices, servers; /* in order of making */
	struct list openings;                        /* block nodes that are being opened */
	struct list chardevs;
	/* Those of the same that can be found by name; devices and roots share one space. */
	struct names block_names, chardev_names, root_names, device_names, server_names;
	struct list parts, subsystems; /* see machine_part.c */
	struct names part_names, subsys_names;
	unsigned next_id; /* for devices without id= */
	struct list listeners;
	struct ob_task stopped_task;
	struct loop_fd lost_memory; /* see machine_guard_memory() */
	struct dma_budget *dma_budget;
	struct budget fds;    /* that clients may have us hold */
	struct budget bounce; /* bytes of their devices' transfers by messages */
	bool stopping, guarded, look_only;
	void (*stopped)(void *context);
	void *context;

	/* machine_run.c */
	bool paused;                              /* asked for */
	bool told_paused;                         /* all are quiet, and the listeners know */
	unsigned unquiet;                         /* devices that are not, yet */
	bool io_error;                            /* a disk's error asked for it */
	struct list pause_waiters, ready_waiters; /* ready: done is about to be called */
	struct ob_task ready_task, stop_task;
	bool served; /* somebody was a client */
	bool auto_shutdown, shutting_down, remote;
	enum machine_shutdown shutdown_reason;
	struct ob_task shutdown_task;
	void (*quit)(void *context, enum machine_shutdown reason);
	void *quit_context;
};

/* A block node. At most one device or filter uses it. */
struct machine_block {
	struct list link;
	struct name name;
	struct machine *machine;
	struct ob_block *block;
	char node_name[ID_MAX + 1];
	char user[ID_MAX + 1];               /* id of the device; "": nobody's */
	struct machine_block *below, *above; /* a filter's node, and the filter over a node */
	bool implicit;                       /* made with the filter, and goes with it */
	bool opening;                        /* known by name only; see machine->openings */
	struct opts filter;                  /* of one that is opened for it: what comes after */
	bool note_discard;
	bool removing;
	enum machine_io_status io_status;
	bool close_waits; /* for the end of a resizing */
	struct block_wait wait;
	struct list waiters; /* for the opening or the resizing under way */
	struct list gone_waiters;
	struct ob_block_request flush;
	struct ob_task close;
};

/* A chardev. At most one device uses it. */
struct machine_chardev {
	struct list link;
	struct name name;
	struct machine *machine;
	struct ob_chardev *chardev;
	char id[ID_MAX + 1];
	char user[ID_MAX + 1];  /* id of the device; "": nobody's */
	bool opening, removing; /* known by name only */
	struct chardev_wait wait;
	struct list waiters; /* for the opening, or for the end */
	struct ob_task drop; /* it could not be opened */
};

struct machine_device {
	struct list link;
	struct name name;
	struct machine *machine;
	char id[ID_MAX + 1];
	struct ob_dev *dev;
	struct root_member place;
	struct subsys *subsys;         /* its controller; or NULL */
	struct machine_server *server; /* holds it, or is about to let it go */
	bool removing;                 /* as soon as the server has let it go */
	struct device_hold unplug;     /* free follows */
	struct dma_listener memory;    /* tells the disks of the client's memory */
	struct ob_task free;

	struct device_hold pause, reset; /* machine_run.c */
};

struct machine_server {
	struct list link;
	struct name name; /* not while it is closing */
	struct machine *machine;
	char id[ID_MAX + 1];
	const char *type;
	struct opts opts;              /* what a server without all that it needs was given */
	struct machine_device *device; /* NULL: not set yet */
	struct server *server;         /* NULL: it waits for a property */
	bool closing;                  /* not to be found by name any more */
	struct list gone_waiters;
};

/* A part of a device, as a namespace is. */
struct machine_part {
	struct list link;
	struct name name;
	struct machine_device *device;
	struct device_part *part;
	char id[ID_MAX + 1];
	bool removing;
	struct device_hold hold;
	struct ob_task free;
};

/* A name for a controller's subsystem. */
struct subsys {
	struct list link;
	struct name name;
	char id[ID_MAX + 1];
	char user[ID_MAX + 1]; /* id of the controller; "": none */
	char *nqn;
};

/* machine_part.c */
const struct ob_model *part_model(const char *driver); /* whose part that is; NULL: nobody's */
struct machine_part *part_find(const struct machine *machine, const char *id);
int part_add(struct machine *machine, const struct ob_model *model, const char *id,
             struct opts *opts, struct ob_error *err);
int part_remove(struct machine_part *part, struct ob_error *err);
/* The device is about to be freed. */
void parts_gone(struct machine_device *device);
extern const struct ob_prop subsys_props[];
bool subsys_is_driver(const char *driver);
struct subsys *subsys_find(const struct machine *machine, const char *id);
int subsys_add(struct machine *machine, const char *id, struct opts *opts, struct ob_error *err);
/* Takes subsys= out of a controller's options, and puts the name there. *out: NULL without one. */
int subsys_take(struct machine *machine, struct opts *opts, struct subsys **out,
                struct ob_error *err);
int subsys_remove(struct machine *machine, struct subsys *subsys, struct ob_error *err);
void subsystems_free(struct machine *machine);

/* machine_event.c */
void device_tell_deleted(const struct machine *machine, const char *id);

/* For device_env. */
struct ob_block *blocks_claim(void *context, const char *node_name, const char *user,
                              struct ob_error *err);
void blocks_release(void *context, struct ob_block *node, const char *user);

struct ob_chardev *chardevs_claim(void *context, const char *id, const char *user,
                                  struct ob_error *err);
void chardevs_release(void *context, struct ob_chardev *used, const char *user);
/* Begins to remove those that nobody has. */
void chardevs_remove(struct machine *machine);

/* Runs the loop until the waiter, whose done sets itself to NULL, was told: its failure, or 0. */
int machine_await(struct machine *machine, struct machine_waiter *waiter, struct ob_error *err);

/* Begins to remove a block node that nobody uses. */
void block_remove(struct machine_block *block);
/* Of a machine that is stopping, removes a node that nobody uses: others may never be done. */
void block_unused(struct machine_block *block);
/* Gives up those that are being opened. */
void blocks_abandon(struct machine *machine);

struct machine_block *block_find(const struct machine *machine, const char *node_name);
struct machine_device *device_find(const struct machine *machine, const char *id);
struct root *root_find(const struct machine *machine, const char *id); /* no device's own */
struct machine_server *server_find(const struct machine *machine, const char *id);

/* "unknown device 'd1': did you mean 'd0'?". Returns -ENOENT. */
int device_refuse_id(const struct machine *machine, const char *id, struct ob_error *err);

/* Begins to remove a device, now or once its server has let it go. */
void device_remove(struct machine_device *device);

/* As machine_set_property() says. */
int server_set_property(struct machine_server *server, const char *name, struct opts *value,
                        struct ob_error *err);

/* Begins to close a server, and lets go of its device when that is done. */
void server_remove(struct machine_server *server);

/* Has done of all waiters in a list called from the loop, and empties the list. */
void machine_waiters_ready(struct machine *machine, struct list *waiters);

/* -ESHUTDOWN with a message if the machine is ending. */
int machine_refuse_ending(const struct machine *machine, struct ob_error *err);

/* Something has gone: a machine that is stopping takes the next step. */
void machine_something_gone(struct machine *machine);

/* Removes a root from the machine and frees it. */
void root_remove(struct machine *machine, struct root *root);

/* machine_run.c: a device that was just made joins the others in being quiet. */
void machine_run_init(struct machine *machine);
void machine_run_end(struct machine *machine);
void device_join_pause(struct machine_device *device);
/* Whether some error of the node's stops the machine: it has an io-status then. */
bool block_stops(const struct machine_block *block);
void machine_block_error(void *context, struct ob_dev *dev, const struct device_error *error);
void machine_client_ended(struct machine *machine);
bool machine_has_client(const struct machine *machine);

/* machine_event.c */
void machine_tell(const struct machine *machine, const struct machine_event *event);

/* "/machine/peripheral/ID", "/objects/ID" in buffer; returns buffer. */
char *device_path(char buffer[MACHINE_PATH_SIZE], const char *id);
char *server_object_path(char buffer[MACHINE_PATH_SIZE], const char *id);

#endif

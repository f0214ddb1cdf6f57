/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the machine know of each other; others include machine.h. */
#ifndef SERVER_OBJECTS_H
#define SERVER_OBJECTS_H

#include "base/list.h"
#include "block/block.h"
#include "machine.h"
#include "root.h"
#include "session/session.h"
#include "suggest.h"

struct machine {
	struct ob_loop *loop;
	struct log *log;
	struct list blocks, roots, devices, servers; /* in order of making */
	unsigned next_id;                            /* for devices without id= */
	struct ob_task stopped_task;
	struct loop_fd lost_memory; /* see machine_guard_memory() */
	bool stopping, guarded;
	void (*stopped)(void *context);
	void *context;
};

/* A block node. At most one device uses it. */
struct machine_block {
	struct list link;
	struct machine *machine;
	struct ob_block *block;
	char user[ID_MAX + 1]; /* id of the device; "": nobody's */
	bool removing;
	struct ob_block_request flush;
	struct ob_task close;
};

struct machine_device {
	struct list link;
	struct machine *machine;
	char id[ID_MAX + 1];
	struct ob_dev *dev;
	struct root *root;
	int slot;
	struct machine_server *server; /* holds it, or is about to let it go */
	bool removing;                 /* as soon as the server has let it go */
	bool quiescing;                /* free follows */
	struct device_waiter quiet;
	struct ob_task free;
};

struct machine_server {
	struct list link;
	struct machine *machine;
	struct machine_device *device;
	struct server *server;
	bool closing; /* not to be found by name any more */
};

/* For device_env. */
struct ob_block *blocks_claim(void *context, const char *node_name, const char *user,
                              struct ob_error *err);
void blocks_release(void *context, struct ob_block *node, const char *user);

/* Begins to remove a block node that nobody uses. */
void block_remove(struct machine_block *block);

struct machine_device *device_find(const struct machine *machine, const char *id);

/* "unknown device 'd1': did you mean 'd0'?". Returns -ENOENT. */
int device_refuse_id(const struct machine *machine, const char *id, struct ob_error *err);

/* Begins to remove a device, now or once its server has let it go. */
void device_remove(struct machine_device *device);

/* Begins to close a server, and lets go of its device when that is done. */
void server_remove(struct machine_server *server);

/* Something has gone: a machine that is stopping takes the next step. */
void machine_something_gone(struct machine *machine);

/* Removes a root's link and frees it. */
void root_remove(struct root *root);

#endif

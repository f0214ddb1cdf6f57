/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All objects of a process: block nodes, roots, devices, and the servers that bind devices to
 * sockets.
 *
 * Every object is made from options and later found by its name, by whoever configures (command
 * line now and monitor alike). An object that another one needs can't be removed; the message then
 * says which one to remove first. Removing takes time where work is in flight: it is refused at
 * once or happens, but it may finish later.
 */
#ifndef SERVER_MACHINE_H
#define SERVER_MACHINE_H

#include "base/log.h"
#include "base/opts.h"
#include "block/block.h"
#include "device/device.h"
#include "loop/loop.h"
#include "outboard/error.h"
#include "server.h"

struct machine;

/* loop and log outlive the machine. NULL on ENOMEM. */
struct machine *machine_new(struct ob_loop *loop, struct log *log);

/* Only when nothing is left: after machine_stop() said so, or when nothing was ever made. */
void machine_free(struct machine *machine);

/*
 * From now on a client that cuts a file which it shared as memory loses its session, instead of
 * SIGBUS ending the process. Installs a signal handler, so this is for the program to decide, once.
 * 0 or -errno.
 */
int machine_guard_memory(struct machine *machine);

/*
 * Removes everything in order: clients hang up, devices become quiet, images are flushed and
 * closed. stopped is called from the loop when all is gone. Nothing may be made from then on.
 */
void machine_stop(struct machine *machine, void (*stopped)(void *context), void *context);

/*
 * Make an object, as `-blockdev`, `-device` and `-object` do. All options are taken out of opts or
 * refused. 0 or -errno with a message; nothing is left behind on failure.
 *
 * Block nodes: driver, node-name, and the driver's properties. Devices: driver (a model, or
 * pci-root-bus), id, bus, and the model's properties. Objects: qom-type, id, and the type's
 * properties; x-vfio-user-server (also vfio-user-server) has device and those of server_props.
 */
int machine_add_block(struct machine *machine, struct opts *opts, struct ob_error *err);
int machine_add_device(struct machine *machine, struct opts *opts, struct ob_error *err);
int machine_add_object(struct machine *machine, struct opts *opts, struct ob_error *err);

/*
 * Remove an object by name. 0 (it is gone, or will be as soon as it is quiet), -ENOENT, or -EBUSY
 * with a message that names the object in the way. The name of a device stays taken until it is
 * gone.
 */
int machine_remove_block(struct machine *machine, const char *node_name, struct ob_error *err);
int machine_remove_device(struct machine *machine, const char *id, struct ob_error *err);
int machine_remove_object(struct machine *machine, const char *id, struct ob_error *err);

/* What there is by that name; NULL with a message that suggests the nearest name. */
const struct ob_model *machine_find_model(const char *name, struct ob_error *err);
const struct block_driver *machine_find_driver(const char *name, struct ob_error *err);

/* Number index in order of making; NULL past the last. */
struct server *machine_server_at(const struct machine *machine, unsigned index);

#endif

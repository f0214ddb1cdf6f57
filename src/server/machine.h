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
#include "chardev/chardev.h"
#include "device/device.h"
#include "loop/loop.h"
#include "machine_event.h"
#include "machine_info.h"
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
 * Before anything is made: images are looked at and not opened, sockets are not made. Everything
 * else is checked as ever.
 */
void machine_look_only(struct machine *machine);

/*
 * Removes everything in order: clients hang up, devices become quiet, images are flushed and
 * closed. stopped is called from the loop when all is gone. Nothing may be made from then on.
 */
void machine_stop(struct machine *machine, void (*stopped)(void *context), void *context);

/* Zeroed but for done, which is called from the loop, once for each wait. */
struct machine_waiter {
	void (*done)(struct machine_waiter *waiter);
	struct list link;
	struct ob_error failure; /* of what was waited for; an empty message: it went well */
};

/*
 * Make an object, as `-blockdev`, `-device` and `-object` do. All options are taken out of opts or
 * refused. 0 or -errno with a message; nothing is left behind on failure.
 *
 * Block nodes: driver, node-name, and the driver's properties. Devices: driver (a model, or
 * pci-root-bus), id, bus, addr (a slot, or slot.function), and the model's properties. Objects:
 * qom-type, id, and the type's properties; x-vfio-user-server (also vfio-user-server) has device
 * and those of server_props. Without device, or without a socket, it waits until that is set.
 */
int machine_add_block(struct machine *machine, struct opts *opts, struct ob_error *err);
int machine_add_device(struct machine *machine, struct opts *opts, struct ob_error *err);
int machine_add_object(struct machine *machine, struct opts *opts, struct ob_error *err);

/*
 * Chardevs: backend, id, and the backend's properties. The rest as for block nodes; without a
 * waiter, the log says how a long opening ended.
 */
int machine_add_chardev(struct machine *machine, struct opts *opts, struct ob_error *err);
int machine_open_chardev(struct machine *machine, struct opts *opts, struct machine_waiter *waiter,
                         struct ob_error *err);
int machine_remove_chardev(struct machine *machine, const char *id, struct ob_error *err);
int machine_wait_chardev(struct machine *machine, const char *id, struct machine_waiter *waiter);
/* Until control returns to the loop; NULL with a message. */
struct ob_chardev *machine_find_chardev(const struct machine *machine, const char *id,
                                        struct ob_error *err);

/*
 * A block node without waiting for its storage, where machine_add_block() runs the loop meanwhile:
 * -EINPROGRESS, and waiter->done tells that it has ended. Until then the node can be removed, which
 * gives it up at once, and nothing else.
 */
int machine_open_block(struct machine *machine, struct opts *opts, struct machine_waiter *waiter,
                       struct ob_error *err);

/*
 * Remove an object by name. 0 (it is gone, or will be as soon as it is quiet), -ENOENT, or -EBUSY
 * with a message that names the object in the way. The name of a device stays taken until it is
 * gone.
 */
int machine_remove_block(struct machine *machine, const char *node_name, struct ob_error *err);
int machine_remove_device(struct machine *machine, const char *id, struct ob_error *err);
int machine_remove_object(struct machine *machine, const char *id, struct ob_error *err);

/*
 * After machine_remove_block() or machine_remove_object(): 0 if it is gone, or -EINPROGRESS:
 * waiter->done is called from the loop when it is, and its name, what was behind the node, and the
 * device that was served can be used again.
 */
int machine_wait_block(struct machine *machine, const char *node_name,
                       struct machine_waiter *waiter);
int machine_wait_object(struct machine *machine, const char *id, struct machine_waiter *waiter);

/* Forgets a waiter whose done was not called yet; nothing happens if there is no such wait. */
void machine_cancel_wait(struct machine_waiter *waiter);

/*
 * Grows or shrinks a block node to size bytes. The device that uses it tells its guest. 0, -ENOENT,
 * -ENOTSUP (its driver cannot), -EROFS, -EINVAL, -EBUSY (it is being resized), or what the file
 * system says; with a message. -EINPROGRESS: waiter->done tells that it has ended.
 */
int machine_resize_block(struct machine *machine, const char *node_name, uint64_t size,
                         struct machine_waiter *waiter, struct ob_error *err);

/*
 * Pauses the machine: all devices become quiet, those that are made later come up quiet. Clients
 * are served meanwhile as far as that goes without work: registers are read and written, nothing
 * begins. Returns 0 when all are quiet at once or have been before (waiter is not used then, and
 * may be NULL), else -EINPROGRESS, and calls waiter->done from the loop, also when the machine is
 * resumed meanwhile.
 */
int machine_pause(struct machine *machine, struct machine_waiter *waiter);
void machine_resume(struct machine *machine);
bool machine_is_paused(const struct machine *machine);    /* or about to be */
bool machine_has_io_error(const struct machine *machine); /* it is paused by an error of a disk */

/* Resets all devices to power-on, each as soon as it is quiet; clients stay. */
void machine_reset(struct machine *machine);

/* Stands for QEMU's remote machine: devices made from now on have the identities of QEMU's. */
void machine_set_remote(struct machine *machine, bool on);

/*
 * Whether the process ends when the last client has gone: then machine_shutdown() is called by
 * itself. "Last" is when a client's session has ended and no server has another client. Off by
 * default.
 */
void machine_set_auto_shutdown(struct machine *machine, bool on);
bool machine_auto_shutdown(const struct machine *machine);

/*
 * Asks the program to end: tells the listeners, and calls quit, from the loop. Once; later calls
 * change nothing. quit usually calls machine_stop(). Without machine_on_shutdown() only the event
 * is sent.
 */
void machine_on_shutdown(struct machine *machine,
                         void (*quit)(void *context, enum machine_shutdown reason), void *context);
void machine_shutdown(struct machine *machine, enum machine_shutdown reason);
/* Somebody has asked for that, or it is being stopped: nothing can be made any more. */
bool machine_is_ending(const struct machine *machine);

/* What there is by that name; NULL with a message that suggests the nearest name. */
const struct ob_model *machine_find_model(const char *name, struct ob_error *err);
const struct block_driver *machine_find_driver(const char *name, struct ob_error *err);

/* A device by id, until control returns to the loop; NULL: there is none, or it is about to go. */
struct ob_dev *machine_find_device(const struct machine *machine, const char *id);

/* Number index in order of making; NULL past the last. */
struct server *machine_server_at(const struct machine *machine, unsigned index);

#endif

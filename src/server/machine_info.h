/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Looking at a machine: what there is, in order of making, as plain structs; and the properties of
 * objects, to read and to set.
 *
 * All strings belong to the machine and are valid for the time of the callback. A callback may look
 * at the machine, but not change it. A walk ends early when a callback returns something else than
 * 0, and returns that.
 */
#ifndef SERVER_MACHINE_INFO_H
#define SERVER_MACHINE_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/opts.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "device/device.h"
#include "machine_event.h"
#include "outboard/error.h"
#include "session/stats.h"

struct machine;

/* Room for a path and its NUL: "/machine/peripheral/ID", "/objects/ID". */
enum { MACHINE_PATH_SIZE = 96 };

/* A PCI root. */
struct machine_root_info {
	const char *id;
	const char *path; /* "" for one that is a device's own: it is no object by itself */
	bool own;         /* made for the one device that has the same id, and goes with it */
	unsigned devices;
};

/* A device. */
struct machine_device_info {
	const char *id, *path;
	const struct ob_model *model;
	const char *root; /* id of the root; the device's own id where nobody named one */
	bool own_root;
	unsigned slot, function;
	const char *server; /* id of the server object that holds it; NULL: none */
	bool connected;     /* a client is there */
	bool removing;      /* it goes as soon as it is quiet */
	const char *error;  /* what its model said when it failed; NULL: it has not */
};

/* What is no PCI function: a part of a device (nvme-ns), or a subsystem. */
struct machine_part_info {
	const char *id, *path, *type;
	const char *device; /* whose part it is; NULL: nobody's */
};

/* One BAR (number 6: the expansion ROM) as the guest has programmed it. */
struct machine_bar_info {
	unsigned number;
	bool io, is_64, prefetch;
	bool decodes; /* enabled in the command register, and the function is not asleep */
	uint64_t address, size;
};

/* A device's configuration space, decoded. */
struct machine_pci_info {
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits */
	uint8_t revision;
	uint8_t interrupt_pin, interrupt_line; /* pin 1: INTA#; 0: none */
	unsigned bar_count;
	struct machine_bar_info bars[7];
};

enum machine_server_state {
	MACHINE_SERVER_WAITING,   /* for a property that was not set yet: missing */
	MACHINE_SERVER_LISTENING, /* for a client */
	MACHINE_SERVER_CONNECTED,
	MACHINE_SERVER_LEAVING, /* the client is gone, its session ends */
};

/* A client, and what it and the server agreed on. */
struct machine_client_info {
	struct machine_peer peer;
	uint64_t since; /* ns of CLOCK_REALTIME */
	struct session_info session;
};

/* A server object. */
struct machine_server_info {
	const char *id, *path;
	const char *type;        /* as it was made: x-vfio-user-server or vfio-user-server */
	const char *socket_path; /* "": none is known */
	int socket_fd;           /* the listening one; -1: not there yet */
	const char *device, *device_path; /* NULL: not set yet */
	struct device_held_by held_by;
	enum machine_server_state state;
	const char *missing; /* WAITING: "device" or "socket" */
	uint64_t clients;    /* that were accepted so far */
	bool has_client;     /* CONNECTED, LEAVING */
	struct machine_client_info client;
};

/* The first error since the machine was told to go on, of those that stop it. */
enum machine_io_status { MACHINE_IO_OK, MACHINE_IO_FAILED, MACHINE_IO_NOSPACE };

/* A block node. */
struct machine_block_info {
	const char *node_name, *driver;
	const char *filename;         /* "" if it has none */
	const char *user, *user_path; /* the device that uses it; NULL: nobody does */
	const char *below, *above;    /* a filter's node, the filter over a node; NULL: none */
	const struct block_options *options;
	bool active, direct;
	const struct ob_block_info *info;
	const struct block_stats *stats;
	unsigned in_flight;
	bool removing;
	bool stops; /* some of its errors stop the machine, and io_status is kept */
	enum machine_io_status io_status;
};

/* A chardev. */
struct machine_chardev_info {
	const char *id, *driver;
	const char *filename;         /* as QEMU says: "pty:/dev/pts/3" */
	const char *user, *user_path; /* the device that uses it; NULL: nobody does */
	bool open;                    /* somebody is on the other side */
	const struct chardev_stats *stats;
};

int machine_each_root(const struct machine *machine,
                      int (*each)(void *context, const struct machine_root_info *info),
                      void *context);
int machine_each_device(const struct machine *machine,
                        int (*each)(void *context, const struct machine_device_info *info),
                        void *context);
int machine_each_part(const struct machine *machine,
                      int (*each)(void *context, const struct machine_part_info *info),
                      void *context);
int machine_each_server(const struct machine *machine,
                        int (*each)(void *context, const struct machine_server_info *info),
                        void *context);
int machine_each_block(const struct machine *machine,
                       int (*each)(void *context, const struct machine_block_info *info),
                       void *context);

int machine_each_chardev(const struct machine *machine,
                         int (*each)(void *context, const struct machine_chardev_info *info),
                         void *context);

/* A device's function, by id. -ENOENT with a message; from a walk over devices it never fails. */
int machine_pci_info(const struct machine *machine, const char *device,
                     struct machine_pci_info *info, struct ob_error *err);

/* Bytes of its configuration space; past the end there are zeroes. The same. */
int machine_config_read(const struct machine *machine, const char *device, unsigned offset,
                        void *buffer, unsigned length, struct ob_error *err);

/*
 * Types that objects are made of, those of devices first. The tables of a type's properties, each
 * ended by a NULL name, are ended by NULL.
 */
struct machine_type_info {
	const char *name, *summary;
	bool is_device;     /* made by machine_add_device(), else by machine_add_object() */
	const char *parent; /* "pci-device", "device" (the root) or "object" */
	const struct ob_prop *const *tables;
};
int machine_each_type(int (*each)(void *context, const struct machine_type_info *info),
                      void *context);

/* What QEMU calls it: "bool", "uint32", "size", "str", "list". */
const char *machine_type_name(enum ob_prop_type type);

/*
 * Properties of an object, which a path names: "/machine", "/machine/peripheral/ID", "/objects/ID",
 * or just ID.
 */
struct machine_property_info {
	const char *name;
	const char *type; /* as machine_type_name(), or "SocketAddress" */
	const char *help;
	const char *preset; /* NULL: none */
	bool writeable;     /* at present */
};

/* -ENOENT with a message if there is no such object; else what each returned. */
int machine_each_property(const struct machine *machine, const char *path,
                          int (*each)(void *context, const struct machine_property_info *info),
                          void *context, struct ob_error *err);

/*
 * Adds a property's value to out, as the user would write it: one pair NAME=VALUE, none if it has
 * no value, one for each element of a list, and pairs NAME.MEMBER=VALUE for a SocketAddress. *type
 * (may be NULL) as above. 0, -ENOENT (object, property), -ENOMEM, with a message.
 */
int machine_get_property(const struct machine *machine, const char *path, const char *name,
                         struct opts *out, const char **type, struct ob_error *err);

/*
 * Sets a property. value has pairs of the same form. Servers begin to serve when the last of
 * `device` and `socket` is set. 0; -ENOENT; -EBUSY: not at this time, or never after making;
 * -EINVAL; with a message that names the property and the reason. Nothing changes on failure.
 */
int machine_set_property(struct machine *machine, const char *path, const char *name,
                         struct opts *value, struct ob_error *err);

#endif

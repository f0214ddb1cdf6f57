/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device: an instance of a model, with its properties, its PCI function, its DMA space, and its
 * life (start, reset, quiesce, stop). Implements outboard/device.h for models; this is the side
 * that sessions and servers see.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/budget.h"
#include "base/log.h"
#include "base/opts.h"
#include "dma/dma.h"
#include "outboard/device.h"
#include "pci/pci.h"

/* VFIO_PCI_*_REGION_INDEX */
enum device_region {
	DEVICE_REGION_BAR0 = 0,
	DEVICE_REGION_ROM = 6,
	DEVICE_REGION_CONFIG = 7,
	DEVICE_REGION_VGA = 8,
	DEVICE_REGIONS = 9, /* and what the model has besides: see device_regions() */
};

/* See ob_dev_block_error(). The action is the user's; of a flush, the model is told to report. */
struct device_error {
	const struct ob_block *block;
	bool write; /* everything but a read */
	int error;  /* -errno */
	enum ob_error_action action;
};

/* What a device needs of the process around it. */
struct device_env {
	struct ob_loop *loop;
	const struct log *log;
	/* Finds a block node by node-name and marks it as used by user; NULL with a message. */
	struct ob_block *(*claim_block)(void *context, const char *node_name, const char *user,
	                                struct ob_error *err);
	void (*release_block)(void *context, struct ob_block *block, const char *user);
	/* The same of a chardev by its id. Both may be NULL. */
	struct ob_chardev *(*claim_chardev)(void *context, const char *id, const char *user,
	                                    struct ob_error *err);
	void (*release_chardev)(void *context, struct ob_chardev *chardev, const char *user);
	/* The model said that it failed: see ob_dev_failed(). May be NULL. */
	void (*failed)(void *context, struct ob_dev *dev, const char *message);
	/* A request has failed, and what becomes of it; may be NULL: then nothing stops. */
	void (*block_error)(void *context, struct ob_dev *dev, const struct device_error *error);
	void *context;
	struct dma_budget *dma_budget; /* see dma_set_budget(); NULL: no bound */
	bool qemu_ident;               /* devices are who QEMU's of their name are */
	struct budget *bounce;         /* bytes of transfers by messages; NULL: none but its own */
};

/*
 * Makes and starts a device. Takes the model's properties out of opts; what remains there is the
 * caller's to judge. env is copied. NULL with a message.
 */
struct ob_dev *device_new(const struct ob_model *model, const char *id,
                          const struct device_env *env, struct opts *opts, struct ob_error *err);

/* The device must be quiet and have no client: nothing mapped, no sink. */
void device_free(struct ob_dev *dev);

const struct ob_model *device_model(const struct ob_dev *dev);
struct pci *device_pci(struct ob_dev *dev);
struct dma_space *device_dma(struct ob_dev *dev);
struct log *device_log(struct ob_dev *dev);

/*
 * Parts: see struct ob_part. Adding takes the part's properties out of opts; NULL with a message.
 * To be removed the device has to be quiet. What is left goes with the device.
 */
struct device_part;
struct device_part *device_part_add(struct ob_dev *dev, struct opts *opts, struct ob_error *err);
void device_part_remove(struct ob_dev *dev, struct device_part *part);
const void *device_part_props(const struct device_part *part);

/*
 * The block nodes behind the device, in the order of its properties, then those of its parts by
 * their numbers; NULL past the last.
 */
struct ob_block *device_drive(const struct ob_dev *dev, unsigned number);

/*
 * The memory of a BAR that the device itself owns: from where its first window of memory begins to
 * where the last one ends, *size bytes; NULL if there is none.
 */
uint8_t *device_own_memory(struct ob_dev *dev, unsigned bar, uint64_t *size);

/*
 * One object of a folder above, for as long as the device lives; free is called before it goes.
 * needs_parts says whether it relies on the device's drives to stay as they are right now.
 */
void device_attach(struct ob_dev *dev, void *object, void (*free)(void *object),
                   bool (*needs_parts)(const void *object));
void *device_attached(const struct ob_dev *dev);
/* Whether no part may come or go now, and no drive change its size. */
bool device_needs_parts(const struct ob_dev *dev);

/*
 * Holds: the one way to stop a device, for reset, a client's departure, pause, unplug, migration
 * and whatever else has to. While anybody holds it, the device begins no new work; it is quiet once
 * nothing is in flight. It goes on when the last hold was released.
 */
enum device_hold_reason {
	DEVICE_HOLD_RESET,          /* by the client or the monitor */
	DEVICE_HOLD_FUNCTION_RESET, /* by the guest: PCIe FLR or AF FLR */
	DEVICE_HOLD_BUS,            /* Bus Master Enable is off, or the function is in D3hot */
	DEVICE_HOLD_CLIENT_LEAVES,  /* the session is ending */
	DEVICE_HOLD_NO_CLIENT,      /* nobody uses it: see device_client_uses() */
	DEVICE_HOLD_MIGRATION,
	DEVICE_HOLD_PAUSE, /* the machine is stopped */
	DEVICE_HOLD_UNPLUG,
	DEVICE_HOLD_REASONS,
};

/* Zeroed, with done set, before its first use; its holder's, who keeps it while it holds. */
struct device_hold {
	void (*done)(struct device_hold *hold);

	/* The device's. */
	enum device_hold_reason reason;
	bool held, waiting; /* waiting: done was not called yet */
	struct device_hold *next;
};

/*
 * Begins to hold the device; hold must not be held. 0: it is quiet (done is not called); or
 * -EINPROGRESS: hold->done is called from the loop once it is. Who came first is told first.
 */
int device_hold(struct ob_dev *dev, struct device_hold *hold, enum device_hold_reason reason);

/* Ends the hold, and the wait if done was not called yet. Nothing if it is not held. */
void device_release(struct ob_dev *dev, struct device_hold *hold);

/* Whether any hold is for that reason. */
bool device_is_held(const struct ob_dev *dev, enum device_hold_reason reason);

/* Why it is held: the names of the reasons ("no-client"), each once, ended by NULL. */
struct device_held_by {
	const char *names[DEVICE_HOLD_REASONS + 1];
};
struct device_held_by device_held_by(const struct ob_dev *dev);

/*
 * Clients come and go, and the device's work needs their memory: so it is held from when one has
 * left until the next one uses it, that is, has written to a BAR, rung a doorbell, reset the device
 * or set it running. Otherwise a device whose client was killed would find its queues gone, and
 * fail.
 *
 * device_client_left() is called while the device is quiet. Uses of a device that has had no client
 * leave change nothing.
 */
void device_client_came(struct ob_dev *dev);
void device_client_uses(struct ob_dev *dev);
void device_client_left(struct ob_dev *dev);
bool device_has_client(const struct ob_dev *dev);

/*
 * Whose memory the device's state speaks of: the last client that mapped some and left. A reset
 * forgets it.
 */
enum { DEVICE_OWNER_FILES = 8 };
struct device_owner {
	int64_t pid;      /* 0: not known */
	uint64_t started; /* the process, in ticks since the host did; 0: not known */
	unsigned files;   /* that memory is of, as far as they are known; the first ones */
	struct {
		uint64_t device, inode;
	} file[DEVICE_OWNER_FILES];
};
void device_set_owner(struct ob_dev *dev, const struct device_owner *owner);
const struct device_owner *device_owner(const struct ob_dev *dev); /* NULL: nobody's */

/* Power-on state of function and model. Only while the device is quiet, and held. */
void device_reset(struct ob_dev *dev);

/*
 * The function's state was loaded: the device is held if it must keep off its bus (Bus Master
 * Enable, D3hot), and for as long as it must. Writes of configuration space and resets see to that
 * by themselves.
 */
void device_follow_function(struct ob_dev *dev);

/*
 * The device runs somewhere else, and what it is here is what it was when it went: with that, it
 * would do again what was done there since. Until it is reset, or loads a state.
 */
void device_set_outdated(struct ob_dev *dev);
bool device_is_outdated(const struct ob_dev *dev);

/* As the model's resize says. -ENOTSUP with a message if it has none. */
int device_resize_block(struct ob_dev *dev, struct ob_block *block, uint64_t size,
                        struct ob_error *err);

/* What is to become of reads, or writes, of a node that fail; never OB_ON_ERROR_AUTO. */
enum ob_on_error device_on_error(const struct ob_dev *dev, const struct ob_block *block,
                                 bool write);

/* By which guests know the device; "": it has none. */
const char *device_serial(const struct ob_dev *dev);

/* What the model said when it failed; NULL: it has not since the last reset. */
const char *device_failure(const struct ob_dev *dev);

/* How many regions there are, those of PCI first. */
unsigned device_regions(const struct ob_dev *dev);

enum { DEVICE_AREAS = 8 }; /* of a region; what is past that cannot be mapped */

struct device_area {
	uint64_t offset, size;
};

/* Size in bytes; 0: there is no such region. readable and writeable as the client sees it. */
struct device_region_info {
	uint64_t size;
	bool readable, writeable;
	bool typed; /* it has a type and a subtype, and no place in PCI */
	uint32_t type, subtype;
	/*
	 * What the client may map, of device_region_fd(), at the same offset as in the region, in
	 * whole pages. 0 areas: nothing.
	 */
	unsigned areas;
	struct device_area area[DEVICE_AREAS];
};
void device_region_info(struct ob_dev *dev, unsigned region, struct device_region_info *info);

/* The device's descriptor of a region with areas, for a client, until device_revoke(). */
int device_region_fd(struct ob_dev *dev, unsigned region);

/*
 * Doorbells of a region: puts up to max of them at list and returns how many. The eventfd of one is
 * made when it is first asked for: the device's descriptor, or -errno.
 */
struct device_doorbell {
	unsigned index; /* among all of the device's */
	uint8_t bar;
	uint8_t size; /* of the writes that ring it: 1, 2, 4 or 8; 0: any */
	bool match;   /* only writes of value ring it */
	uint64_t offset, value;
};
unsigned device_doorbells(struct ob_dev *dev, unsigned region, struct device_doorbell *list,
                          unsigned max);
int device_doorbell_fd(struct ob_dev *dev, unsigned index);

/*
 * The client is gone: what it was given by descriptor is taken from it. Its mappings and eventfds
 * do not reach the device any more; the bytes of memory are kept.
 */
void device_revoke(struct ob_dev *dev);

/* 0 if device_region_read(), or with write set device_region_write(), would do this. */
int device_region_check(struct ob_dev *dev, unsigned region, uint64_t offset, size_t length,
                        bool write);

/*
 * Reads or writes a region, any size and alignment. 0, or -EINVAL: no such region, past its end, or
 * a direction it does not have.
 */
int device_region_read(struct ob_dev *dev, unsigned region, uint64_t offset, void *buffer,
                       size_t length);
int device_region_write(struct ob_dev *dev, unsigned region, uint64_t offset, const void *buffer,
                        size_t length);

/* The models that are built in, ended by NULL; and one of them by name, or NULL. */
const struct ob_model *const *device_models(void);
const struct ob_model *device_model_find(const char *name);

/*
 * The properties that devices of every model have: their PCI identity. The values of a device are
 * in the struct that device_common_values() returns: those that it was given, or that it has
 * anyway.
 */
extern const struct ob_prop device_common_props[];
const void *device_common_values(const struct ob_dev *dev);

/* Prints the property tables as `outboard MODEL --help` shows it. */
void device_print_help(const struct ob_model *model, FILE *out);

#endif

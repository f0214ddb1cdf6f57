/* SPDX-License-Identifier: BSD-3-Clause */
/* The device's own struct, shared by the files of this folder. */
#ifndef DEVICE_INTERNAL_H
#define DEVICE_INTERNAL_H

#include "base/props.h"
#include "bus.h"
#include "device.h"

struct device_bell;

/* What the user says of the device's identity; 0: nothing. Then what it is. */
struct device_ident {
	uint32_t vendor, device, subsystem_vendor, subsystem;
};

/* The memory of a BAR's windows, as large as the BAR; what is no memory stays a hole. */
struct device_memory {
	void *bytes;
	uint64_t size;
	int fd;     /* -1: it can't be given to clients */
	bool given; /* a client has it, or had */
};

/* A device's place on a bus, and its DMA there that waits for the loop. */
struct device_port {
	struct list link;
	struct device_bus *on; /* NULL: it is on none */
	struct dma_bus bus;
	struct ob_dma_op *first, *last, *moving;
	struct ob_task step;
};

/* Transfers by messages hold buffers, or wait in a ring for their turn: see xfer.c. */
struct device_bounce {
	struct budget_share bytes;
	struct ob_xfer *first; /* NULL: nobody waits */
	struct ob_task turn;
};

struct ob_dev {
	const struct ob_model *model;
	char id[64];
	char serial[64]; /* see ob_dev_set_serial() */
	struct device_env env;
	struct log log, guest_log; /* what the guest causes is not to hide what its drives say */

	struct pci *pci;
	struct dma_space *dma;
	struct device_bounce bounce;
	void *props, *state, *runtime;
	struct device_ident ident;
	struct device_memory memory[PCI_BARS]; /* of BARs with windows of memory */
	struct device_bell *bells;             /* one for each doorbell of the layout's */

	struct device_part *parts; /* by number */

	struct device_port port;
	void *attached; /* see device_attach() */
	void (*attached_free)(void *attached);
	bool (*attached_needs_parts)(const void *attached);
	char failure[128]; /* what the model said: see ob_dev_failed() */

	/* See hold.c. */
	struct device_hold *holds; /* who came first is first */
	bool quieting;             /* the model was told, and has not said that it is quiet */
	bool quiet;
	struct ob_task quiet_task;
	struct device_hold no_client;

	bool client; /* somebody is connected */
	bool owned;  /* see device_set_owner() */
	struct device_owner owner;
	bool outdated; /* see device_set_outdated() */

	/* What the function asks for: see function.c. */
	struct device_hold bus_off, function_reset;
	struct pci_irq_watcher irq_watcher;
};

/* hold.c */
void device_hold_init(struct ob_dev *dev);

/* device.c: as device_reset(), with what resets the function. */
void device_reset_by(struct ob_dev *dev, void (*reset)(struct pci *pci));

/* function.c. dev->pci was made. */
void device_function_init(struct ob_dev *dev);
/* Software has written configuration space. */
void device_config_written(struct ob_dev *dev);
/* The device is awake: the model is told of what became of interrupts meanwhile. */
void device_tell_irqs(struct ob_dev *dev);

/* ident.c: who it is, from what the model says and dev->ident; fills in both. */
int device_choose_ident(struct ob_dev *dev, struct ob_pci_ident *ident, struct ob_error *err);

/* layout.c: what src/pci does not check. 0, or -EINVAL with a message. */
int device_check_layout(const struct pci *pci, struct ob_error *err);

/* part.c: releases what is left; the model was stopped. And node number n of theirs, or NULL. */
void device_parts_free(struct ob_dev *dev);
struct ob_block *device_parts_drive(const struct ob_dev *dev, unsigned number);
/* objects.c: block nodes and so on for props_apply(), and back. */
struct props_objects device_objects(struct ob_dev *dev);
void device_release_objects(struct ob_dev *dev, const struct ob_prop *table, void *values);

/* xfer.c */
void device_bounce_init(struct ob_dev *dev);

/* memory.c */
void device_memory_init(struct ob_dev *dev);
int device_memory_alloc(struct ob_dev *dev, struct ob_error *err);
void device_memory_free(struct ob_dev *dev);
void device_memory_reset(struct ob_dev *dev);
void device_memory_revoke(struct ob_dev *dev);
/* The parts of a BAR that clients may map, in whole pages. Returns how many. */
unsigned device_memory_areas(struct ob_dev *dev, unsigned bar, struct device_area *areas);

/* doorbell.c */
int device_doorbells_alloc(struct ob_dev *dev, struct ob_error *err);
void device_doorbells_free(struct ob_dev *dev);
void device_doorbells_revoke(struct ob_dev *dev);
/* The device is awake again: what rang meanwhile is told. Or, at reset, forgotten. */
void device_doorbells_resume(struct ob_dev *dev);
void device_doorbells_reset(struct ob_dev *dev);

#endif

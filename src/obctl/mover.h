/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Moves a device's state from one server to another, and the memory that it works on with it, as a
 * VMM does: memory is copied while the device writes to it, in passes over what the dirty log
 * names, the device's state likewise; then the source stops, the rest is copied, and the
 * destination goes on (include/uapi/linux/vfio.h; section VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE).
 *
 * The driver is the guest. It is a load's, and goes on while memory is copied. To stop it is to not
 * return to it; that happens at any point of its loop. What the driver writes it notes in a log of
 * its own. What the device writes is known from the device's log alone; after the last copy both
 * memories are compared as a whole, and a page that differs was in neither log.
 */
#ifndef OBCTL_MOVER_H
#define OBCTL_MOVER_H

#include "obctl/load.h"

/* One of the servers. */
struct mover_side {
	const char *socket;
	struct ob_client *client;
	struct ob_client_memory *memory; /* what its device sees */
	struct ob_client_migration can;
};

/* What one move took. */
struct move {
	uint64_t downtime; /* ns, last completion before it to first after; 0 without a driver */
	uint64_t pause;    /* ns, from STOP_COPY to RUNNING */
	uint64_t total;    /* ns, from its begin */
	uint64_t memory;   /* bytes copied */
	uint64_t state;    /* bytes of device state; late: of them, while the device was stopped */
	uint64_t late, pages; /* pages: copied while the device was stopped */
	uint64_t passes;
};

enum mover_phase { MOVER_RESTS, MOVER_COPIES, MOVER_STOPS };

struct mover {
	struct load_hook hook;
	struct nvme *nvme; /* NULL: no driver */
	unsigned rounds;   /* moves to make */
	uint64_t interval; /* ns between moves */
	bool compare, progress;

	struct mover_side sides[2];
	unsigned at; /* the side where the device runs */
	enum mover_phase phase;
	enum load_point stop_at;
	uint64_t random_state, rest_until;

	/* The move under way. */
	uint64_t *todo, *log; /* bits for pages: to be copied, written by the driver */
	size_t next;          /* page to look at */
	bool dry;             /* the device has no more state to read now */
	uint64_t pass_state;  /* bytes of it in this pass */
	uint64_t began, last_completion, compared, mark;
	bool waiting; /* for the first completion after a move */
	uint8_t *chunk;
	uint32_t chunk_size;

	struct move *moves; /* rounds of them */
	unsigned count;
	struct ob_error failure; /* why a move failed; the source goes on. "" if none did */
};

/*
 * *mover is zeroed but for what its user says: sockets, clients, nvme, rounds, interval, compare,
 * progress. size: bytes of memory without a driver, which has its own. -errno with a message;
 * mover_free() in any case, before nvme_close().
 */
int mover_init(struct mover *mover, size_t size, struct ob_error *err);
void mover_free(struct mover *mover);

/* One move without a driver. 0, or -errno with a message: the source may go on or be lost. */
int mover_move(struct mover *mover, struct ob_error *err);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a controller is configured to be (properties), and what it would hold in registers and
 * memory (state). Both are plain data; state has no pointers, and everything else can be made of
 * the two.
 *
 * The namespaces' formats, the health counters, the serial number and the error count outlive
 * resets; the rest goes back to power-on values with a reset of the function (nvme_state_reset())
 * or of the controller (nvme_queues_clear() and nvme_features_reset()).
 */
#ifndef NVME_STATE_H
#define NVME_STATE_H

#include <stdbool.h>

#include "nvme.h"
#include "outboard/device.h"

enum {
	NVME_MAX_PAIRS = 128, /* I/O queue pairs */
	NVME_MAX_NAMESPACES = 256,
	NVME_MAX_ENTRIES = 2048,  /* of an I/O queue: CAP.MQES + 1 */
	NVME_MAX_PAGE_SHIFT = 16, /* CAP.MPSMAX: 64 KiB */
	NVME_MAX_VECTORS = NVME_MAX_PAIRS + 1,
	NVME_ASYNC_EVENTS = 8, /* Asynchronous Event Requests that may be outstanding */
	NVME_PENDING_EVENTS = 8,
	NVME_ABORTS = 4, /* Abort commands at a time */
	NVME_ERROR_ENTRIES = 64,
	NVME_SERIAL_LENGTH = 20,
	NVME_MODEL_LENGTH = 40,
	NVME_FIRMWARE_LENGTH = 8,
	NVME_NQN_LENGTH = 223,
};

/* Of the properties of these names. */
enum nvme_interrupts { NVME_MSIX, NVME_MSI, NVME_INTX };
enum nvme_write_cache { NVME_CACHE_AUTO, NVME_CACHE_ON, NVME_CACHE_OFF };
enum nvme_tail { NVME_TAIL_REFUSE, NVME_TAIL_LEAVE };
extern const char *const nvme_tails[], *const nvme_block_sizes[];
enum nvme_polling { NVME_POLL_OFF, NVME_POLL_ON, NVME_POLL_ADAPTIVE };

struct nvme_props {
	struct ob_block_list drives;
	char *serial, *model, *firmware;
	char *subnqn;            /* NULL: made of the serial number */
	uint32_t write_cache;    /* enum nvme_write_cache: as a reset leaves it */
	uint32_t rerror, werror; /* enum ob_on_error: see ob_dev_block_error() */
	uint32_t namespaces;     /* that each drive is divided into */
	uint32_t num_queues;     /* I/O queue pairs */
	uint32_t msix_vectors;   /* 0: one for each queue, at most 64 */
	uint32_t interrupts;     /* enum nvme_interrupts */
	uint32_t block_size;     /* 0: 512, 1: 4096 */
	uint32_t tail;           /* enum nvme_tail */
	uint32_t bar_size;       /* of BAR 0; 0: 16 KiB, 1: 8 KiB */
	uint32_t mdts;
	bool ioeventfds, mmap_doorbells;
	uint32_t poll; /* enum nvme_polling */
	uint32_t poll_max_us, idle_poll_us;
};

/* A queue exists when entries is not 0. */
struct nvme_sq_state {
	uint64_t base;
	uint32_t entries;
	uint16_t head, tail, cqid;
	bool deleting; /* a Delete I/O Submission Queue command waits */
	bool fresh;    /* to be saved: see struct nvme_shadow */
};

struct nvme_cq_state {
	uint64_t base;
	uint32_t entries;
	uint16_t head, tail, vector;
	uint16_t users; /* submission queues that complete here */
	bool phase, irq;
	bool fresh; /* to be saved: see struct nvme_shadow */
};

struct nvme_event {
	uint8_t type, info, log;
};

struct nvme_skip {
	uint16_t sqid, index;
};

/* Current values of the features of the same names. */
struct nvme_features {
	uint32_t arbitration, power, temperature_over, temperature_under;
	uint32_t write_cache, coalescing, atomicity, async_event;
	uint32_t error_recovery[NVME_MAX_NAMESPACES];
	bool no_coalescing[NVME_MAX_VECTORS];
	uint8_t host_behavior;
	uint8_t timestamp_origin;
	uint64_t timestamp;     /* ms, as set */
	uint64_t timestamp_at;  /* when it was set: ob_loop_now() */
	uint64_t timestamp_age; /* to be saved: how long ago that was, in ns */
};

/* Health counters: what the SMART log shows since the device was made. */
struct nvme_health {
	uint64_t bytes_read, bytes_written, reads, writes;
	uint64_t media_errors, error_count, unsafe_shutdowns;
	uint64_t started; /* ob_loop_now() at the start */
	uint64_t age;     /* to be saved: how long ago that was, in ns */
};

struct nvme_state {
	/* Registers. */
	uint32_t intms, cc, csts, aqa;
	uint64_t asq, acq;

	/* Number 0 is the admin queue. */
	struct nvme_sq_state sq[NVME_MAX_PAIRS + 1];
	struct nvme_cq_state cq[NVME_MAX_PAIRS + 1];

	/* Doorbell Buffer Config (5.7). */
	bool shadow;
	uint64_t shadow_doorbells, event_indices;

	struct nvme_features features;

	/* Asynchronous events: requests that wait, events that wait, types masked until read. */
	uint8_t async_count, event_count, events_masked;
	uint16_t async_cids[NVME_ASYNC_EVENTS];
	struct nvme_event events[NVME_PENDING_EVENTS];
	uint8_t changed[NVME_MAX_NAMESPACES / 8]; /* Changed Namespace List, a bit for each */

	/* Commands that were aborted before they were fetched: their entries are to be skipped. */
	uint8_t skip_count;
	struct nvme_skip skips[NVME_ABORTS];

	/* From here on it outlives resets. */
	uint8_t lba_shift[NVME_MAX_NAMESPACES];
	char serial[NVME_SERIAL_LENGTH + 1];
	struct nvme_health health;
	uint8_t error_next; /* where in errors the next one goes */
	struct nvme_error_entry errors[NVME_ERROR_ENTRIES];
};

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small polled NVMe driver over the client library (NVM Express Base Specification 1.4), for
 * obctl, tests and benchmarks. It brings a controller up with some I/O queue pairs, and then moves
 * commands through them as fast as it can: every command slot has a buffer and its PRPs of its own,
 * set up once, so that to submit is to copy 64 bytes and to reap is to look at one word.
 *
 * Commands gather until nvme_ring(). Memory and doorbells are as the caller says: shared or reached
 * by messages, doorbells mapped, shadowed in memory, or written by message.
 */
#ifndef CLIENT_NVME_H
#define CLIENT_NVME_H

#include "outboard/client.h"

enum nvme_doorbells {
	NVME_DOORBELLS_AUTO, /* the first that the server can do of: mmap, shadow, message */
	NVME_DOORBELLS_MMAP,
	NVME_DOORBELLS_MMAP_SHADOW, /* shadow doorbells, with the mapped ones instead of messages */
	NVME_DOORBELLS_SHADOW,  /* Doorbell Buffer Config, with messages when it asks for them */
	NVME_DOORBELLS_EVENTFD, /* the same, with eventfds of the server's instead of messages */
	NVME_DOORBELLS_MESSAGE,
};

enum { NVME_OP_FLUSH = 0, NVME_OP_WRITE = 1, NVME_OP_READ = 2 };

enum {
	NVME_MAX_QUEUES = 64,
	NVME_MAX_DEPTH = 4095,
	NVME_MAX_SLOT = 2 << 20, /* bytes of a slot's buffer: what one page of PRPs reaches */
	NVME_MAX_BUFFERS = 1 << 16,
};

struct nvme_config {
	unsigned queues;  /* pairs, 1 to NVME_MAX_QUEUES */
	unsigned depth;   /* commands under way in each, 1 to NVME_MAX_DEPTH */
	size_t slot_size; /* bytes that each command transfers: PRPs are made for that */
	uint32_t nsid;
	bool unshared; /* the controller reaches our memory by messages */
	bool msix;     /* completions raise interrupts, for nvme_sleep() */
	enum nvme_doorbells doorbells;
	unsigned buffers; /* of each slot, taken in turn: more memory to write to; 0: 1 */
};

/* A submission and a completion queue entry (4.2, 4.6), in the host's little-endian order. */
struct nvme_sqe {
	uint8_t opcode, flags;
	uint16_t cid;
	uint32_t nsid;
	uint64_t reserved, metadata;
	uint64_t prp1, prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_sqe) == 64, "NVMe 1.4, 4.2");

struct nvme_cqe {
	uint32_t result, reserved;
	uint16_t sq_head, sq_id;
	uint16_t cid, status; /* status: the phase in bit 0 */
};
_Static_assert(sizeof(struct nvme_cqe) == 16, "NVMe 1.4, 4.6");

/* A doorbell: one of the ways to tell the controller a number. */
struct nvme_bell {
	volatile uint32_t *mapped;         /* NULL: by message */
	volatile uint32_t *shadow, *event; /* NULL: no shadow */
	int eventfd;                       /* one of nvme->io_fds; -1: by message */
	uint64_t offset;                   /* in BAR 0 */
	uint32_t last;
};

struct nvme_queue {
	struct nvme *nvme;
	struct nvme_sqe *sq;
	struct nvme_cqe *cq;
	struct nvme_bell sq_bell, cq_bell;
	unsigned id, entries, depth;
	unsigned tail, head, unrung;
	uint16_t phase;
	unsigned busy_count; /* commands under way */

	struct nvme_sqe *slots; /* what commands have in common, for each buffer; see at */
	uint32_t *at;           /* each slot's buffer now: the slot, or some multiple of depth on */
	bool *busy;
	uint16_t *free;
	unsigned free_count;

	uint8_t *buffers; /* depth times config.buffers of them, stride apart */
	size_t stride;
	uint32_t buffer_count;
	int eventfd; /* -1 without interrupts */
};

struct nvme {
	struct ob_client *client;
	struct nvme_config config;
	struct ob_client_memory *memory;
	size_t used;   /* of the memory, while it is laid out */
	uint64_t *log; /* a bit for each page of memory that the driver writes; NULL: none */
	uint64_t capabilities;
	enum nvme_doorbells doorbells; /* in use */
	uint8_t *mapped;               /* the area of BAR 0 with the doorbells; NULL: not mapped */
	uint64_t mapped_offset;
	size_t mapped_size;
	struct ob_client_io_fds io_fds;
	bool enabled;

	struct nvme_queue admin;
	struct nvme_queue *queues; /* config.queues of them */
	uint8_t *page, *shadow, *event;

	char serial[21], model[41], firmware[9];
	uint32_t max_transfer; /* bytes; UINT32_MAX: no limit */
	uint16_t optional_admin;
	uint32_t block_size; /* bytes, of the namespace */
	uint64_t blocks;
	unsigned spins;
};

/* A command that ended. */
struct nvme_done {
	uint16_t slot;
	uint16_t status; /* 0: success; otherwise status code and type, without the phase */
};

/*
 * Brings the controller up: its memory is mapped, queues exist, namespace nsid is known. The client
 * stays the caller's. 0, or -errno with a message.
 */
int nvme_open(struct ob_client *client, const struct nvme_config *config, struct nvme **out,
              struct ob_error *err);

/* Shuts the controller down if it still answers, and unmaps. NULL is fine. */
void nvme_close(struct nvme *nvme);

/* One admin command, waited for. data: a page for what it transfers; see nvme->page. 0, -errno. */
int nvme_admin(struct nvme *nvme, const struct nvme_sqe *command, uint32_t *result,
               struct ob_error *err);

const char *nvme_doorbells_name(enum nvme_doorbells doorbells);

/*
 * Moving to another server, as a VMM moves a guest: the driver is between any two of the calls
 * above and below, commands may be under way. The other server's device has this one's state, and
 * sees memory, of the same size and content, at the same addresses. Doorbells and interrupts are
 * the other device's then. nvme->client and nvme->memory are replaced; the old memory becomes the
 * caller's. After an error the driver is of neither: move it again, back if need be.
 */
int nvme_move(struct nvme *nvme, struct ob_client *client, struct ob_client_memory *memory,
              struct ob_error *err);

/* Maps memory for a device as nvme_open() did with its own. */
int nvme_share(const struct nvme *nvme, struct ob_client *client, struct ob_client_memory *memory);

/* Notes that the driver writes to its memory, before nvme_ring() tells the controller. */
static inline void nvme_wrote(struct nvme *nvme, const volatile void *data, size_t length)
{
	uintptr_t begin = (uintptr_t)data - (uintptr_t)nvme->memory->data;

	if (!nvme->log)
		return;
	for (size_t page = begin / 4096; page <= (begin + length - 1) / 4096; page++)
		nvme->log[page / 64] |= UINT64_C(1) << page % 64;
}

/* A free slot of the queue with its next buffer, or -1. */
static inline int nvme_slot_get(struct nvme_queue *queue)
{
	unsigned slot;

	if (!queue->free_count)
		return -1;
	slot = queue->free[--queue->free_count];
	queue->at[slot] += queue->depth;
	if (queue->at[slot] >= queue->buffer_count)
		queue->at[slot] = slot;
	return (int)slot;
}

static inline void nvme_slot_put(struct nvme_queue *queue, unsigned slot)
{
	queue->free[queue->free_count++] = (uint16_t)slot;
}

static inline uint8_t *nvme_buffer(const struct nvme_queue *queue, unsigned slot)
{
	return queue->buffers + queue->at[slot] * queue->stride;
}

/* Puts a command into the queue; blocks is not looked at for a flush. Nothing is sent yet. */
static inline void nvme_submit(struct nvme_queue *queue, unsigned slot, uint8_t opcode,
                               uint64_t lba, uint32_t blocks)
{
	struct nvme_sqe *sqe = &queue->sq[queue->tail];

	nvme_wrote(queue->nvme, sqe, sizeof(*sqe));
	*sqe = queue->slots[queue->at[slot]];
	sqe->opcode = opcode;
	sqe->cdw10 = (uint32_t)lba;
	sqe->cdw11 = (uint32_t)(lba >> 32);
	sqe->cdw12 = blocks - 1;
	queue->busy[slot] = true;
	queue->busy_count++;
	if (++queue->tail == queue->entries)
		queue->tail = 0;
	queue->unrung++;
}

/* The same for fewer bytes than slot_size: PRP 2 is then a list, a page or nothing (4.3). */
void nvme_submit_part(struct nvme_queue *queue, unsigned slot, uint8_t opcode, uint64_t lba,
                      uint32_t blocks);

/* Tells the controller of what was submitted, and of what was reaped meanwhile. 0 or -errno. */
int nvme_ring(struct nvme_queue *queue);

/*
 * Takes up to max completions. Returns how many, or -errno: -EPROTO if the controller completed
 * what was not under way. The slots are the caller's again. Looks after the connection too.
 */
int nvme_reap(struct nvme_queue *queue, struct nvme_done *done, unsigned max);

/* Completions that nvme_reap() would take now. */
unsigned nvme_waiting(const struct nvme_queue *queue);

/*
 * Waits until one of the queues may have a completion: sleeps for an interrupt if the controller
 * was opened with them, otherwise returns at once. 0, -ETIMEDOUT, -errno.
 */
int nvme_sleep(struct nvme *nvme, unsigned timeout_ms);

#endif

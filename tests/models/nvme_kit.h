/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small NVMe driver for tests, on top of the kit: registers, queues, commands, and data in guest
 * memory described by PRPs or SGLs. It knows the specification's numbers from elsewhere than the
 * model does: from here.
 */
#ifndef NVME_KIT_H
#define NVME_KIT_H

#include "kit.h"

enum {
	REG_CAP = 0x00,
	REG_VS = 0x08,
	REG_INTMS = 0x0c,
	REG_INTMC = 0x10,
	REG_CC = 0x14,
	REG_CSTS = 0x1c,
	REG_AQA = 0x24,
	REG_ASQ = 0x28,
	REG_ACQ = 0x30,
	CC_ON = 0x00460001, /* CQ entries of 16 bytes, SQ entries of 64, pages of 4 KiB, enabled */

	PAGE = 4096,
	ADMIN_ENTRIES = 32,
	MAX_PAGES = 520,
	DNR = 0x4000,
};

struct nq {
	unsigned id, entries, tail, head;
	bool phase;
	uint64_t sq, cq;
};

struct cqe {
	uint32_t result;
	uint16_t sq_head, sqid, cid;
	uint16_t status; /* without phase, "more" and "do not retry" */
	bool retry;      /* "do not retry" is not set */
};

/* A command to be: everything but the data pointers, which nvme_prp() and so on fill in. */
struct sqe {
	uint32_t dw[16];
};

struct nk {
	struct kit *kit;
	struct kit_drive *drive; /* the first */
	struct nq admin, io;
	uint16_t next_cid;
	uint64_t shadow, events; /* doorbell buffers, if there are any */
	struct cqe last;         /* what nk_run() got */
};

/* Guest memory for data: pages that do not follow each other, the first one used from offset on. */
struct buffer {
	uint64_t pages[MAX_PAGES];
	unsigned count;
	uint32_t offset, length;
};

/* A kit with a drive "d0" of 64 MiB; then the device, its admin queue, its first I/O queue. */
struct nk *nk_new(enum kit_mode mode);
void nk_start(struct nk *nk, const char *options);
void nk_enable(struct nk *nk);
void nk_disable(struct nk *nk);
void nk_create_io(struct nk *nk);
void nk_free(void *nk);
/* All of it, with defaults. */
void *nk_setup(enum kit_mode mode);

uint32_t nk_reg(struct nk *nk, unsigned reg);
void nk_set(struct nk *nk, unsigned reg, uint32_t value);
void nk_doorbell(struct nk *nk, unsigned qid, bool completion, uint32_t value);

struct sqe nk_sqe(uint8_t opcode, uint32_t nsid);
struct sqe nk_rw(uint8_t opcode, uint32_t nsid, uint64_t lba, uint32_t blocks);

/* Makes a queue's memory; with nk_create() on the device too, if status is 0. Returns the status.
 */
void nk_queue(struct nk *nk, struct nq *q, unsigned id, unsigned entries);
uint16_t nk_create_cq(struct nk *nk, struct nq *q, int vector);
uint16_t nk_create_sq(struct nk *nk, struct nq *q, unsigned cqid);
uint16_t nk_delete(struct nk *nk, uint8_t opcode, unsigned qid);

/* Doorbell Buffer Config: by itself, and with memory of zeroes for both, which is nk's then. */
uint16_t nk_shadow(struct nk *nk, uint64_t shadow, uint64_t events);
void nk_start_shadow(struct nk *nk);

/* Puts a command into the queue without ringing, returns its id; rings; both. */
uint16_t nk_put(struct nk *nk, struct nq *q, struct sqe sqe);
void nk_ring(struct nk *nk, struct nq *q);
uint16_t nk_submit(struct nk *nk, struct nq *q, struct sqe sqe);
/* Whether the completion queue has an entry; takes it; says so by the doorbell if ring is set. */
bool nk_has(struct nk *nk, const struct nq *q);
bool nk_take(struct nk *nk, struct nq *q, struct cqe *cqe, bool ring);
/* Turns the loop until there is one, or fails the test. */
struct cqe nk_wait(struct nk *nk, struct nq *q);
/* Submit and wait. Returns the status; the rest is in nk->last. */
uint16_t nk_run(struct nk *nk, struct nq *q, struct sqe sqe);

struct buffer nk_buffer(struct nk *nk, uint32_t offset, uint32_t length);
void nk_buffer_write(struct nk *nk, const struct buffer *b, const void *bytes);
void nk_buffer_read(struct nk *nk, const struct buffer *b, void *bytes);
/* Data pointers of a command for a buffer. */
void nk_prp(struct nk *nk, struct sqe *sqe, const struct buffer *b);
void nk_sgl(struct nk *nk, struct sqe *sqe, const struct buffer *b, unsigned per_segment);
/* A descriptor, in place i of a list at address. */
void nk_descriptor(struct nk *nk, uint64_t at, unsigned i, uint8_t type, uint64_t address,
                   uint32_t length);
void nk_sgl1(struct sqe *sqe, uint8_t type, uint64_t address, uint32_t length);

/* An admin command that returns data: into bytes, length bytes. Returns the status. */
uint16_t nk_get(struct nk *nk, struct sqe sqe, void *bytes, uint32_t length);
uint16_t nk_identify(struct nk *nk, uint8_t cns, uint32_t nsid, uint8_t *page);
uint16_t nk_log(struct nk *nk, uint8_t id, bool retain, uint64_t offset, void *bytes,
                uint32_t length);
uint16_t nk_feature(struct nk *nk, uint8_t id, uint8_t select, uint32_t dw11, uint32_t *result);
uint16_t nk_set_feature(struct nk *nk, uint8_t id, uint32_t dw11, uint32_t *result);
/* Writes or reads blocks through PRPs at a random offset. Returns the status. */
uint16_t nk_write(struct nk *nk, uint32_t nsid, uint64_t lba, const void *bytes, uint32_t blocks,
                  uint32_t size);
uint16_t nk_read(struct nk *nk, uint32_t nsid, uint64_t lba, void *bytes, uint32_t blocks,
                 uint32_t size);

#endif

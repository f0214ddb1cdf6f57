/* SPDX-License-Identifier: BSD-3-Clause */
/* The small NVMe driver (nvme_kit.h). */
#include "nvme_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WAIT_TURNS = 2000, IO_ENTRIES = 64 };

struct nk *nk_new(enum kit_mode mode)
{
	struct nk *nk = calloc(1, sizeof(*nk));

	nk->kit = kit_new(mode);
	nk->drive = kit_add_drive(nk->kit, "d0", 64 << 20);
	return nk;
}

void nk_start(struct nk *nk, const char *options)
{
	kit_start(nk->kit, "nvme", options);
}

void nk_free(void *fixture)
{
	struct nk *nk = fixture;

	kit_free(nk->kit);
	free(nk);
}

void *nk_setup(enum kit_mode mode)
{
	struct nk *nk = nk_new(mode);

	nk_start(nk, "drive=d0,serial=kit");
	kit_use_msix(nk->kit, 16);
	nk_enable(nk);
	nk_create_io(nk);
	return nk;
}

uint32_t nk_reg(struct nk *nk, unsigned reg)
{
	return (uint32_t)kit_read(nk->kit, 0, reg, 4);
}

void nk_set(struct nk *nk, unsigned reg, uint32_t value)
{
	kit_write(nk->kit, 0, reg, value, 4);
}

void nk_doorbell(struct nk *nk, unsigned qid, bool completion, uint32_t value)
{
	nk_set(nk, 0x1000 + qid * 8 + completion * 4, value);
}

void nk_queue(struct nk *nk, struct nq *q, unsigned id, unsigned entries)
{
	*q = (struct nq){.id = id, .entries = entries, .phase = true};
	q->sq = kit_alloc(nk->kit, entries * 64, PAGE);
	q->cq = kit_alloc(nk->kit, entries * 16, PAGE);
	/* A test that starts over with its memory finds old entries there. */
	memset(kit_at(nk->kit, q->cq), 0, entries * 16);
}

void nk_enable(struct nk *nk)
{
	nk_queue(nk, &nk->admin, 0, ADMIN_ENTRIES);
	nk_set(nk, REG_AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	kit_write(nk->kit, 0, REG_ASQ, nk->admin.sq, 8);
	kit_write(nk->kit, 0, REG_ACQ, nk->admin.cq, 8);
	nk_set(nk, REG_CC, CC_ON);
	assert_int_equal(nk_reg(nk, REG_CSTS), 1);
	nk->shadow = nk->events = 0;
}

void nk_disable(struct nk *nk)
{
	nk_set(nk, REG_CC, 0);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), 0);
}

void nk_create_io(struct nk *nk)
{
	nk_queue(nk, &nk->io, 1, IO_ENTRIES);
	assert_int_equal(nk_create_cq(nk, &nk->io, 1), 0);
	assert_int_equal(nk_create_sq(nk, &nk->io, 1), 0);
}

struct sqe nk_sqe(uint8_t opcode, uint32_t nsid)
{
	return (struct sqe){{opcode, nsid}};
}

struct sqe nk_rw(uint8_t opcode, uint32_t nsid, uint64_t lba, uint32_t blocks)
{
	struct sqe sqe = nk_sqe(opcode, nsid);

	sqe.dw[10] = (uint32_t)lba;
	sqe.dw[11] = (uint32_t)(lba >> 32);
	sqe.dw[12] = blocks - 1;
	return sqe;
}

static void put_address(struct sqe *sqe, unsigned dw, uint64_t address)
{
	sqe->dw[dw] = (uint32_t)address;
	sqe->dw[dw + 1] = (uint32_t)(address >> 32);
}

/* A vector that is negative: no interrupts. */
uint16_t nk_create_cq(struct nk *nk, struct nq *q, int vector)
{
	struct sqe sqe = nk_sqe(0x05, 0);

	put_address(&sqe, 6, q->cq);
	sqe.dw[10] = (q->entries - 1) << 16 | q->id;
	sqe.dw[11] = vector < 0 ? 1 : (uint32_t)vector << 16 | 3;
	return nk_run(nk, &nk->admin, sqe);
}

uint16_t nk_create_sq(struct nk *nk, struct nq *q, unsigned cqid)
{
	struct sqe sqe = nk_sqe(0x01, 0);

	put_address(&sqe, 6, q->sq);
	sqe.dw[10] = (q->entries - 1) << 16 | q->id;
	sqe.dw[11] = cqid << 16 | 1;
	return nk_run(nk, &nk->admin, sqe);
}

uint16_t nk_shadow(struct nk *nk, uint64_t shadow, uint64_t events)
{
	struct sqe sqe = nk_sqe(0x7c, 0);

	put_address(&sqe, 6, shadow);
	put_address(&sqe, 8, events);
	return nk_run(nk, &nk->admin, sqe);
}

void nk_start_shadow(struct nk *nk)
{
	nk->shadow = kit_alloc(nk->kit, PAGE, PAGE);
	nk->events = kit_alloc(nk->kit, PAGE, PAGE);
	memset(kit_at(nk->kit, nk->shadow), 0, PAGE);
	memset(kit_at(nk->kit, nk->events), 0, PAGE);
	assert_int_equal(nk_shadow(nk, nk->shadow, nk->events), 0);
	kit_settle(nk->kit);
}

uint16_t nk_delete(struct nk *nk, uint8_t opcode, unsigned qid)
{
	struct sqe sqe = nk_sqe(opcode, 0);

	sqe.dw[10] = qid;
	return nk_run(nk, &nk->admin, sqe);
}

uint16_t nk_put(struct nk *nk, struct nq *q, struct sqe sqe)
{
	uint8_t *entry = kit_at(nk->kit, q->sq + q->tail * 64);
	uint16_t cid = nk->next_cid++;

	sqe.dw[0] |= (uint32_t)cid << 16;
	for (unsigned i = 0; i < 16; i++)
		ob_put_le32(entry + (size_t)i * 4, sqe.dw[i]);
	q->tail = (q->tail + 1) % q->entries;
	return cid;
}

void nk_ring(struct nk *nk, struct nq *q)
{
	nk_doorbell(nk, q->id, false, q->tail);
}

uint16_t nk_submit(struct nk *nk, struct nq *q, struct sqe sqe)
{
	uint16_t cid = nk_put(nk, q, sqe);

	nk_ring(nk, q);
	return cid;
}

bool nk_has(struct nk *nk, const struct nq *q)
{
	const uint8_t *entry = kit_at(nk->kit, q->cq + q->head * 16);

	return (ob_get_le16(entry + 14) & 1) == q->phase;
}

bool nk_take(struct nk *nk, struct nq *q, struct cqe *cqe, bool ring)
{
	const uint8_t *entry = kit_at(nk->kit, q->cq + q->head * 16);
	uint16_t status = ob_get_le16(entry + 14);

	if ((status & 1) != q->phase)
		return false;
	*cqe = (struct cqe){
		.result = ob_get_le32(entry),
		.sq_head = ob_get_le16(entry + 8),
		.sqid = ob_get_le16(entry + 10),
		.cid = ob_get_le16(entry + 12),
		.status = status >> 1 & 0x7ff,
		.retry = !(status >> 1 & DNR),
	};
	if (++q->head == q->entries) {
		q->head = 0;
		q->phase = !q->phase;
	}
	if (ring)
		nk_doorbell(nk, q->id, true, q->head);
	return true;
}

struct cqe nk_wait(struct nk *nk, struct nq *q)
{
	struct cqe cqe;

	for (unsigned i = 0; i < WAIT_TURNS; i++) {
		if (nk_take(nk, q, &cqe, true))
			return cqe;
		kit_turn(nk->kit);
	}
	fail_msg("no completion on queue %u", q->id);
	abort();
}

uint16_t nk_run(struct nk *nk, struct nq *q, struct sqe sqe)
{
	uint16_t cid = nk_submit(nk, q, sqe);

	nk->last = nk_wait(nk, q);
	assert_int_equal(nk->last.cid, cid);
	assert_int_equal(nk->last.sqid, q->id);
	return nk->last.status;
}

/* Data */

struct buffer nk_buffer(struct nk *nk, uint32_t offset, uint32_t length)
{
	struct buffer b = {.offset = offset, .length = length};

	b.count = (offset + length + PAGE - 1) / PAGE;
	assert_true(b.count <= MAX_PAGES);
	for (unsigned i = 0; i < b.count; i++) {
		/* Now and then they do follow each other. */
		if (kit_random(nk->kit, 3))
			kit_alloc(nk->kit, PAGE, PAGE);
		b.pages[i] = kit_alloc(nk->kit, PAGE, PAGE);
	}
	return b;
}

static void buffer_copy(struct nk *nk, const struct buffer *b, uint8_t *to, const uint8_t *from)
{
	uint32_t left = b->length, in_page = b->offset;

	for (unsigned i = 0; left; i++, in_page = 0) {
		uint8_t *memory = (uint8_t *)kit_at(nk->kit, b->pages[i]) + in_page;
		uint32_t n = left < PAGE - in_page ? left : PAGE - in_page;

		if (from) {
			memcpy(memory, from, n);
			from += n;
		} else {
			memcpy(to, memory, n);
			to += n;
		}
		left -= n;
	}
}

void nk_buffer_write(struct nk *nk, const struct buffer *b, const void *bytes)
{
	buffer_copy(nk, b, NULL, bytes);
}

void nk_buffer_read(struct nk *nk, const struct buffer *b, void *bytes)
{
	buffer_copy(nk, b, bytes, NULL);
}

void nk_prp(struct nk *nk, struct sqe *sqe, const struct buffer *b)
{
	uint64_t list;
	unsigned at;

	put_address(sqe, 6, b->pages[0] + b->offset);
	if (b->count == 2)
		put_address(sqe, 8, b->pages[1]);
	if (b->count <= 2)
		return;
	/* A list that begins near the end of a page, as often as not. */
	list = kit_alloc(nk->kit, PAGE, PAGE);
	at = kit_random(nk->kit, 2) ? PAGE / 8 - 1 - kit_random(nk->kit, 4) : 0;
	put_address(sqe, 8, list + at * 8);
	for (unsigned i = 1; i < b->count; i++, at++) {
		uint8_t *page;

		if (at == PAGE / 8 - 1 && i + 1 < b->count) {
			uint64_t next = kit_alloc(nk->kit, PAGE, PAGE);

			page = kit_at(nk->kit, list);
			ob_put_le64(page + at * 8, next);
			list = next;
			at = 0;
		}
		page = kit_at(nk->kit, list);
		ob_put_le64(page + at * 8, b->pages[i]);
	}
}

void nk_descriptor(struct nk *nk, uint64_t at, unsigned i, uint8_t type, uint64_t address,
                   uint32_t length)
{
	uint8_t *d = (uint8_t *)kit_at(nk->kit, at) + (size_t)i * 16;

	memset(d, 0, 16);
	ob_put_le64(d, address);
	ob_put_le32(d + 8, length);
	d[15] = type;
}

void nk_sgl1(struct sqe *sqe, uint8_t type, uint64_t address, uint32_t length)
{
	sqe->dw[0] |= 1 << 14;
	put_address(sqe, 6, address);
	sqe->dw[8] = length;
	sqe->dw[9] = (uint32_t)type << 24;
}

void nk_sgl(struct nk *nk, struct sqe *sqe, const struct buffer *b, unsigned per_segment)
{
	uint32_t left = b->length, in_page = b->offset;
	unsigned segments = (b->count + per_segment - 1) / per_segment, page = 0;
	uint64_t at = kit_alloc(nk->kit, (per_segment + 1) * 16, 16);

	if (b->count == 1) {
		nk_sgl1(sqe, 0x00, b->pages[0] + b->offset, b->length);
		return;
	}
	for (unsigned s = 0; s < segments; s++) {
		unsigned count = b->count - page < per_segment ? b->count - page : per_segment;
		bool last = s + 1 == segments;
		uint64_t next = last ? 0 : kit_alloc(nk->kit, (per_segment + 1) * 16, 16);

		if (!s)
			nk_sgl1(sqe, last ? 0x30 : 0x20, at, (count + !last) * 16);
		for (unsigned i = 0; i < count; i++, page++, in_page = 0) {
			uint32_t n = left < PAGE - in_page ? left : PAGE - in_page;

			nk_descriptor(nk, at, i, 0x00, b->pages[page] + in_page, n);
			left -= n;
		}
		if (!last) {
			unsigned rest = b->count - page;
			bool next_last = s + 2 == segments;

			rest = rest < per_segment ? rest : per_segment;
			nk_descriptor(nk, at, count, next_last ? 0x30 : 0x20, next,
			              (rest + !next_last) * 16);
		}
		at = next;
	}
}

uint16_t nk_get(struct nk *nk, struct sqe sqe, void *bytes, uint32_t length)
{
	struct buffer b = nk_buffer(nk, kit_random(nk->kit, 1024) * 4, length);
	uint16_t status;

	nk_prp(nk, &sqe, &b);
	status = nk_run(nk, &nk->admin, sqe);
	if (!status)
		nk_buffer_read(nk, &b, bytes);
	return status;
}

uint16_t nk_identify(struct nk *nk, uint8_t cns, uint32_t nsid, uint8_t *page)
{
	struct sqe sqe = nk_sqe(0x06, nsid);

	sqe.dw[10] = cns;
	return nk_get(nk, sqe, page, PAGE);
}

uint16_t nk_log(struct nk *nk, uint8_t id, bool retain, uint64_t offset, void *bytes,
                uint32_t length)
{
	struct sqe sqe = nk_sqe(0x02, 0xffffffff);
	uint32_t dwords = length / 4 - 1;

	sqe.dw[10] = id | (uint32_t)retain << 15 | dwords << 16;
	sqe.dw[11] = dwords >> 16;
	put_address(&sqe, 12, offset);
	return nk_get(nk, sqe, bytes, length);
}

uint16_t nk_feature(struct nk *nk, uint8_t id, uint8_t select, uint32_t dw11, uint32_t *result)
{
	struct sqe sqe = nk_sqe(0x0a, 0);
	uint16_t status;

	sqe.dw[10] = id | (uint32_t)select << 8;
	sqe.dw[11] = dw11;
	status = nk_run(nk, &nk->admin, sqe);
	if (result)
		*result = nk->last.result;
	return status;
}

uint16_t nk_set_feature(struct nk *nk, uint8_t id, uint32_t dw11, uint32_t *result)
{
	struct sqe sqe = nk_sqe(0x09, 0);
	uint16_t status;

	sqe.dw[10] = id;
	sqe.dw[11] = dw11;
	status = nk_run(nk, &nk->admin, sqe);
	if (result)
		*result = nk->last.result;
	return status;
}

uint16_t nk_write(struct nk *nk, uint32_t nsid, uint64_t lba, const void *bytes, uint32_t blocks,
                  uint32_t size)
{
	struct buffer b = nk_buffer(nk, kit_random(nk->kit, 1024) * 4, blocks * size);
	struct sqe sqe = nk_rw(0x01, nsid, lba, blocks);

	nk_buffer_write(nk, &b, bytes);
	nk_prp(nk, &sqe, &b);
	return nk_run(nk, &nk->io, sqe);
}

uint16_t nk_read(struct nk *nk, uint32_t nsid, uint64_t lba, void *bytes, uint32_t blocks,
                 uint32_t size)
{
	struct buffer b = nk_buffer(nk, kit_random(nk->kit, 1024) * 4, blocks * size);
	struct sqe sqe = nk_rw(0x02, nsid, lba, blocks);
	uint16_t status;

	nk_prp(nk, &sqe, &b);
	status = nk_run(nk, &nk->io, sqe);
	if (!status)
		nk_buffer_read(nk, &b, bytes);
	return status;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NVMe: a controller that moves to another process. Its driver must not notice: each command is
 * done once, whatever it waited for, and what the driver has set up is there. And a state that
 * nobody could have saved is refused.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/fd.h"
#include "nvme_kit.h"
#include "wire/mstream.h"

enum {
	FLUSH = 0x00,
	WRITE = 0x01,
	READ = 0x02,
	ASYNC_EVENT = 0x0c,
	BLOCKS = 4,
	BYTES = BLOCKS * 512,
	COMMANDS = 48,
};

/* Commands of all kinds under way, and what they should bring. */
struct flight {
	struct nk *nk;
	struct buffer buffers[COMMANDS];
	uint16_t cids[COMMANDS];
	unsigned seen[COMMANDS];
};

static uint8_t byte_of(unsigned command, unsigned generation)
{
	return (uint8_t)(command * 5 + generation * 101 + 1);
}

/* Even ones write blocks of their own, odd ones read what a drive has. */
static void take_off(struct flight *f, unsigned generation)
{
	uint8_t bytes[BYTES];

	for (unsigned i = 0; i < COMMANDS; i++) {
		struct sqe sqe = nk_rw(i % 2 ? READ : WRITE, 1, i * BLOCKS, BLOCKS);

		memset(bytes, byte_of(i, generation), BYTES);
		if (i % 2)
			memcpy(f->nk->drive->data + (size_t)i * BYTES, bytes, BYTES);
		else
			nk_buffer_write(f->nk, &f->buffers[i], bytes);
		if (i % 3)
			nk_prp(f->nk, &sqe, &f->buffers[i]);
		else
			nk_sgl(f->nk, &sqe, &f->buffers[i], 2);
		f->cids[i] = nk_submit(f->nk, &f->nk->io, sqe);
		f->seen[i] = 0;
	}
}

static void take_completions(struct flight *f)
{
	struct cqe cqe;

	while (nk_take(f->nk, &f->nk->io, &cqe, true)) {
		unsigned i = 0;

		assert_int_equal(cqe.status, 0);
		while (i < COMMANDS && f->cids[i] != cqe.cid)
			i++;
		assert_true(i < COMMANDS);
		f->seen[i]++;
	}
}

static void land(struct flight *f, unsigned generation)
{
	uint8_t bytes[BYTES], expected[BYTES];

	kit_drive_release(f->nk->kit, f->nk->drive);
	for (unsigned i = 0; i < 10; i++) {
		kit_settle(f->nk->kit);
		take_completions(f);
	}
	for (unsigned i = 0; i < COMMANDS; i++) {
		assert_int_equal(f->seen[i], 1);
		memset(expected, byte_of(i, generation), BYTES);
		if (i % 2)
			nk_buffer_read(f->nk, &f->buffers[i], bytes);
		else
			memcpy(bytes, f->nk->drive->data + (size_t)i * BYTES, BYTES);
		assert_memory_equal(bytes, expected, BYTES);
	}
}

static void prepare(struct flight *f, struct nk *nk)
{
	*f = (struct flight){.nk = nk};
	for (unsigned i = 0; i < COMMANDS; i++)
		f->buffers[i] = nk_buffer(nk, 64 * i % 4096 & ~3u, BYTES);
}

static void each_command_is_done_once(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	struct flight f;

	prepare(&f, nk);
	for (unsigned generation = 0; generation < 40; generation++) {
		nk->drive->hold = generation % 3 == 0;
		nk->drive->later = generation % 2;
		kit->hold_dma = kit->mode == KIT_MESSAGES && generation % 4 == 1;
		take_off(&f, generation);
		for (unsigned i = kit_random(kit, 12); i; i--)
			kit_turn(kit);
		if (generation % 5 == 0)
			take_completions(&f);
		kit->hold_dma = false;
		kit_migrate(kit);
		if (generation % 4 == 2)
			kit_migrate(kit);
		land(&f, generation);
	}
}

/* A completion queue that is full keeps completions back, which move as they are. */
static void completions_without_room_move(void **state)
{
	struct nk *nk = *state;
	struct nq q;
	struct cqe cqe;
	uint16_t first;

	nk_queue(nk, &q, 2, 64);
	q.entries = 4;
	assert_int_equal(nk_create_cq(nk, &q, 2), 0);
	q.entries = 64;
	assert_int_equal(nk_create_sq(nk, &q, 2), 0);
	first = nk_submit(nk, &q, nk_sqe(FLUSH, 1));
	for (unsigned i = 1; i < 20; i++)
		nk_submit(nk, &q, nk_sqe(i % 4 ? FLUSH : 0x55, 1));
	kit_settle(nk->kit);
	kit_migrate(nk->kit);
	q.entries = 4;
	for (unsigned i = 0; i < 20; i++) {
		if (i % 7 == 3)
			kit_migrate(nk->kit);
		kit_settle(nk->kit);
		assert_true(nk_take(nk, &q, &cqe, true));
		assert_int_equal(cqe.cid, first + i);
		assert_int_equal(cqe.status, i && i % 4 == 0);
	}
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &q));
}

static void event_requests_and_events_move(void **state)
{
	struct nk *nk = *state;
	uint16_t waiting = nk_submit(nk, &nk->admin, nk_sqe(ASYNC_EVENT, 0));
	struct cqe cqe;

	kit_settle(nk->kit);
	kit_migrate(nk->kit);
	/* A doorbell's value that cannot be: an event of type error. */
	nk_doorbell(nk, 1, false, 9999);
	cqe = nk_wait(nk, &nk->admin);
	assert_int_equal(cqe.cid, waiting);
	assert_int_equal(cqe.result & 7, 0);
	/* The next one is masked until the log was read, and waits for a request. */
	nk_doorbell(nk, 77, false, 1);
	kit_migrate(nk->kit);
	waiting = nk_submit(nk, &nk->admin, nk_sqe(ASYNC_EVENT, 0));
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &nk->admin));
	kit_migrate(nk->kit);
	assert_int_equal(nk_log(nk, 1, false, 0, (uint8_t[64]){0}, 64), 0);
	assert_int_equal(nk_wait(nk, &nk->admin).cid, waiting);
}

static void what_the_driver_has_set_moves(void **state)
{
	struct nk *nk = *state;
	uint8_t before[4096], after[4096], bytes[BYTES];
	uint32_t result;

	assert_int_equal(nk_set_feature(nk, 0x01, 0x01020304, NULL), 0);
	assert_int_equal(nk_set_feature(nk, 0x04, 300, NULL), 0);
	assert_int_equal(nk_set_feature(nk, 0x08, 0x0105, NULL), 0);
	assert_int_equal(nk_set_feature(nk, 0x09, 3, &result), 0);
	memset(bytes, 0x5a, sizeof(bytes));
	assert_int_equal(nk_write(nk, 1, 100, bytes, BLOCKS, 512), 0);
	assert_int_equal(nk_read(nk, 1, 1 << 30, bytes, BLOCKS, 512), 0x80);
	assert_int_equal(nk_identify(nk, 1, 0, before), 0);
	kit_migrate(nk->kit);
	assert_int_equal(nk_identify(nk, 1, 0, after), 0);
	assert_memory_equal(before, after, 4096);
	assert_int_equal(nk_feature(nk, 0x01, 0, 0, &result), 0);
	assert_int_equal(result, 0x01020304);
	assert_int_equal(nk_feature(nk, 0x04, 0, 0, &result), 0);
	assert_int_equal(result, 300);
	assert_int_equal(nk_feature(nk, 0x08, 0, 0, &result), 0);
	assert_int_equal(result, 0x0105);
	/* The error log, and the counters of the health log. */
	assert_int_equal(nk_log(nk, 1, true, 0, after, 64), 0);
	assert_int_equal(ob_get_le64(after), 1);
	assert_int_equal(ob_get_le64(after + 16), 1 << 30);
	assert_int_equal(nk_log(nk, 2, true, 0, after, 512), 0);
	assert_int_equal(ob_get_le64(after + 80), 1);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(nk_read(nk, 1, 100, bytes, BLOCKS, 512), 0);
	assert_int_equal(bytes[0], 0x5a);
}

static void formats_move(void **state)
{
	struct nk *nk = *state;
	struct sqe sqe = nk_sqe(0x80, 1);
	uint8_t page[4096];

	sqe.dw[10] = 1;
	assert_int_equal(nk_run(nk, &nk->admin, sqe), 0);
	kit_migrate(nk->kit);
	assert_int_equal(nk_identify(nk, 0, 1, page), 0);
	assert_int_equal(ob_get_le64(page), (64 << 20) / 4096);
	assert_int_equal(page[26] & 15, 1);
}

/* MSI-X: an interrupt that the client masks is pending, and comes on the other side. */
static void messages_that_are_pending_move(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	unsigned before;

	kit->wired = 0;
	pci_irq_wire(device_pci(kit->dev), PCI_IRQ_MSIX, 1, false);
	before = kit_signals(kit, PCI_IRQ_MSIX, 1);
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	assert_true(nk_has(nk, &nk->io));
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before);
	kit_migrate(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before);
	kit_use_msix(kit, 16);
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before + 1);
}

static void the_pin_moves(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	unsigned before;
	struct cqe cqe;

	kit_migrate(kit);
	for (unsigned i = 0; i < 16; i++)
		pci_irq_wire(device_pci(kit->dev), PCI_IRQ_MSIX, i, false);
	kit->wired = 0;
	kit_use_intx(kit);
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	before = kit_signals(kit, PCI_IRQ_INTX, 0);
	assert_int_equal(before, 1);
	/* Asserted, so the new client hears of it. */
	kit_migrate(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), before + 1);
	assert_true(nk_take(nk, &nk->io, &cqe, true));
	kit_settle(kit);
	assert_false(kit_intx_again(kit));
	kit_migrate(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), before + 1);
	/* And it goes up again. */
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), before + 2);
}

/* What is gathered for one interrupt is told of before the device goes. */
static void gathered_interrupts_are_sent(void **state)
{
	struct nk *nk = *state;
	struct kit *kit = nk->kit;
	unsigned before;

	assert_int_equal(nk_set_feature(nk, 0x08, 0xff0a, NULL), 0);
	before = kit_signals(kit, PCI_IRQ_MSIX, 1);
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_settle(kit);
	assert_true(nk_has(nk, &nk->io));
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before);
	kit_migrate(kit);
	/* And again there: whoever had the eventfd may have gone without reading it. */
	assert_int_equal(kit_signals(kit, PCI_IRQ_MSIX, 1), before + 2);
}

static void put_with_shadow(struct nk *nk, struct nq *q)
{
	nk_put(nk, q, nk_sqe(FLUSH, 1));
	ob_put_le32(kit_at(nk->kit, nk->shadow + q->id * UINT64_C(8)), q->tail);
}

/* With shadow doorbells: a queue that was never rung stays so, one that was is looked at. */
static void shadow_doorbells_move(void **state)
{
	struct nk *nk = *state;
	uint64_t values = kit_alloc(nk->kit, PAGE, PAGE), events = kit_alloc(nk->kit, PAGE, PAGE);
	struct cqe cqe;
	struct nq q;

	assert_int_equal(nk_shadow(nk, values, events), 0);
	nk->shadow = values;
	nk->events = events;
	/* Junk where a queue's shadow will be: it means nothing until the queue is rung. */
	ob_put_le32(kit_at(nk->kit, values + 2 * 8), 7);
	nk_queue(nk, &q, 2, 16);
	assert_int_equal(nk_create_cq(nk, &q, 2), 0);
	assert_int_equal(nk_create_sq(nk, &q, 2), 0);
	kit_settle(nk->kit);
	kit_migrate(nk->kit);
	kit_settle(nk->kit);
	assert_false(nk_has(nk, &q));
	put_with_shadow(nk, &nk->io);
	nk_ring(nk, &nk->io);
	put_with_shadow(nk, &q);
	nk_ring(nk, &q);
	assert_int_equal(nk_wait(nk, &nk->io).status, 0);
	assert_int_equal(nk_wait(nk, &q).status, 0);
	/* Written while the device was on its way, and not rung. */
	put_with_shadow(nk, &nk->io);
	kit_migrate(nk->kit);
	kit_settle(nk->kit);
	assert_true(nk_take(nk, &nk->io, &cqe, true));
}

static void a_controller_that_is_off_moves(void **state)
{
	struct nk *nk = *state;

	nk_disable(nk);
	kit_migrate(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CC), 0);
	nk_enable(nk);
	kit_migrate(nk->kit);
	nk_create_io(nk);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
	/* Shut down. */
	nk_set(nk, REG_CC, CC_ON | 1 << 14);
	kit_settle(nk->kit);
	kit_migrate(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS), 1 | 2 << 2);
}

/* Streams from earlier versions of this program */

/* A driver's set-up that streams are saved in, the same each time. */
static void set_up_for_stream(struct nk *nk)
{
	uint8_t bytes[BYTES];

	memset(bytes, 0x42, sizeof(bytes));
	assert_int_equal(nk_set_feature(nk, 0x01, 0x01020304, NULL), 0);
	assert_int_equal(nk_write(nk, 1, 8, bytes, BLOCKS, 512), 0);
	nk_submit(nk, &nk->admin, nk_sqe(ASYNC_EVENT, 0));
	kit_settle(nk->kit);
	nk->drive->hold = true;
	nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
	kit_turn(nk->kit);
}

/* Its queues are where this driver has them as well: nk_setup() does the same each time. */
static void load_version(enum kit_mode mode, unsigned version, const char *name,
                         const uint8_t *stream, size_t size)
{
	struct nk *nk = nk_new(mode);
	uint8_t bytes[BYTES];
	uint32_t result;
	const char *why;

	/* The first version's BAR 0 was smaller, and its identity QEMU's. */
	nk_start(nk, version == 1 ? "drive=d0,serial=kit,bar-size=8k,vendor-id=0x1b36,"
	                            "device-id=0x0010"
	                          : "drive=d0,serial=kit");
	kit_use_msix(nk->kit, 16);
	nk_enable(nk);
	nk_create_io(nk);
	set_up_for_stream(nk);
	kit_drive_release(nk->kit, nk->drive);
	kit_settle(nk->kit);
	why = kit_load(nk->kit, stream, size);
	if (why)
		fail_msg("%s: %s", name, why);
	assert_int_equal(nk_reg(nk, REG_CSTS), 1);
	/* The completion stands in memory already: from the device that was replaced. */
	kit_settle(nk->kit);
	assert_int_equal(nk_wait(nk, &nk->io).status, 0);
	assert_int_equal(nk_feature(nk, 0x01, 0, 0, &result), 0);
	assert_int_equal(result, 0x01020304);
	assert_int_equal(nk_read(nk, 1, 8, bytes, BLOCKS, 512), 0);
	assert_int_equal(bytes[0], 0x42);
	nk_free(nk);
}

static void streams_of_all_versions_load(void **state)
{
	static uint8_t stream[1 << 20];
	struct nk *nk = *state;
	unsigned version;
	char name[64];
	size_t size;

	set_up_for_stream(nk);
	kit_write_stream(nk->kit, "new-nvme.bin");
	for (version = 1;; version++) {
		snprintf(name, sizeof(name), "v%u-nvme.bin", version);
		if (!kit_read_stream(name, stream, sizeof(stream), &size))
			break;
		load_version(nk->kit->mode, version, name, stream, size);
	}
	assert_true(version > 1);
}

static void a_stream_with_a_smaller_bar_is_refused(void **state)
{
	static uint8_t stream[1 << 20];
	struct nk *nk = *state;
	size_t size;
	const char *why;

	assert_true(kit_read_stream("v1-nvme.bin", stream, sizeof(stream), &size));
	why = kit_load(nk->kit, stream, size);
	assert_non_null(why);
	assert_non_null(strstr(why, "bar-size=8k"));
	assert_non_null(strstr(why, "vendor-id=0x1b36,device-id=0x0010"));
}

static void a_stream_of_another_identity_is_refused(void **state)
{
	static uint8_t stream[1 << 20];
	struct nk *nk = nk_new(((struct nk *)*state)->kit->mode);
	size_t size;
	const char *why;

	nk_start(nk, "drive=d0,serial=kit,bar-size=8k");
	assert_true(kit_read_stream("v1-nvme.bin", stream, sizeof(stream), &size));
	why = kit_load(nk->kit, stream, size);
	assert_non_null(why);
	assert_non_null(strstr(why, "vendor-id=0x1b36,device-id=0x0010"));
	nk_free(nk);
}

/* States that nobody could have saved, made by the only one who can: us */

/* Changes a value in a stream's table, and mends the checksums. */
struct forgery {
	const char *section, *field; /* "sq.entries": of element number index of the former */
	unsigned index;
	uint64_t value;
	const char *why;
};

static const struct mstream_field *find_field(const struct mstream_table *table, unsigned first,
                                              unsigned end, const char *name, size_t length)
{
	for (unsigned i = first; i < end; i = table->fields[i].next) {
		const struct mstream_field *field = &table->fields[i];

		if (strlen(field->name) == length && !memcmp(field->name, name, length))
			return field;
	}
	fail_msg("no field %s", name);
	return NULL;
}

static void change(const struct mstream_section *section, const struct forgery *forgery)
{
	static struct mstream_table table;
	const char *dot = strchr(forgery->field, '.'), *why;
	const struct mstream_field *field;
	uint8_t *at;

	assert_int_equal(mstream_decode_table(section, &table, &why), 0);
	assert_true(table.count > 0);
	field = find_field(&table, 0, table.field_count, forgery->field,
	                   dot ? (size_t)(dot - forgery->field) : strlen(forgery->field));
	assert_true(forgery->index < field->count);
	at = (uint8_t *)table.data + field->offset + (size_t)forgery->index * field->size;
	if (dot) {
		field = find_field(&table, (unsigned)(field - table.fields) + 1, field->next,
		                   dot + 1, strlen(dot + 1));
		at += field->offset;
	}
	ob_put_le(at, forgery->value, field->size);
}

static void forge(uint8_t *stream, size_t size, const struct forgery *forgery)
{
	struct mstream_section section;
	struct mstream_sum sum = {0};
	bool found = false;
	size_t whole;
	const char *why;

	for (size_t at = MSTREAM_HEADER; at < size; at += whole) {
		uint8_t *end;

		assert_int_equal(mstream_next(stream + at, size - at, &section, &whole, &why), 0);
		end = stream + at + whole - 4;
		if (!strcmp(section.name, forgery->section)) {
			change(&section, forgery);
			found = true;
		}
		if (section.kind == MSTREAM_END)
			ob_put_le32((uint8_t *)section.body + 4, sum.crc);
		ob_put_le32(end, crc32c(0, stream + at, whole - 4));
		mstream_add(&sum, ob_get_le32(end));
	}
	assert_true(found);
}

static void states_that_cannot_be(void **state)
{
	static const struct forgery forgeries[] = {
		{"state", "csts", 0, 16, "csts[0]: 16 is not from 0 to 15"},
		{"state", "csts", 0, 0, "which there cannot be"},
		{"state", "cc", 0, 0x460000, "ready (CSTS 0x1), and not enabled"},
		{"state", "cc", 0, 0x460781, "ready (CSTS 0x1), and not enabled"},
		{"state", "sq.entries", 0, 1, "submission queue 0: 1 entries"},
		{"state", "sq.entries", 0, 0, "ready (CSTS 0x1), and not enabled"},
		{"state", "sq.entries", 1, 2049, "submission queue 1: 2049 entries"},
		{"state", "sq.entries", 1, 4097, "sq[1].entries[0]: 4097 is not from 0 to 4096"},
		{"state", "sq.head", 1, 64, "submission queue 1: 64 entries, head 64"},
		{"state", "sq.tail", 1, 65535, "tail 65535"},
		{"state", "sq.cqid", 1, 0, "submission queue 1 completes to queue 0"},
		{"state", "sq.cqid", 1, 2, "submission queue 1 completes to queue 2"},
		{"state", "sq.cqid", 1, 129, "sq[1].cqid[0]: 129 is not from 0 to 128"},
		{"state", "sq.cqid", 0, 1, "submission queue 0 completes to queue 1"},
		{"state", "cq.entries", 1, 0, "submission queue 1 completes to queue 1"},
		{"state", "cq.tail", 1, 64, "completion queue 1: 64 entries"},
		{"state", "cq.head", 0, 32, "completion queue 0: 32 entries, head 32"},
		{"state", "cq.vector", 1, 16, "completion queue 1: vector 16 of 16"},
		{"state", "cq.phase", 1, 2, "cq[1].phase[0]: 2 is not from 0 to 1"},
		{"state", "lba_shift", 0, 10, "namespace 1: blocks of 2^10 bytes"},
		{"state", "async_count", 0, 9, "async_count[0]: 9 is not from 0 to 8"},
		{"state", "event_count", 0, 200, "event_count[0]: 200"},
		{"state", "skip_count", 0, 5, "skip_count[0]: 5"},
		{"commands", "sqid", 0, 77, "commands, number 0: of submission queue 77"},
		{"commands", "cqid", 0, 2, "for completion queue 2"},
		{"commands", "status", 0, 0x8000, "status[0]: 32768 is not"},
		{"configuration", "num_queues", 0, 16,
	         "num-queues: the stream has 16, this device 15"},
		{"configuration", "mdts", 0, 8, "mdts: the stream has 8, this device 7"},
		{"drives", "size", 0, 1 << 20, "drive 0 (d0): size: the stream has 1048576"},
		{"function", "msix_vectors", 0, 17, "msix-vectors: the stream has 17"},
		{"pci", "config", 0, 0x37,
	         "vendor-id=0x1a37,device-id=0x10f0,subsystem-vendor-id=0x1af4"},
		{"pci", "config", 8, 0x37, "configuration space, byte 0x8: the stream has 0x37"},
		{"pci", "config", 0x44, 9, "power state D1"},
	};
	struct nk *nk = *state;

	for (size_t i = 0; i < sizeof(forgeries) / sizeof(*forgeries); i++) {
		const struct forgery *forgery = &forgeries[i];
		cleanup_free uint8_t *stream = NULL;
		const char *why;
		size_t size;

		/* The drive ends it when the device is quiet already: a command to be carried over.
		 */
		nk->drive->hold = true;
		nk_submit(nk, &nk->io, nk_sqe(FLUSH, 1));
		kit_settle(nk->kit);
		stream = kit_save(nk->kit, &size);
		forge(stream, size, forgery);
		why = kit_load(nk->kit, stream, size);
		if (!why || !strstr(why, forgery->why))
			fail_msg("%s %s[%u] = %llu: %s", forgery->section, forgery->field,
			         forgery->index, (unsigned long long)forgery->value,
			         why ? why : "loaded");
		/* It was reset, and works. */
		nk_disable(nk);
		nk_enable(nk);
		nk_create_io(nk);
		assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
	}
}

/* As older versions could save: entries to skip which no queue has waiting, the same one twice. */
static void skips_of_nothing_are_dropped(void **state)
{
	static const struct forgery four = {"state", "skip_count", 0, 4, NULL};
	struct nk *nk = *state;
	cleanup_free uint8_t *stream = NULL;
	size_t size;

	stream = kit_save(nk->kit, &size);
	forge(stream, size, &four);
	assert_null(kit_load(nk->kit, stream, size));
	/* Entry 0 of the admin queue is among these. */
	for (unsigned i = 0; i < 5 * ADMIN_ENTRIES; i++)
		assert_int_equal(nk_run(nk, &nk->admin, nk_sqe(0xff, 0)), 0x01);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(each_command_is_done_once),
		KIT_TEST(completions_without_room_move),
		KIT_TEST(event_requests_and_events_move),
		KIT_TEST(what_the_driver_has_set_moves),
		KIT_TEST(formats_move),
		KIT_TEST(messages_that_are_pending_move),
		KIT_TEST(the_pin_moves),
		KIT_TEST(gathered_interrupts_are_sent),
		KIT_TEST(shadow_doorbells_move),
		KIT_TEST(a_controller_that_is_off_moves),
		KIT_TEST(streams_of_all_versions_load),
		KIT_TEST(a_stream_with_a_smaller_bar_is_refused),
		KIT_TEST(a_stream_of_another_identity_is_refused),
		KIT_TEST(states_that_cannot_be),
		KIT_TEST(skips_of_nothing_are_dropped),
	};

	return KIT_RUN("nvme_migrate", tests, nk_setup, nk_free);
}

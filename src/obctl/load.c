/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The load's loop. One thread turns round the queues: takes what is done, submits as much as there
 * are free slots for, rings once. The clock is read once for all completions of a turn.
 */
#include "obctl/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "client/stream.h"

enum {
	BATCH = 64,            /* completions that are taken at a time */
	TURNS_PER_CLOCK = 256, /* how often a loop without completions reads the clock */
	SLEEP_MS = 1000,
};

static const uint64_t MAX_VERIFIED_UNITS = UINT64_C(1) << 28;

const char *const load_interrupt_names[] = {"poll", "msix", NULL};
const char *const load_doorbell_names[] = {"auto",    "mmap",    "mmap-shadow", "shadow",
                                           "eventfd", "message", NULL};

int load_prepare(struct load *load, struct ob_error *err)
{
	const struct nvme_config *config = &load->nvme->config;
	size_t slots = (size_t)config->queues * config->depth;

	load->unit_blocks = (uint32_t)(config->slot_size / load->nvme->block_size);
	load->random_state = load->plan.seed * 2 + 1;
	load->slots = calloc(slots, sizeof(*load->slots));
	load->held = calloc(slots, sizeof(*load->held));
	load->slot_count = slots;
	if (!load->slots || !load->held)
		return ob_error_set(err, -ENOMEM, "out of memory");
	if (!load->plan.verify)
		return 0;
	if (load->plan.units > MAX_VERIFIED_UNITS)
		return ob_error_set(err, -EINVAL,
		                    "%" PRIu64 " blocks are too many to verify: give --size",
		                    load->plan.units);
	load->generations = calloc(load->plan.units, sizeof(*load->generations));
	load->busy = calloc(load->plan.units, sizeof(*load->busy));
	load->doubtful = calloc(load->plan.units, sizeof(*load->doubtful));
	if (!load->generations || !load->busy || !load->doubtful)
		return ob_error_set(err, -ENOMEM, "no memory to remember %" PRIu64 " blocks",
		                    load->plan.units);
	return 0;
}

void load_free(struct load *load)
{
	free(load->slots);
	free(load->held);
	free(load->generations);
	free(load->busy);
	free(load->doubtful);
}

static uint64_t random_number(struct load *load)
{
	uint64_t x = load->random_state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	load->random_state = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

/* Below n; the high half is the better one of this generator. */
static uint64_t random_below(struct load *load, uint64_t n)
{
	return (uint64_t)((unsigned __int128)random_number(load) * n >> 64);
}

/* What was wrong */

static void tell(struct load *load, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void tell(struct load *load, const char *format, ...)
{
	va_list args;

	if (load->failed + load->wrong > LOAD_MAX_TOLD)
		return;
	fputs("obctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputs(load->failed + load->wrong == LOAD_MAX_TOLD ? " (further errors are only counted)\n"
	                                                  : "\n",
	      stderr);
}

static void check_block(struct load *load, const uint8_t *block, uint64_t lba, uint32_t generation,
                        unsigned doubtful)
{
	uint64_t number;
	uint32_t found;
	enum pattern_verdict verdict = pattern_check(load->plan.seed, block, load->nvme->block_size,
	                                             lba, generation, &number, &found);

	load->checked++;
	if (verdict == PATTERN_GOOD || (verdict == PATTERN_EARLY && found <= generation + doubtful))
		return;
	load->wrong++;
	switch (verdict) {
	case PATTERN_ZEROES:
		tell(load, "block %" PRIu64 " is lost: all zeroes", lba);
		break;
	case PATTERN_FOREIGN:
		tell(load, "block %" PRIu64 " was written with another --seed", lba);
		break;
	case PATTERN_MISPLACED:
		tell(load, "block %" PRIu64 " is misplaced: block %" PRIu64 " is there", lba,
		     number);
		break;
	case PATTERN_STALE:
	case PATTERN_EARLY:
		tell(load, "block %" PRIu64 " is stale: write %u of it instead of write %u", lba,
		     found, generation);
		break;
	default:
		tell(load, "block %" PRIu64 " is corrupt: its checksum is wrong", lba);
	}
}

static void check_unit(struct load *load, const struct load_slot *slot, const uint8_t *data)
{
	uint64_t lba = (load->plan.first_unit + slot->unit) * load->unit_blocks;

	for (uint32_t i = 0; i < load->unit_blocks; i++)
		check_block(load, data + (size_t)i * load->nvme->block_size, lba + i,
		            slot->generation, load->doubtful[slot->unit]);
}

/* Choosing */

static bool take_unit(struct load *load, uint64_t *unit)
{
	uint64_t units = load->plan.units;
	uint64_t tries = load->nvme->config.queues * load->nvme->config.depth + 1;

	if (load->reading_back) {
		while (load->next_unit < units && !load->generations[load->next_unit])
			load->next_unit++;
		*unit = load->next_unit++;
		return *unit < units;
	}
	for (uint64_t i = 0; i < tries; i++) {
		if (load->plan.random) {
			*unit = random_below(load, units);
		} else {
			*unit = load->next_unit++;
			if (load->next_unit == units)
				load->next_unit = 0;
		}
		if (!load->busy || !load->busy[*unit])
			return true;
	}
	return false;
}

/* Whether there is more to start. */
static bool wants_more(const struct load *load)
{
	if (load->reading_back)
		return load->next_unit < load->plan.units;
	if (load->ending)
		return false;
	if (load->copy && (load->copy->ended || load->failed))
		return false;
	return load->started < load->plan.count && load->now - load->begin < load->plan.nanoseconds;
}

static bool choose(struct load *load, struct load_slot *slot)
{
	slot->start = load->now;
	slot->write =
		!load->reading_back && load->plan.read_percent < 100 &&
		(!load->plan.read_percent || random_below(load, 100) >= load->plan.read_percent);
	slot->generation = 0;
	if (!take_unit(load, &slot->unit))
		return false;
	if (!load->plan.verify)
		return true;
	/* In a mix, what was not written yet has nothing to be compared with. */
	if (!load->generations[slot->unit] && load->plan.read_percent < 100)
		slot->write = true;
	slot->generation = load->generations[slot->unit] + slot->write;
	/* What may be there already is not to be taken for what is written now. */
	if (slot->write)
		slot->generation += load->doubtful[slot->unit];
	load->busy[slot->unit] = 1;
	return true;
}

static void fill(struct load *load, struct load_slot *slot, uint8_t *data)
{
	uint64_t lba = (load->plan.first_unit + slot->unit) * load->unit_blocks;

	nvme_wrote(load->nvme, data, load->nvme->config.slot_size);
	for (uint32_t i = 0; i < load->unit_blocks; i++)
		pattern_fill(load->plan.seed, data + (size_t)i * load->nvme->block_size,
		             load->nvme->block_size, lba + i, slot->generation);
	slot->start = clock_now();
}

/* What a read has to replace. */
static void spoil(struct load *load, uint8_t *data)
{
	nvme_wrote(load->nvme, data, load->nvme->config.slot_size);
	memset(data, 0xee, load->nvme->config.slot_size);
}

/* Copying */

/* The blocks that a command copies; those to be written are fetched first. 0: no more. */
static uint32_t blocks_to_copy(struct load *load, struct load_slot *slot, uint8_t *data)
{
	size_t size = load->nvme->config.slot_size, block = load->nvme->block_size;
	size_t length;

	if (!slot->write) {
		length = copy_length(load->copy, slot->unit * size, size);
		return (uint32_t)((length + block - 1) / block);
	}
	length = copy_take(load->copy, data, size, block);
	/* Waiting for a file is not the controller's fault. */
	load->now = load->last_completion = slot->start = clock_now();
	return (uint32_t)(length / block);
}

static void give(struct load *load, const struct load_held *from)
{
	size_t size = load->nvme->config.slot_size;
	uint64_t at =
		load->slots[(size_t)(from->queue->id - 1) * from->queue->depth + from->slot].unit *
		size;

	copy_give(load->copy, nvme_buffer(from->queue, from->slot),
	          copy_length(load->copy, at, size), at);
	nvme_slot_put(from->queue, from->slot);
}

/* Hands out what was read, as soon as its turn has come. */
static void take_in(struct load *load, struct nvme_queue *queue, unsigned slot, uint64_t unit)
{
	const struct load_held here = {queue, slot};
	struct load_held *next;

	if (!load->copy->in_order) {
		give(load, &here);
		return;
	}
	load->held[unit % load->slot_count] = here;
	for (;;) {
		next = &load->held[load->next_held % load->slot_count];
		if (!next->queue)
			return;
		give(load, next);
		next->queue = NULL;
		load->next_held++;
	}
}

/* The loop's parts */

static inline void start(struct load *load, struct nvme_queue *queue, unsigned free_slot,
                         const struct load_slot *slot, uint32_t blocks)
{
	uint64_t lba = (load->plan.first_unit + slot->unit) * load->unit_blocks;
	uint8_t opcode = slot->write ? NVME_OP_WRITE : NVME_OP_READ;

	load->started++;
	if (blocks == load->unit_blocks)
		nvme_submit(queue, free_slot, opcode, lba, blocks);
	else
		nvme_submit_part(queue, free_slot, opcode, lba, blocks);
}

static void submit(struct load *load, struct nvme_queue *queue)
{
	struct load_slot *slots = load->slots + (size_t)(queue->id - 1) * queue->depth;
	struct load_slot *slot;
	uint32_t blocks = load->unit_blocks;
	int free_slot;

	while (queue->free_count && wants_more(load)) {
		free_slot = nvme_slot_get(queue);
		slot = &slots[free_slot];
		if (!choose(load, slot)) {
			nvme_slot_put(queue, (unsigned)free_slot);
			break;
		}
		if (load->copy)
			blocks =
				blocks_to_copy(load, slot, nvme_buffer(queue, (unsigned)free_slot));
		if (!blocks) {
			nvme_slot_put(queue, (unsigned)free_slot);
			break;
		}
		if (load->plan.verify && slot->write)
			fill(load, slot, nvme_buffer(queue, (unsigned)free_slot));
		else if (load->plan.verify)
			spoil(load, nvme_buffer(queue, (unsigned)free_slot));
		start(load, queue, (unsigned)free_slot, slot, blocks);
	}
}

static void complete(struct load *load, struct nvme_queue *queue, const struct nvme_done *done)
{
	struct load_slot *slot = &load->slots[(size_t)(queue->id - 1) * queue->depth + done->slot];
	bool give_out = load->copy && !slot->write && !done->status;

	if (!give_out)
		nvme_slot_put(queue, done->slot);
	load->completed++;
	if (load->busy)
		load->busy[slot->unit] = 0;
	if (done->status) {
		load->failed++;
		tell(load, "%s of block %" PRIu64 " fails with status 0x%03x",
		     slot->write ? "write" : "read",
		     (load->plan.first_unit + slot->unit) * load->unit_blocks,
		     done->status & 0x7ff);
		return;
	}
	if (!load->reading_back)
		histogram_add(slot->write ? &load->writes : &load->reads, load->now - slot->start);
	if (give_out)
		take_in(load, queue, done->slot, slot->unit);
	if (!load->plan.verify)
		return;
	if (slot->write) {
		load->generations[slot->unit] = slot->generation;
		load->doubtful[slot->unit] = 0;
	} else {
		check_unit(load, slot, nvme_buffer(queue, done->slot));
	}
}

/* The loop */

static void say_progress(struct load *load)
{
	double seconds = (double)(load->now - load->last_progress) / 1e9;

	if (!load->plan.progress || load->now - load->last_progress < 1000000000)
		return;
	fprintf(stderr, "\r%6.0f s  %12" PRIu64 " I/Os  %10.0f IOPS%s ",
	        (double)(load->now - load->begin) / 1e9, load->completed,
	        (double)(load->completed - load->last_count) / seconds,
	        load->reading_back ? "  reading back" : "");
	load->last_progress = load->now;
	load->last_count = load->completed;
}

static int failed(const struct load *load, int rc, struct ob_error *err)
{
	if (load->plan.progress)
		fputc('\n', stderr);
	if (rc == -EPROTO && !ob_client_message(load->nvme->client)[0])
		return ob_error_set(err, rc,
		                    "the controller completed a command that was not under way");
	return ob_error_set(err, rc, "%s", ob_client_message(load->nvme->client));
}

/* Nothing was done in a turn. */
static int idle(struct load *load, struct ob_error *err)
{
	int rc = nvme_sleep(load->nvme, SLEEP_MS);

	if (rc && rc != -ETIMEDOUT)
		return failed(load, rc, err);
	if (++load->idle_turns % TURNS_PER_CLOCK && !load->nvme->config.msix)
		return 0;
	load->now = clock_now();
	say_progress(load);
	if (load->now - load->last_completion > load->plan.stuck_after) {
		return ob_error_set(err, -ETIMEDOUT,
		                    "no command was completed for %.1f seconds; %" PRIu64
		                    " are under way",
		                    (double)(load->now - load->last_completion) / 1e9,
		                    load->started - load->completed);
	}
	return 0;
}

static inline int pass(struct load *load, enum load_point point, struct ob_error *err)
{
	struct load_hook *hook = load->plan.hook;

	return hook && !load->reading_back ? hook->at(hook, load, point, err) : 0;
}

static int turn(struct load *load, struct nvme_queue *queue, unsigned *count, struct ob_error *err)
{
	struct nvme_done done[BATCH];
	int rc, n = nvme_reap(queue, done, BATCH);

	if (n < 0)
		return failed(load, n, err);
	if (n) {
		load->now = load->last_completion = clock_now();
		for (int i = 0; i < n; i++)
			complete(load, queue, &done[i]);
		*count += (unsigned)n;
		if (load->copy)
			load->now = load->last_completion = clock_now();
		rc = pass(load, LOAD_REAPED, err);
		if (rc)
			return rc;
	}
	submit(load, queue);
	rc = queue->unrung ? pass(load, LOAD_UNRUNG, err) : 0;
	if (rc)
		return rc;
	n = nvme_ring(queue);
	return n ? failed(load, n, err) : pass(load, LOAD_RUNG, err);
}

static int run(struct load *load, struct ob_error *err)
{
	unsigned count;
	int rc;

	load->started = load->completed = load->last_count = 0;
	load->begin = load->now = load->last_completion = load->last_progress = clock_now();
	for (;;) {
		count = 0;
		rc = pass(load, LOAD_TURN, err);
		for (unsigned i = 0; i < load->nvme->config.queues && !rc; i++)
			rc = turn(load, &load->nvme->queues[i], &count, err);
		if (rc)
			return rc;
		if (load->started == load->completed && !wants_more(load))
			break;
		if (count) {
			say_progress(load);
			continue;
		}
		rc = idle(load, err);
		if (rc)
			return rc;
	}
	if (load->plan.progress)
		fputs("\r\033[K", stderr);
	return 0;
}

static int flush(struct load *load, struct ob_error *err)
{
	struct nvme_queue *queue = &load->nvme->queues[0];
	uint64_t deadline = clock_now() + load->plan.stuck_after;
	int slot = nvme_slot_get(queue);
	struct nvme_done done = {0};
	int n;

	nvme_submit(queue, (unsigned)slot, NVME_OP_FLUSH, 0, 1);
	n = nvme_ring(queue);
	while (!n) {
		n = nvme_reap(queue, &done, 1);
		if (!n && clock_now() > deadline)
			return ob_error_set(err, -ETIMEDOUT, "a flush does not end");
	}
	if (n < 0)
		return failed(load, n, err);
	nvme_slot_put(queue, (unsigned)slot);
	if (done.status) {
		load->failed++;
		tell(load, "the flush fails with status 0x%03x", done.status & 0x7ff);
	}
	return 0;
}

static int read_back(struct load *load, struct ob_error *err)
{
	int rc;

	load->reading_back = true;
	load->next_unit = 0;
	rc = run(load, err);
	load->reading_back = false;
	return rc;
}

int load_run(struct load *load, struct ob_error *err)
{
	int rc = run(load, err);

	load->elapsed = load->now - load->begin;
	if (!rc && load->plan.read_percent < 100)
		rc = flush(load, err);
	if (!rc && load->plan.verify && load->plan.read_percent < 100)
		rc = read_back(load, err);
	return rc;
}

/* A command that was under way may have been done or not. */
static void doubt(struct load *load, const struct nvme_queue *queue)
{
	for (unsigned i = 0; i < queue->depth; i++) {
		const struct load_slot *slot =
			&load->slots[(size_t)(queue->id - 1) * queue->depth + i];

		if (!queue->busy[i])
			continue;
		load->busy[slot->unit] = 0;
		if (slot->write)
			load->doubtful[slot->unit] =
				(uint8_t)(slot->generation - load->generations[slot->unit]);
	}
}

int load_go_on(struct load *load, struct nvme *nvme, struct ob_error *err)
{
	int rc;

	for (unsigned i = 0; i < load->nvme->config.queues; i++)
		doubt(load, &load->nvme->queues[i]);
	load->nvme = nvme;
	rc = read_back(load, err);
	return rc ? rc : load_run(load, err);
}

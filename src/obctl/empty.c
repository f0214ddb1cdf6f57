/* SPDX-License-Identifier: BSD-3-Clause */
/* See empty.h. All of the place is read, as a disk may hold data behind any number of zeroes. */
#include "obctl/empty.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "client/stream.h"

enum { BATCH = 64, SLEEP_MS = 1000, TURNS_PER_CLOCK = 256 };

struct scan {
	struct nvme *nvme;
	const char *disk;
	uint64_t blocks, begun, ended; /* logical blocks */
	uint64_t first;
	uint64_t stuck_after, last_completion; /* ns */
	unsigned turns;
};

/* Bytes in front of the first that is not zero. */
static size_t count_zeroes(const uint8_t *data, size_t length)
{
	size_t n = 0;

	if (!data[0] && !memcmp(data, data + 1, length - 1))
		return length;
	while (n < length && !data[n])
		n++;
	return n;
}

/* A slot's block and length follow from when it was begun, so each holds its own. */
struct piece {
	uint64_t at;
	uint32_t blocks;
};

static void submit_reads(struct scan *scan, struct piece *pieces)
{
	struct nvme_queue *queue = &scan->nvme->queues[0];
	uint32_t most = (uint32_t)(scan->nvme->config.slot_size / scan->nvme->block_size);

	while (queue->free_count && scan->begun < scan->blocks) {
		unsigned slot = (unsigned)nvme_slot_get(queue);
		uint64_t left = scan->blocks - scan->begun;
		uint32_t blocks = left < most ? (uint32_t)left : most;

		pieces[slot] = (struct piece){scan->begun, blocks};
		nvme_submit_part(queue, slot, NVME_OP_READ, scan->first + scan->begun, blocks);
		scan->begun += blocks;
	}
}

static int check_read(struct scan *scan, const struct piece *piece, const struct nvme_done *done,
                      struct ob_error *err)
{
	struct nvme_queue *queue = &scan->nvme->queues[0];
	size_t zeroes, length = (size_t)piece->blocks * scan->nvme->block_size;

	if (done->status)
		return ob_error_set(err, -EIO,
		                    "%s: block %" PRIu64 " cannot be read (status 0x%03x), so it "
		                    "is not known whether the disk is empty: --destroy overwrites "
		                    "it",
		                    scan->disk, scan->first + piece->at, done->status & 0x7ff);
	zeroes = count_zeroes(nvme_buffer(queue, done->slot), length);
	if (zeroes < length)
		return ob_error_set(err, -EEXIST,
		                    "%s: the disk is not empty (block %" PRIu64
		                    "): nothing was written; --destroy overwrites what it holds",
		                    scan->disk,
		                    scan->first + piece->at + zeroes / scan->nvme->block_size);
	nvme_slot_put(queue, done->slot);
	scan->ended += piece->blocks;
	return 0;
}

static int lost(const struct scan *scan, int rc, struct ob_error *err)
{
	return ob_error_set(err, rc, "%s: %s", scan->disk, ob_client_message(scan->nvme->client));
}

/* Nothing was done in a turn. */
static int rest(struct scan *scan, struct ob_error *err)
{
	int rc = nvme_sleep(scan->nvme, SLEEP_MS);

	if (rc && rc != -ETIMEDOUT)
		return lost(scan, rc, err);
	if (++scan->turns % TURNS_PER_CLOCK && !scan->nvme->config.msix)
		return 0;
	if (clock_now() - scan->last_completion > scan->stuck_after)
		return ob_error_set(err, -ETIMEDOUT, "%s: reading the disk does not end",
		                    scan->disk);
	return 0;
}

static int run_scan(struct scan *scan, struct piece *pieces, struct ob_error *err)
{
	struct nvme_queue *queue = &scan->nvme->queues[0];
	struct nvme_done done[BATCH];
	int n, rc = 0;

	scan->last_completion = clock_now();
	while (!rc && scan->ended < scan->blocks) {
		submit_reads(scan, pieces);
		rc = nvme_ring(queue);
		n = rc ? rc : nvme_reap(queue, done, BATCH);
		if (n < 0)
			return lost(scan, n, err);
		for (int i = 0; i < n && !rc; i++)
			rc = check_read(scan, &pieces[done[i].slot], &done[i], err);
		if (n)
			scan->last_completion = clock_now();
		else
			rc = rest(scan, err);
	}
	return rc;
}

int empty_check(struct nvme *nvme, const struct load_plan *plan, uint64_t size, const char *disk,
                struct ob_error *err)
{
	struct piece pieces[NVME_MAX_DEPTH];
	struct scan scan = {
		.nvme = nvme,
		.disk = disk,
		.blocks = (size + nvme->block_size - 1) / nvme->block_size,
		.first = plan->first_unit * (nvme->config.slot_size / nvme->block_size),
		.stuck_after = plan->stuck_after,
	};

	if (size > EMPTY_MAX_BYTES)
		return ob_error_set(err, -EEXIST,
		                    "%s: %" PRIu64
		                    " bytes of the disk would be overwritten: give --destroy, or a "
		                    "--size of at most 1G, which is read first to see whether it "
		                    "is empty",
		                    disk, size);
	return run_scan(&scan, pieces, err);
}

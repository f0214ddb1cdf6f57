/* SPDX-License-Identifier: BSD-3-Clause */
/* A load of random reads or writes on one queue of an NVMe disk, for the programs of this folder.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "bench.h"
#include "client/nvme.h"

enum { LOAD_BATCH = 64 };

struct load {
	struct nvme *nvme;
	struct nvme_queue *queue;
	uint8_t opcode;
	uint64_t completed, state;
};

/* Connects to the disk at a socket and brings it up, or ends the program. */
static inline void load_open(struct load *load, const char *path, const struct nvme_config *config)
{
	struct ob_client *client;
	struct ob_error err = {0};

	if (ob_client_connect(path, NULL, &client, &err) ||
	    nvme_open(client, config, &load->nvme, &err)) {
		fprintf(stderr, "%s\n", err.message);
		exit(EXIT_FAILURE);
	}
	load->queue = &load->nvme->queues[0];
	load->opcode = NVME_OP_READ;
	load->state = 88172645463325252;
}

static inline void load_close(struct load *load)
{
	struct ob_client *client = load->nvme->client;

	nvme_close(load->nvme);
	ob_client_free(client);
}

static inline void load_refill(struct load *load)
{
	const struct nvme *nvme = load->nvme;
	uint32_t blocks = (uint32_t)(nvme->config.slot_size / nvme->block_size);

	while (load->queue->free_count) {
		uint64_t place = random_below(&load->state, nvme->blocks / blocks) * blocks;

		nvme_submit(load->queue, (unsigned)nvme_slot_get(load->queue), load->opcode, place,
		            blocks);
	}
	good("ringing", nvme_ring(load->queue));
}

/* Takes what is done. Returns how many. */
static inline unsigned load_reap(struct load *load)
{
	struct nvme_done done[LOAD_BATCH];
	int n = nvme_reap(load->queue, done, LOAD_BATCH);

	good("the connection", n);
	for (int i = 0; i < n; i++) {
		if (done[i].status)
			fail("a command", EIO);
		nvme_slot_put(load->queue, done[i].slot);
	}
	load->completed += (unsigned)n;
	return (unsigned)n;
}

/* Keeps the disk busy for a while, and returns the commands per second. All are done then. */
static inline double load_run(struct load *load, uint64_t nanoseconds)
{
	uint64_t began = now(), last = began, ended = began, before = load->completed;

	for (uint64_t turns = 0; ended - began < nanoseconds; turns++) {
		load_refill(load);
		if (load_reap(load) || turns % 256 == 0)
			ended = now();
	}
	before = load->completed - before;
	while (load->queue->busy_count) {
		if (load_reap(load))
			last = now();
		else if (now() - last > UINT64_C(5000000000))
			fail("a command", ETIMEDOUT);
	}
	return 1e9 / each(began, ended, before);
}

#endif

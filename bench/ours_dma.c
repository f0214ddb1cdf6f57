/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA_MAP and DMA_UNMAP over the socket: how long each takes, of one at random among --maps of
 * them. Each map comes with a descriptor, and the server has mapped it when it answers.
 */
#include "bench.h"
#include "outboard/client.h"

enum { PIECE = 4096, SPACING = 2 * PIECE };

static const uint64_t BASE = UINT64_C(1) << 32;

struct run {
	struct ob_client *client;
	struct ob_client_memory *memory;
	uint64_t map_ns, unmap_ns;
};

/*
 * Every second page of the address space, so that no two maps touch. In the file they follow each
 * other from the end, as the kernel gives out addresses: so it can keep them as one mapping of the
 * process, of which it has no more than 65,530 by default (vm.max_map_count).
 */
static int map(struct run *run, uint64_t number)
{
	return ob_client_map(run->client, BASE + number * SPACING, run->memory,
	                     run->memory->size - (number + 1) * PIECE, PIECE,
	                     OB_CLIENT_READ | OB_CLIENT_WRITE);
}

static int unmap(struct run *run, uint64_t number)
{
	return ob_client_unmap(run->client, BASE + number * SPACING, PIECE);
}

static void measure(struct run *run, uint64_t maps, uint64_t count)
{
	uint64_t state = 88172645463325252;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t number = random_below(&state, maps);
		uint64_t began = now(), middle;

		good("unmapping", unmap(run, number));
		middle = now();
		good("mapping", map(run, number));
		run->unmap_ns += middle - began;
		run->map_ns += now() - middle;
	}
}

int main(int argc, char **argv)
{
	uint64_t maps = 1, count = 5000, busy = 0, client_cpu = CLIENT_CPU, began, made;
	const struct option_spec options[] = {{"maps", &maps, NULL},
	                                      {"count", &count, NULL},
	                                      {"busy", &busy, NULL},
	                                      {"client-cpu", &client_cpu, NULL},
	                                      {0}};
	const char *path = take_options(options, argc, argv);
	struct ob_client_config config = {.timeout_ms = 20000};
	struct run run = {0};
	struct ob_error err;

	if (!path || !maps || !count)
		fail("socket, maps and count", EINVAL);
	pin(client_cpu);
	config.busy = busy;
	if (ob_client_connect(path, &config, &run.client, &err)) {
		fprintf(stderr, "%s\n", err.message);
		return EXIT_FAILURE;
	}
	good("memory", ob_client_memory_new(maps * PIECE, &run.memory));
	began = now();
	for (uint64_t i = 0; i < maps; i++)
		good("mapping", map(&run, i));
	made = now() - began;
	measure(&run, maps, count);
	printf("{\"map_ns\": %.1f, \"unmap_ns\": %.1f, \"fill_ns\": %.1f}\n",
	       (double)run.map_ns / (double)count, (double)run.unmap_ns / (double)count,
	       (double)made / (double)maps);
	ob_client_free(run.client);
	ob_client_memory_free(run.memory);
	return 0;
}

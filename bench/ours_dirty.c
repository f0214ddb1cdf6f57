/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What it costs a device to note which pages it writes, as it does while a virtual machine is
 * moved: the same load of reads from an NVMe disk without and with that, in turns, and how long a
 * report about 1 GiB takes.
 */
#include "load.h"
#include "outboard/client.h"

enum { PAGE_SIZE = 4096, TURNS = 4 };

static const uint64_t ADDRESS = UINT64_C(1) << 40, LENGTH = UINT64_C(1) << 30;

static double report(struct ob_client *client, uint64_t page_size)
{
	const struct ob_client_range range = {ADDRESS, LENGTH};
	uint64_t *bitmap = calloc(LENGTH / PAGE_SIZE / 64, sizeof(*bitmap));
	uint64_t began = now();

	if (!bitmap)
		fail("a bitmap", ENOMEM);
	good("a report", ob_client_dirty_report(client, range, page_size, bitmap));
	began = now() - began;
	free(bitmap);
	return (double)began;
}

int main(int argc, char **argv)
{
	struct nvme_config config = {.queues = 1, .depth = 32, .slot_size = 4096, .nsid = 1};
	uint64_t milliseconds = 200, depth = 32, client_cpu = CLIENT_CPU;
	const struct option_spec options[] = {{"ms", &milliseconds, NULL},
	                                      {"depth", &depth, NULL},
	                                      {"client-cpu", &client_cpu, NULL},
	                                      {0}};
	const char *path = take_options(options, argc, argv);
	struct ob_client_memory *memory;
	struct ob_client *client;
	struct load load = {0};
	double off = 0, on = 0, report_ns = 0;

	if (!path || !depth || depth > NVME_MAX_DEPTH)
		fail("socket and depth", EINVAL);
	pin(client_cpu);
	config.depth = (unsigned)depth;
	load_open(&load, path, &config);
	client = load.nvme->client;
	good("memory", ob_client_memory_new(LENGTH, &memory));
	good("mapping",
	     ob_client_map(client, ADDRESS, memory, 0, LENGTH, OB_CLIENT_READ | OB_CLIENT_WRITE));
	for (unsigned i = 0; i < TURNS; i++) {
		uint64_t page_size = PAGE_SIZE;

		off += load_run(&load, milliseconds * 1000000 / TURNS / 2);
		good("dirty logging", ob_client_dirty_start(client, &page_size, NULL, 0));
		on += load_run(&load, milliseconds * 1000000 / TURNS / 2);
		report_ns += report(client, page_size);
		good("dirty logging", ob_client_dirty_stop(client));
	}
	printf("{\"off_iops\": %.1f, \"on_iops\": %.1f, \"report_ns\": %.1f}\n", off / TURNS,
	       on / TURNS, report_ns / TURNS);
	load_close(&load);
	ob_client_memory_free(memory);
	return 0;
}

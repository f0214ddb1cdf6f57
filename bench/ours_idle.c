/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that is idle with its client attached, and the first command after that: --count times
 * it leaves an NVMe disk alone for --idle-ms, and then reads a block and looks at the completion
 * queue until it is there. With --server, the server's process id, it also says what processor time
 * that took while it was idle, and how often the server went to sleep: once for each command means
 * that it woke up once.
 */
#include <dirent.h>
#include <unistd.h>

#include "bench.h"
#include "client/nvme.h"
#include "outboard/client.h"

enum { MAX_COUNT = 100, WARM_UP = 3 };

struct usage {
	uint64_t cpu_ns, sleeps;
};

static uint64_t field_of(const char *path, const char *format)
{
	char line[256];
	unsigned long long value = 0;
	FILE *file = fopen(path, "re");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, format, &value) == 1) /* NOLINT(cert-err34-c) */
			break;
	}
	if (file)
		fclose(file);
	return value;
}

/* Of all threads. The scheduler counts in nanoseconds, where ticks would show nothing. */
static struct usage usage_of(uint64_t pid)
{
	struct usage usage = {0};
	struct dirent *entry;
	char path[300];
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/task", pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%" PRIu64 "/task/%s/schedstat", pid,
		         entry->d_name);
		usage.cpu_ns += field_of(path, "%llu");
		snprintf(path, sizeof(path), "/proc/%" PRIu64 "/task/%s/status", pid,
		         entry->d_name);
		usage.sleeps += field_of(path, "voluntary_ctxt_switches: %llu");
	}
	if (tasks)
		closedir(tasks);
	return usage;
}

static uint64_t read_block(struct nvme *nvme)
{
	struct nvme_queue *queue = &nvme->queues[0];
	uint32_t blocks = (uint32_t)(nvme->config.slot_size / nvme->block_size);
	uint64_t began = now();
	struct nvme_done done;
	int n = 0;

	nvme_submit(queue, (unsigned)nvme_slot_get(queue), NVME_OP_READ, 0, blocks);
	good("ringing", nvme_ring(queue));
	while (!n) {
		n = nvme_reap(queue, &done, 1);
		if (!n && now() - began > UINT64_C(5000000000))
			fail("a read", ETIMEDOUT);
	}
	began = now() - began;
	good("a read", n);
	if (done.status)
		fail("a read", EIO);
	nvme_slot_put(queue, done.slot);
	return began;
}

static void measure(struct nvme *nvme, uint64_t count, uint64_t idle_ms, uint64_t server)
{
	struct timespec rest = {(time_t)(idle_ms / 1000), (long)(idle_ms % 1000 * 1000000)};
	struct timespec settle = {0, 20000000};
	struct usage before, after;
	uint64_t times[MAX_COUNT], idle_cpu = 0, sleeps = 0;

	for (unsigned i = 0; i < WARM_UP; i++) {
		read_block(nvme);
		good("sending", ob_client_flush(nvme->client));
	}
	for (uint64_t i = 0; i < count; i++) {
		/* Polling that ends after some microseconds of quiet has ended by now. */
		nanosleep(&settle, NULL);
		before = usage_of(server);
		nanosleep(&rest, NULL);
		after = usage_of(server);
		idle_cpu += after.cpu_ns - before.cpu_ns;
		times[i] = read_block(nvme);
		nanosleep(&settle, NULL);
		sleeps += usage_of(server).sleeps - after.sleeps;
		/* The completion queue's doorbell may be a message that waits until here. */
		good("sending", ob_client_flush(nvme->client));
	}
	fputs("{\"first_ns\": [", stdout);
	for (uint64_t i = 0; i < count; i++)
		printf("%s%" PRIu64, i ? ", " : "", times[i]);
	printf("], \"idle_cpu_ns_per_second\": %.1f, \"sleeps_per_command\": %.2f, "
	       "\"doorbells\": \"%s\"}\n",
	       (double)idle_cpu * 1000 / (double)(count * idle_ms), (double)sleeps / (double)count,
	       nvme_doorbells_name(nvme->doorbells));
}

/* By the driver's own names: the last one is that of doorbells by message. */
static enum nvme_doorbells doorbells_named(const char *name)
{
	for (unsigned way = NVME_DOORBELLS_AUTO; way <= NVME_DOORBELLS_MESSAGE; way++) {
		if (!strcmp(name, nvme_doorbells_name((enum nvme_doorbells)way)))
			return (enum nvme_doorbells)way;
	}
	fail(name, EINVAL);
}

int main(int argc, char **argv)
{
	struct nvme_config config = {.queues = 1, .depth = 1, .slot_size = 4096, .nsid = 1};
	uint64_t count = 5, idle_ms = 1000, server = 0, client_cpu = CLIENT_CPU;
	const char *doorbells = "auto";
	const struct option_spec options[] = {
		{"count", &count, NULL},           {"idle-ms", &idle_ms, NULL},
		{"server", &server, NULL},         {"doorbells", NULL, &doorbells},
		{"client-cpu", &client_cpu, NULL}, {0}};
	const char *path = take_options(options, argc, argv);
	struct ob_client *client;
	struct nvme *nvme;
	struct ob_error err = {0};

	if (!path || !count || count > MAX_COUNT || !idle_ms)
		fail("socket, count and idle-ms", EINVAL);
	config.doorbells = doorbells_named(doorbells);
	pin(client_cpu);
	if (ob_client_connect(path, NULL, &client, &err) ||
	    nvme_open(client, &config, &nvme, &err)) {
		fprintf(stderr, "%s\n", err.message);
		return EXIT_FAILURE;
	}
	measure(nvme, count, idle_ms, server);
	nvme_close(nvme);
	ob_client_free(client);
	return 0;
}

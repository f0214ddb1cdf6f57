/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one client waits while others do their worst: reads one after the other, with a rest in
 * between in which others may have the processor, and how long each took, as a distribution.
 *
 *	--operation=nvme      a read of 512 bytes from a disk, polled
 *	--operation=message   a register read
 *	--operation=none      no server: how far apart two looks at the clock are on a processor
 *that does nothing else, which is the machine's own noise
 *
 * With --server-pid also how much processor time the server's loop took meanwhile. That is what it
 * did for others, or for this read, and does not grow when the machine is busy with something else.
 */
#include "load.h"

enum { MAX_SAMPLES = 1 << 22, SETTLE_NS = 50000000 };

struct samples {
	uint32_t *ns; /* saturated */
	uint64_t count;
};

struct victim {
	struct load load;
	struct ob_client *client;
	uint64_t ms, rest_us, server_pid;
	clockid_t server_clock;
	struct samples waited, worked;
};

static void note(struct samples *samples, uint64_t ns)
{
	if (samples->count < MAX_SAMPLES)
		samples->ns[samples->count++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
}

/* Processor time of the server's process, of which the loop's thread is nearly all. */
static uint64_t server_time(const struct victim *victim)
{
	struct timespec t;

	if (!victim->server_pid)
		return 0;
	check("the server's clock", clock_gettime(victim->server_clock, &t));
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void rest(uint64_t microseconds)
{
	struct timespec time = {0, (long)(microseconds % 1000000 * 1000)};

	if (microseconds)
		nanosleep(&time, NULL);
}

static void read_disk(struct victim *victim)
{
	uint64_t began = now();

	load_refill(&victim->load);
	while (!load_reap(&victim->load)) {
		if (now() - began > UINT64_C(20000000000))
			fail("a command", ETIMEDOUT);
	}
}

static void read_register(struct victim *victim)
{
	uint64_t value;

	good("an access", ob_client_read_value(victim->client, 0, 4, 4, &value));
}

static void run(struct victim *victim, void (*operation)(struct victim *victim))
{
	uint64_t begin = now(), began, before;

	/* The first ones find cold caches, and a client that has just come. */
	while (now() - begin < SETTLE_NS)
		operation(victim);
	for (begin = now(); now() - begin < victim->ms * 1000000;) {
		rest(victim->rest_us);
		before = server_time(victim);
		began = now();
		operation(victim);
		note(&victim->waited, now() - began);
		note(&victim->worked, server_time(victim) - before);
	}
}

static void spin(struct victim *victim)
{
	uint64_t begin = now(), last = begin, time;

	for (; last - begin < victim->ms * 1000000; last = time) {
		time = now();
		note(&victim->waited, time - last);
	}
}

static int compare(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static uint32_t quantile(const struct samples *samples, double part)
{
	return samples->ns[(size_t)((double)(samples->count - 1) * part)];
}

static void print(struct samples *samples, const char *name)
{
	if (!samples->count)
		return;
	qsort(samples->ns, samples->count, sizeof(*samples->ns), compare);
	printf(", \"%sp50_ns\": %u, \"%sp99_ns\": %u, \"%sp999_ns\": %u, \"%smax_ns\": %u", name,
	       quantile(samples, 0.5), name, quantile(samples, 0.99), name,
	       quantile(samples, 0.999), name, samples->ns[samples->count - 1]);
}

static void make_samples(struct samples *samples)
{
	samples->ns = malloc(MAX_SAMPLES * sizeof(*samples->ns));
	if (!samples->ns)
		fail("memory", ENOMEM);
	memset(samples->ns, 0, MAX_SAMPLES * sizeof(*samples->ns));
}

int main(int argc, char **argv)
{
	struct victim victim = {.ms = 1000, .rest_us = 20};
	uint64_t client_cpu = CLIENT_CPU;
	const char *operation = "nvme";
	const struct option_spec options[] = {
		{"ms", &victim.ms, NULL},
		{"rest-us", &victim.rest_us, NULL},
		{"server-pid", &victim.server_pid, NULL},
		{"operation", NULL, &operation},
		{"client-cpu", &client_cpu, NULL},
		{0},
	};
	const char *path = take_options(options, argc, argv);
	const struct nvme_config config = {.queues = 1, .depth = 1, .slot_size = 512, .nsid = 1};
	struct ob_error err = {0};

	make_samples(&victim.waited);
	make_samples(&victim.worked);
	if (victim.server_pid &&
	    clock_getcpuclockid((pid_t)victim.server_pid, &victim.server_clock))
		fail("the server's clock", ESRCH);
	pin(client_cpu);
	if (!strcmp(operation, "none")) {
		spin(&victim);
	} else if (!path) {
		fail("socket", EINVAL);
	} else if (!strcmp(operation, "nvme")) {
		load_open(&victim.load, path, &config);
		run(&victim, read_disk);
		load_close(&victim.load);
	} else {
		if (ob_client_connect(path, NULL, &victim.client, &err)) {
			fprintf(stderr, "%s\n", err.message);
			return EXIT_FAILURE;
		}
		run(&victim, read_register);
		ob_client_free(victim.client);
	}
	printf("{\"count\": %" PRIu64, victim.waited.count);
	print(&victim.waited, "");
	print(&victim.worked, "server_");
	puts("}");
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What one client waits while others do their worst: reads one after the other, with a rest in
 * between in which others may have the processor, and how long each took, as a distribution.
 *
 *	--operation=nvme      a read of 512 bytes from a disk, polled
 *	--operation=message   a register read
 *	--operation=none      no server: how far apart two looks at the clock are on a processor
 *                      that does nothing else, which is the machine's own noise
 *
 * With --loop-watch=FILE, the file of a server that loop_watch.so watches, also what that says of
 * the same time. (The processor clock of another process does not: the kernel brings it up to date
 * when that is switched or ticks, every 4 ms or so.)
 */
#include "load.h"
#include "loop_watch.h"

enum { MAX_SAMPLES = 1 << 22, SETTLE_NS = 50000000 };

struct samples {
	uint32_t *ns; /* saturated */
	uint64_t count;
};

struct victim {
	struct load load;
	struct ob_client *client;
	uint64_t ms, rest_us;
	struct loop_watch *watch;
	struct samples waited;
};

static void note(struct samples *samples, uint64_t ns)
{
	if (samples->count < MAX_SAMPLES)
		samples->ns[samples->count++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
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

/* A copy, as the server counts on. */
struct watched {
	uint64_t rounds, max_ns, count, table[WATCH_TABLE];
};

static void take_watch(const struct loop_watch *watch, struct watched *copy)
{
	copy->rounds = atomic_load(&watch->rounds);
	copy->max_ns = atomic_load(&watch->max_ns);
	copy->count = 0;
	for (unsigned i = 0; i < WATCH_TABLE; i++)
		copy->count += copy->table[i] = atomic_load(&watch->table[i]);
}

static void run(struct victim *victim, void (*operation)(struct victim *victim),
                struct watched *watched)
{
	uint64_t begin = now(), began;

	/* The first ones find cold caches, and a client that has just come. */
	while (now() - begin < SETTLE_NS)
		operation(victim);
	if (victim->watch)
		atomic_store(&victim->watch->begin, 1);
	for (begin = now(); now() - begin < victim->ms * 1000000;) {
		rest(victim->rest_us);
		began = now();
		operation(victim);
		note(&victim->waited, now() - began);
	}
	/* Before this client leaves, which is not what is measured. */
	if (victim->watch)
		take_watch(victim->watch, watched);
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

static void print(struct samples *samples)
{
	qsort(samples->ns, samples->count, sizeof(*samples->ns), compare);
	printf(", \"p50_ns\": %u, \"p99_ns\": %u, \"p999_ns\": %u, \"max_ns\": %u",
	       quantile(samples, 0.5), quantile(samples, 0.99), quantile(samples, 0.999),
	       samples->ns[samples->count - 1]);
}

static uint64_t watched_quantile(const struct watched *watched, double part)
{
	uint64_t left = (uint64_t)((double)(watched->count - 1) * part);
	unsigned i = 0;

	while (i < WATCH_TABLE - 1 && left >= watched->table[i])
		left -= watched->table[i++];
	return loop_watch_value(i) < watched->max_ns ? loop_watch_value(i) : watched->max_ns;
}

static void print_watched(const struct watched *watched)
{
	if (!watched->count)
		fail("the server's loop: it is not watched", ENODATA);
	printf(", \"rounds\": %" PRIu64 ", \"turns\": %" PRIu64, watched->rounds, watched->count);
	printf(", \"loop_p50_ns\": %" PRIu64 ", \"loop_p99_ns\": %" PRIu64
	       ", \"loop_p999_ns\": %" PRIu64 ", \"loop_max_ns\": %" PRIu64,
	       watched_quantile(watched, 0.5), watched_quantile(watched, 0.99),
	       watched_quantile(watched, 0.999), watched->max_ns);
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
	const char *operation = "nvme", *watch = NULL;
	struct watched watched;
	const struct option_spec options[] = {
		{"ms", &victim.ms, NULL},          {"rest-us", &victim.rest_us, NULL},
		{"loop-watch", NULL, &watch},      {"operation", NULL, &operation},
		{"client-cpu", &client_cpu, NULL}, {0},
	};
	const char *path = take_options(options, argc, argv);
	const struct nvme_config config = {.queues = 1, .depth = 1, .slot_size = 512, .nsid = 1};
	struct ob_error err = {0};

	make_samples(&victim.waited);
	if (watch)
		victim.watch = loop_watch_open(watch);
	pin(client_cpu);
	if (!strcmp(operation, "none")) {
		spin(&victim);
	} else if (!path) {
		fail("socket", EINVAL);
	} else if (!strcmp(operation, "nvme")) {
		load_open(&victim.load, path, &config);
		run(&victim, read_disk, &watched);
		load_close(&victim.load);
	} else {
		if (ob_client_connect(path, NULL, &victim.client, &err)) {
			fprintf(stderr, "%s\n", err.message);
			return EXIT_FAILURE;
		}
		run(&victim, read_register, &watched);
		ob_client_free(victim.client);
	}
	printf("{\"count\": %" PRIu64, victim.waited.count);
	print(&victim.waited);
	if (victim.watch)
		print_watched(&watched);
	puts("}");
	return 0;
}

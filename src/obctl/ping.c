/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl ping: the time of a round trip, by reading a register again and again. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/fd.h"
#include "client/stream.h"
#include "obctl/command.h"
#include "obctl/histogram.h"

struct ping_options {
	struct connect_options connect;
	uint32_t count;
	bool poll, json;
};

static const struct ob_prop ping_options[] = {
	{.name = "count",
         .type = OB_PROP_UINT32,
         .offset = offsetof(struct ping_options, count),
         .min = 1,
         .max = 100000000,
         .preset = "1000",
         .help = "round trips to measure"},
	{.name = "poll",
         .type = OB_PROP_BOOL,
         .offset = offsetof(struct ping_options, poll),
         .help = "look for the answer again and again instead of sleeping"},
	{.name = "json",
         .type = OB_PROP_BOOL,
         .offset = offsetof(struct ping_options, json),
         .help = "print JSON, times in nanoseconds"},
	CONNECT_OPTIONS,
	{0},
};

enum { WARM_UP = 16 };

static int measure(struct ob_client *client, uint32_t count, struct histogram *times,
                   struct ob_error *err)
{
	uint32_t value;

	for (uint32_t i = 0; i < count + WARM_UP; i++) {
		uint64_t before = clock_now();
		int rc = ob_client_read(client, OB_REGION_CONFIG, 0, &value, sizeof(value));

		if (rc)
			return client_error(client, rc, "reading the configuration space", err);
		if (i >= WARM_UP)
			histogram_add(times, clock_now() - before);
	}
	return 0;
}

static int run_ping(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct ping_options *options = opaque;
	cleanup_client struct ob_client *client = NULL;
	cleanup_free struct histogram *times = calloc(1, sizeof(*times));
	int rc;

	if (!times)
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = connect_to(words[0], &options->connect, options->poll, &client, err);
	if (!rc)
		rc = measure(client, options->count, times, err);
	if (rc)
		return rc;
	if (options->json) {
		printf("{\"poll\": %s, ", options->poll ? "true" : "false");
		histogram_print_json(times, stdout);
		puts("}");
	} else {
		printf("%" PRIu64 " round trips%s: ", times->count,
		       options->poll ? ", polled" : "");
		histogram_print(times, stdout);
	}
	return 0;
}

const struct command command_ping = {
	.name = "ping",
	.words = "SOCKET",
	.word_count = 1,
	.summary = "Measures the time of round trips",
	.details = "Each is a read of 4 bytes of the configuration space.\n",
	.options = ping_options,
	.options_size = sizeof(struct ping_options),
	.run = run_ping,
};

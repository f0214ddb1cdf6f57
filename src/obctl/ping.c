/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * obctl ping: the time of a round trip, by reading or writing a register again and again, one at a
 * time or many. What is written is the interrupt line (PCI 3.0, 6.2.4): a scratch register by
 * definition, and it gets the value that it has.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "client/stream.h"
#include "obctl/command.h"
#include "obctl/histogram.h"

enum ping_operation { PING_READ, PING_WRITE, PING_POST, PING_MULTI };
enum { WARM_UP = 16, MAX_DEPTH = 128, INTERRUPT_LINE = 0x3c };

static const char *const operation_names[] = {"read", "write", "post", "multi", NULL};

struct ping_options {
	struct connect_options connect;
	uint32_t count, operation, depth;
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
	{.name = "operation",
         .type = OB_PROP_ENUM,
         .offset = offsetof(struct ping_options, operation),
         .choices = operation_names,
         .preset = "read",
         .help = "what to send"},
	{.name = "depth",
         .type = OB_PROP_UINT32,
         .offset = offsetof(struct ping_options, depth),
         .min = 1,
         .max = MAX_DEPTH,
         .preset = "1",
         .help = "operations that are sent together; times are for each of them"},
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

/* Starts all of them, and waits for the last: the server answers in order. */
static int pipelined(struct ob_client *client, const struct ping_options *options, uint8_t line)
{
	struct ob_client_op ops[MAX_DEPTH] = {0};
	uint8_t values[MAX_DEPTH];
	uint32_t depth = options->depth;
	bool write = options->operation == PING_WRITE;
	int rc = 0;

	for (uint32_t i = 0; i < depth && !rc; i++) {
		if (write)
			rc = ob_client_write_start(client, &ops[i], OB_REGION_CONFIG,
			                           INTERRUPT_LINE, &line, 1);
		else
			rc = ob_client_read_start(client, &ops[i], OB_REGION_CONFIG, INTERRUPT_LINE,
			                          &values[i], 1);
	}
	for (uint32_t i = 0; i < depth && !rc; i++) {
		while (ops[i].status == -EINPROGRESS && !rc)
			rc = ob_client_wait(client, options->connect.timeout);
		rc = rc ? rc : ops[i].status;
	}
	return rc;
}

/* Posted writes, and a read behind them: when that is answered, they are done. */
static int posted(struct ob_client *client, uint32_t depth, uint8_t line)
{
	uint8_t value;
	int rc = 0;

	for (uint32_t i = 0; i < depth && !rc; i++)
		rc = ob_client_post(client, OB_REGION_CONFIG, INTERRUPT_LINE, &line, 1);
	return rc ? rc : ob_client_read(client, OB_REGION_CONFIG, INTERRUPT_LINE, &value, 1);
}

static int multi(struct ob_client *client, uint32_t depth, uint8_t line)
{
	struct ob_client_small_write writes[MAX_DEPTH];

	for (uint32_t i = 0; i < depth; i++)
		writes[i] = (struct ob_client_small_write){.offset = INTERRUPT_LINE,
		                                           .region = OB_REGION_CONFIG,
		                                           .size = 1,
		                                           .value = line};
	return ob_client_write_multi(client, writes, depth, false, NULL);
}

static int once(struct ob_client *client, const struct ping_options *options, uint8_t line)
{
	uint32_t value;

	switch (options->operation) {
	case PING_POST:
		return posted(client, options->depth, line);
	case PING_MULTI:
		return multi(client, options->depth, line);
	case PING_WRITE:
		if (options->depth == 1)
			return ob_client_write(client, OB_REGION_CONFIG, INTERRUPT_LINE, &line, 1);
		break;
	default:
		if (options->depth == 1)
			return ob_client_read(client, OB_REGION_CONFIG, 0, &value, sizeof(value));
	}
	return pipelined(client, options, line);
}

static int measure(struct ob_client *client, const struct ping_options *options,
                   struct histogram *times, struct ob_error *err)
{
	uint8_t line;
	int rc = ob_client_read(client, OB_REGION_CONFIG, INTERRUPT_LINE, &line, 1);

	for (uint32_t i = 0; i < options->count + WARM_UP && !rc; i++) {
		uint64_t before = clock_now();

		rc = once(client, options, line);
		if (i >= WARM_UP)
			histogram_add(times, (clock_now() - before) / options->depth);
	}
	return rc ? client_error(client, rc, "using the configuration space", err) : 0;
}

static void print_ping_json(const struct ping_options *options, const struct histogram *times)
{
	struct json_object *all = json_object_new_object();

	json_object_object_add(all, "operation",
	                       json_object_new_string(operation_names[options->operation]));
	json_object_object_add(all, "depth", json_object_new_uint64(options->depth));
	json_object_object_add(all, "poll", json_object_new_boolean(options->poll));
	histogram_add_json(times, all);
	puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_SPACED));
	json_object_put(all);
}

static int run_ping(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct ping_options *options = opaque;
	cleanup_client struct ob_client *client = NULL;
	struct histogram times = {0};
	int rc = connect_to(words[0], &options->connect, options->poll, &client, err);
	if (!rc)
		rc = measure(client, options, &times, err);
	if (rc)
		return rc;
	if (options->json) {
		print_ping_json(options, &times);
	} else {
		printf("%" PRIu64 " round trips%s: ", times.count, options->poll ? ", polled" : "");
		histogram_print(&times, stdout);
	}
	return 0;
}

const struct command command_ping = {
	.name = "ping",
	.words = "SOCKET",
	.word_count = 1,
	.summary = "Measures the time of round trips",
	.details = "Each is a read of the configuration space, or a write of its interrupt line, "
		   "which keeps its\n"
		   "value. --operation=post: writes without replies, and a read behind them; "
		   "multi: one message\n"
		   "with several writes. With --depth, several are sent together.\n",
	.options = ping_options,
	.options_size = sizeof(struct ping_options),
	.run = run_ping,
};

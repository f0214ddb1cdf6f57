/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Register accesses by message: how long a read or a write of a register takes.
 *
 *	--operation=read|write   one message and its reply each; with --depth, so many are sent
 *before the replies are waited for
 *	--operation=post         --depth writes that ask for no reply, and a read behind them
 *	--operation=multi        one message with --depth writes
 *
 * The time is that of each access. With --rest-us the client does nothing for so long in between
 *(and the rest is not measured), as a guest does that looks at a device now and then.
 */
#include "bench.h"
#include "outboard/client.h"

enum { MAX_DEPTH = 128 };

struct plan {
	struct ob_client *client;
	uint64_t depth, region, offset, value;
	const char *operation;
};

static int start(struct plan *plan, struct ob_client_op *op, uint32_t *value)
{
	if (!strcmp(plan->operation, "read"))
		return ob_client_read_start(plan->client, op, (uint32_t)plan->region, plan->offset,
		                            value, 4);
	return ob_client_write_start(plan->client, op, (uint32_t)plan->region, plan->offset, value,
	                             4);
}

static int pipelined(struct plan *plan)
{
	struct ob_client_op ops[MAX_DEPTH] = {0};
	uint32_t values[MAX_DEPTH] = {0};
	int rc = 0;

	for (uint64_t i = 0; i < plan->depth && !rc; i++)
		rc = start(plan, &ops[i], &values[i]);
	for (uint64_t i = 0; i < plan->depth && !rc; i++) {
		while (ops[i].status == -EINPROGRESS && !rc)
			rc = ob_client_wait(plan->client, 5000);
		rc = rc ? rc : ops[i].status;
	}
	return rc;
}

static int posted(struct plan *plan)
{
	uint64_t value;
	int rc = 0;

	for (uint64_t i = 0; i < plan->depth && !rc; i++)
		rc = ob_client_post(plan->client, (uint32_t)plan->region, plan->offset,
		                    &plan->value, 4);
	return rc ? rc
	          : ob_client_read_value(plan->client, (uint32_t)plan->region, plan->offset, 4,
	                                 &value);
}

static int multi(struct plan *plan)
{
	struct ob_client_small_write writes[MAX_DEPTH];

	for (uint64_t i = 0; i < plan->depth; i++)
		writes[i] = (struct ob_client_small_write){.offset = plan->offset,
		                                           .region = (uint32_t)plan->region,
		                                           .size = 4,
		                                           .value = plan->value};
	return ob_client_write_multi(plan->client, writes, (unsigned)plan->depth, false, NULL);
}

static int once(struct plan *plan)
{
	uint64_t value;

	if (!strcmp(plan->operation, "post"))
		return posted(plan);
	if (!strcmp(plan->operation, "multi"))
		return multi(plan);
	if (plan->depth > 1)
		return pipelined(plan);
	if (!strcmp(plan->operation, "read"))
		return ob_client_read_value(plan->client, (uint32_t)plan->region, plan->offset, 4,
		                            &value);
	return ob_client_write_value(plan->client, (uint32_t)plan->region, plan->offset, 4,
	                             plan->value);
}

static void rest(uint64_t microseconds)
{
	struct timespec time = {0, (long)(microseconds % 1000000 * 1000)};

	if (microseconds)
		nanosleep(&time, NULL);
}

int main(int argc, char **argv)
{
	struct plan plan = {.depth = 1, .operation = "read"};
	uint64_t count = 100000, busy = 0, client_cpu = CLIENT_CPU, rest_us = 0, taken = 0;
	const struct option_spec options[] = {
		{"count", &count, NULL},
		{"depth", &plan.depth, NULL},
		{"busy", &busy, NULL},
		{"region", &plan.region, NULL},
		{"offset", &plan.offset, NULL},
		{"rest-us", &rest_us, NULL},
		{"operation", NULL, &plan.operation},
		{"client-cpu", &client_cpu, NULL},
		{0},
	};
	const char *path = take_options(options, argc, argv);
	struct ob_client_config config = {0};
	struct ob_error err;
	uint64_t rounds, before;

	if (!path || !plan.depth || plan.depth > MAX_DEPTH)
		fail("socket and depth", EINVAL);
	pin(client_cpu);
	config.busy = busy;
	if (ob_client_connect(path, &config, &plan.client, &err)) {
		fprintf(stderr, "%s\n", err.message);
		return EXIT_FAILURE;
	}
	rounds = (count + plan.depth - 1) / plan.depth;
	for (uint64_t i = 0; i < rounds / 10; i++)
		good("an access", once(&plan));
	before = now();
	for (uint64_t i = 0; i < rounds; i++) {
		if (rest_us) {
			rest(rest_us);
			before = now();
		}
		good("an access", once(&plan));
		if (rest_us)
			taken += now() - before;
	}
	if (!rest_us)
		taken = now() - before;
	printf("{\"access_ns\": %.2f, \"accesses\": %" PRIu64 "}\n",
	       (double)taken / (double)(rounds * plan.depth), (rounds + rounds / 10) * plan.depth);
	ob_client_free(plan.client);
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts, by counting what arrives in the eventfd that was wired.
 *
 *	--device=edu    a register write raises an interrupt; the next one follows when it has
 *arrived. The time is from the write to the eventfd, which is looked at without sleeping
 *	--device=nvme   reads of one block each, --depth of them under way, with completions by
 *MSI-X and a client that sleeps until one comes; --threshold and --time-100us set interrupt
 *coalescing (NVMe 1.4, 5.21.1.8)
 */
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "load.h"
#include "outboard/client.h"

enum {
	EDU_RAISE = 0x60,
	ADMIN_SET_FEATURES = 0x09,
	FEATURE_COALESCING = 0x08,
	WAIT_MS = 5000,
};

static void run_edu(const char *path, uint64_t milliseconds)
{
	const uint32_t bit = 1;
	struct ob_client *client;
	struct ob_error err;
	int fd = (int)check("eventfd", eventfd(0, EFD_NONBLOCK));
	uint64_t count = 0, began, ended, value, raised = 0;

	if (ob_client_connect(path, NULL, &client, &err)) {
		fprintf(stderr, "%s\n", err.message);
		exit(EXIT_FAILURE);
	}
	good("wiring", ob_client_irq_eventfds(client, OB_IRQ_MSI, 0, 1, &fd));
	began = now();
	do {
		good("raising", ob_client_post(client, OB_REGION_BAR0, EDU_RAISE, &bit, 4));
		good("raising", ob_client_flush(client));
		while (read(fd, &value, sizeof(value)) < 0) {
			if (errno != EAGAIN)
				fail("read", errno);
		}
		raised += value;
		count++;
		ended = now();
	} while (ended - began < milliseconds * 1000000);
	printf("{\"interrupts_per_second\": %.1f, \"latency_ns\": %.1f, \"raised\": %" PRIu64
	       ", \"seen\": %" PRIu64 "}\n",
	       1e9 / each(began, ended, raised), each(began, ended, count), count, raised);
	ob_client_free(client);
	close(fd);
}

struct counted {
	struct load load;
	uint64_t interrupts, wake_ups;
};

/* Everything that is there; then it waits for the interrupt that says there is more. */
static void turn(struct counted *counted)
{
	struct load *load = &counted->load;
	struct pollfd watch = {.fd = load->queue->eventfd, .events = POLLIN};
	uint64_t value;

	load_refill(load);
	/* What rang stands in the client's buffer until it sends. */
	good("sending", ob_client_flush(load->nvme->client));
	if (poll(&watch, 1, WAIT_MS) != 1)
		fail("waiting for an interrupt", ETIMEDOUT);
	if (read(watch.fd, &value, sizeof(value)) == sizeof(value)) {
		counted->interrupts += value;
		counted->wake_ups++;
	}
	while (load_reap(load))
		;
}

static void run_nvme(const char *path, uint64_t milliseconds, uint64_t depth, uint64_t threshold,
                     uint64_t time)
{
	const struct nvme_config config = {
		.queues = 1, .depth = (unsigned)depth, .slot_size = 4096, .nsid = 1, .msix = true};
	const struct nvme_sqe set = {.opcode = ADMIN_SET_FEATURES,
	                             .cdw10 = FEATURE_COALESCING,
	                             .cdw11 = (uint32_t)(time << 8 | threshold)};
	struct counted counted = {0};
	struct load *load = &counted.load;
	struct ob_error err = {0};
	uint64_t began, ended;

	load_open(load, path, &config);
	if (nvme_admin(load->nvme, &set, NULL, &err)) {
		fprintf(stderr, "%s\n", err.message);
		exit(EXIT_FAILURE);
	}
	began = now();
	do {
		turn(&counted);
		ended = now();
	} while (ended - began < milliseconds * 1000000);
	printf("{\"iops\": %.1f, \"interrupts_per_second\": %.1f, \"wake_ups_per_second\": %.1f, "
	       "\"completions_per_interrupt\": %.3f, \"doorbells\": \"%s\"}\n",
	       1e9 / each(began, ended, load->completed),
	       1e9 / each(began, ended, counted.interrupts),
	       1e9 / each(began, ended, counted.wake_ups),
	       (double)load->completed / (double)counted.interrupts,
	       nvme_doorbells_name(load->nvme->doorbells));
	load_close(load);
}

int main(int argc, char **argv)
{
	uint64_t milliseconds = 200, depth = 32, threshold = 0, time = 0, client_cpu = CLIENT_CPU;
	const char *device = "edu";
	const struct option_spec options[] = {{"ms", &milliseconds, NULL},
	                                      {"depth", &depth, NULL},
	                                      {"threshold", &threshold, NULL},
	                                      {"time-100us", &time, NULL},
	                                      {"device", NULL, &device},
	                                      {"client-cpu", &client_cpu, NULL},
	                                      {0}};
	const char *path = take_options(options, argc, argv);

	if (!path || !depth || depth > NVME_MAX_DEPTH)
		fail("socket and depth", EINVAL);
	pin(client_cpu);
	if (!strcmp(device, "edu"))
		run_edu(path, milliseconds);
	else
		run_nvme(path, milliseconds, depth, threshold, time);
	return 0;
}

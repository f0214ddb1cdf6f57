/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor of any doorbell: two processors, two cache lines. One side writes a number in the first
 * and looks at the second until it is there too; the other side looks at the first and answers.
 */
#include <pthread.h>

#include "bench.h"

struct line {
	_Alignas(128) uint64_t value;
};

static struct line there, back;
static uint64_t count = 1000000, server_cpu = SERVER_CPU, client_cpu = CLIENT_CPU;

static void *answer(void *unused)
{
	pin(server_cpu);
	for (uint64_t i = 1; i <= count; i++) {
		while (__atomic_load_n(&there.value, __ATOMIC_ACQUIRE) != i)
			;
		__atomic_store_n(&back.value, i, __ATOMIC_RELEASE);
	}
	return unused;
}

int main(int argc, char **argv)
{
	const struct option_spec options[] = {{"count", &count, NULL},
	                                      {"server-cpu", &server_cpu, NULL},
	                                      {"client-cpu", &client_cpu, NULL},
	                                      {0}};
	uint64_t warm_up, began = 0;
	pthread_t thread;

	take_options(options, argc, argv);
	warm_up = count / 10;
	pin(client_cpu);
	good("a thread", -pthread_create(&thread, NULL, answer, NULL));
	for (uint64_t i = 1; i <= count; i++) {
		if (i == warm_up + 1)
			began = now();
		__atomic_store_n(&there.value, i, __ATOMIC_RELEASE);
		while (__atomic_load_n(&back.value, __ATOMIC_ACQUIRE) != i)
			;
	}
	printf("{\"round_trip_ns\": %.2f}\n", each(began, now(), count - warm_up));
	pthread_join(thread, NULL);
	return 0;
}

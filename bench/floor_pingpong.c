/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor of any doorbell: two processors, two cache lines. One side writes a number in the first
 * and looks at the second until it is there too; the other side looks at the first and answers. The
 * figure is the median of slices of the time, as either side may lose its processor meanwhile.
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

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	enum { SLICES = 25 };
	const struct option_spec options[] = {{"count", &count, NULL},
	                                      {"server-cpu", &server_cpu, NULL},
	                                      {"client-cpu", &client_cpu, NULL},
	                                      {0}};
	double times[SLICES];
	uint64_t began, slice, i = 0;
	pthread_t thread;

	take_options(options, argc, argv);
	slice = count / SLICES + 1;
	count = slice * SLICES;
	pin(client_cpu);
	good("a thread", -pthread_create(&thread, NULL, answer, NULL));
	for (unsigned n = 0; n < SLICES; n++) {
		began = now();
		for (uint64_t k = 0; k < slice; k++) {
			__atomic_store_n(&there.value, ++i, __ATOMIC_RELEASE);
			while (__atomic_load_n(&back.value, __ATOMIC_ACQUIRE) != i)
				;
		}
		times[n] = each(began, now(), slice);
	}
	pthread_join(thread, NULL);
	qsort(times, SLICES, sizeof(times[0]), compare);
	printf("{\"round_trip_ns\": %.2f}\n", times[SLICES / 2]);
	return 0;
}

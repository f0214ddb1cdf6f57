/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the programs of this folder share. Each measures one thing once and prints one line of JSON;
 * to repeat, compare and judge is scripts/bench's. Times are nanoseconds of the monotonic clock.
 *
 * Programs called floor_ use nothing of ours: they do by the shortest way what any server would
 * have to do as well. Programs called ours_ measure outboard with its client library.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Where the serving side runs, and the side that asks, unless --server-cpu and --client-cpu say. */
enum { SERVER_CPU = 0, CLIENT_CPU = 1 };

static inline uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

_Noreturn static inline void fail(const char *what, int rc)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(abs(rc)));
	exit(EXIT_FAILURE);
}

/* For calls that set errno. */
static inline long check(const char *what, long result)
{
	if (result < 0)
		fail(what, errno);
	return result;
}

/* For those that return -errno. */
static inline void good(const char *what, int rc)
{
	if (rc < 0)
		fail(what, rc);
}

/* A machine with one processor measures something else, and scripts/bench says so. */
static inline void pin(uint64_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % CPU_SETSIZE, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* --name=value, either a number or a text. */
struct option_spec {
	const char *name;
	uint64_t *number;
	const char **text;
};

static inline void take_option(const struct option_spec *specs, const char *word)
{
	const char *equals = strchr(word, '=');
	size_t length = equals ? (size_t)(equals - word) : 0;
	char *end;

	for (; equals && specs->name; specs++) {
		if (strlen(specs->name) + 2 != length || strncmp(word, "--", 2) != 0 ||
		    strncmp(word + 2, specs->name, length - 2) != 0)
			continue;
		if (specs->text) {
			*specs->text = equals + 1;
			return;
		}
		*specs->number = strtoull(equals + 1, &end, 0);
		if (end != equals + 1 && !*end)
			return;
	}
	fprintf(stderr, "%s: '%s' is no option of this program\n", program_invocation_short_name,
	        word);
	exit(EXIT_FAILURE);
}

/* Options, and at most one word that is none, which is returned (or NULL). */
static inline const char *take_options(const struct option_spec *specs, int argc, char **argv)
{
	const char *word = NULL;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-' && !word)
			word = argv[i];
		else
			take_option(specs, argv[i]);
	}
	return word;
}

/* Marsaglia's xorshift64*: fast enough not to be what is measured. */
static inline uint64_t random_below(uint64_t *state, uint64_t n)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return (uint64_t)((unsigned __int128)(x * UINT64_C(0x2545f4914f6cdd1d)) * n >> 64);
}

static inline double each(uint64_t began, uint64_t ended, uint64_t count)
{
	return (double)(ended - began) / (double)count;
}

#endif

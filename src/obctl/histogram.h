/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Times in nanoseconds, counted in buckets that are at most 1/64 wide: percentiles of any number of
 * times in fixed memory, exact up to 1.6 %.
 */
#ifndef OBCTL_HISTOGRAM_H
#define OBCTL_HISTOGRAM_H

#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>

enum { HISTOGRAM_SUB = 64u, HISTOGRAM_BUCKETS = 60 * HISTOGRAM_SUB };

struct histogram {
	uint64_t count, sum, min, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Below 2 * 64 a bucket for each number; above, 64 for each power of two. */
static inline unsigned histogram_bucket(uint64_t ns)
{
	unsigned shift = ns < (uint64_t)2 * HISTOGRAM_SUB ? 0 : 57 - (unsigned)__builtin_clzll(ns);

	return shift * HISTOGRAM_SUB + (unsigned)(ns >> shift);
}

static inline void histogram_add(struct histogram *histogram, uint64_t ns)
{
	if (!histogram->count || ns < histogram->min)
		histogram->min = ns;
	if (ns > histogram->max)
		histogram->max = ns;
	histogram->count++;
	histogram->sum += ns;
	histogram->buckets[histogram_bucket(ns)]++;
}

/* The time that percent of the times are not above; 0 if there are none. */
uint64_t histogram_percentile(const struct histogram *histogram, double percent);

/* Adds count, min_ns, ... to a JSON object. */
void histogram_add_json(const struct histogram *histogram, struct json_object *object);
/* Adds a number with so many digits behind the point. */
void json_add_figure(struct json_object *object, const char *key, double value, int digits);
/* Prints one line: min, median, ... in microseconds. */
void histogram_print(const struct histogram *histogram, FILE *out);

#endif

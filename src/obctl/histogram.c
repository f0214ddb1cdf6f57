/* SPDX-License-Identifier: BSD-3-Clause */
/* Percentiles of times; see histogram.h. */
#include "obctl/histogram.h"

#include <inttypes.h>

#include "base/list.h"

/* The middle of a bucket. */
static uint64_t value_of(unsigned bucket)
{
	unsigned shift = bucket < 2 * HISTOGRAM_SUB ? 0 : bucket / HISTOGRAM_SUB - 1;
	uint64_t first = (uint64_t)(bucket - shift * HISTOGRAM_SUB) << shift;

	return first + ((UINT64_C(1) << shift) >> 1);
}

uint64_t histogram_percentile(const struct histogram *histogram, double percent)
{
	double target = percent / 100 * (double)histogram->count;
	uint64_t seen = 0, value;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if (seen && (double)seen >= target) {
			value = value_of(i);
			if (value < histogram->min)
				return histogram->min;
			return value > histogram->max ? histogram->max : value;
		}
	}
	return histogram->max;
}

static const struct {
	const char *name, *key;
	double percent;
} points[] = {
	{"median", "median_ns", 50},
	{"p90", "p90_ns", 90},
	{"p99", "p99_ns", 99},
	{"p99.9", "p99_9_ns", 99.9},
};

void json_add_figure(struct json_object *object, const char *key, double value, int digits)
{
	char text[64];

	snprintf(text, sizeof(text), "%.*f", digits, value);
	json_object_object_add(object, key, json_object_new_double_s(value, text));
}

void histogram_add_json(const struct histogram *histogram, struct json_object *object)
{
	json_object_object_add(object, "count", json_object_new_uint64(histogram->count));
	json_object_object_add(object, "min_ns", json_object_new_uint64(histogram->min));
	for (unsigned i = 0; i < ARRAY_SIZE(points); i++)
		json_object_object_add(
			object, points[i].key,
			json_object_new_uint64(histogram_percentile(histogram, points[i].percent)));
	json_object_object_add(object, "max_ns", json_object_new_uint64(histogram->max));
	json_add_figure(object, "mean_ns",
	                histogram->count ? (double)histogram->sum / (double)histogram->count : 0.0,
	                1);
}

void histogram_print(const struct histogram *histogram, FILE *out)
{
	fprintf(out, "min %.2f", (double)histogram->min / 1000);
	for (unsigned i = 0; i < ARRAY_SIZE(points); i++)
		fprintf(out, "  %s %.2f", points[i].name,
		        (double)histogram_percentile(histogram, points[i].percent) / 1000);
	fprintf(out, "  max %.2f  mean %.2f us\n", (double)histogram->max / 1000,
	        histogram->count ? (double)histogram->sum / (double)histogram->count / 1000 : 0.0);
}

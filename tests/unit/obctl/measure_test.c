/* SPDX-License-Identifier: BSD-3-Clause */
/* Percentiles, and blocks that say what they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "obctl/histogram.h"
#include "obctl/pattern.h"

static void test_buckets_cover_all_times(void **state)
{
	unsigned last = 0;

	for (uint64_t ns = 0; ns < 100000; ns++) {
		unsigned bucket = histogram_bucket(ns);

		assert_true(bucket == last || bucket == last + 1);
		last = bucket;
	}
	assert_true(histogram_bucket(UINT64_MAX) < HISTOGRAM_BUCKETS);
}

static void test_percentiles(void **state)
{
	static struct histogram times;
	uint64_t median;

	assert_int_equal(histogram_percentile(&times, 50), 0);
	for (uint64_t ns = 1; ns <= 100000; ns++)
		histogram_add(&times, ns);
	median = histogram_percentile(&times, 50);
	assert_in_range(median, 49000, 51000);
	assert_in_range(histogram_percentile(&times, 99.9), 98000, 100000);
	assert_in_range(histogram_percentile(&times, 100), 98500, 100000);
	assert_int_equal(times.min, 1);
	assert_int_equal(times.max, 100000);
}

static void test_verdicts(void **state)
{
	uint8_t block[512];
	uint64_t number;
	uint32_t found;

	pattern_fill(1, block, sizeof(block), 7, 3);
	assert_int_equal(pattern_check(1, block, 512, 7, 3, &number, &found), PATTERN_GOOD);
	assert_int_equal(pattern_check(1, block, 512, 7, 0, &number, &found), PATTERN_GOOD);
	assert_int_equal(pattern_check(1, block, 512, 8, 3, &number, &found), PATTERN_MISPLACED);
	assert_int_equal(number, 7);
	assert_int_equal(pattern_check(1, block, 512, 7, 4, &number, &found), PATTERN_STALE);
	assert_int_equal(found, 3);
	assert_int_equal(pattern_check(1, block, 512, 7, 2, &number, &found), PATTERN_EARLY);
	assert_int_equal(pattern_check(2, block, 512, 7, 3, &number, &found), PATTERN_FOREIGN);
	for (size_t i = 0; i < sizeof(block); i++) {
		block[i] ^= 0x10;
		assert_int_equal(pattern_check(1, block, 512, 7, 3, &number, &found),
		                 PATTERN_CORRUPT);
		block[i] ^= 0x10;
	}
	memset(block, 0, sizeof(block));
	assert_int_equal(pattern_check(1, block, 512, 7, 3, &number, &found), PATTERN_ZEROES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets_cover_all_times),
		cmocka_unit_test(test_percentiles),
		cmocka_unit_test(test_verdicts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

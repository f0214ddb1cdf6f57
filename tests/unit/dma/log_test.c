/* SPDX-License-Identifier: BSD-3-Clause */
/* The log of written pages: every way of writing is in it, once, and nothing else is. */
#include "kit.h"

#include "base/list.h"

#define BASE UINT64_C(0x100000)

enum { PAGES = 512, SIZE = PAGES * PAGE };

struct fixture {
	struct dma_space *space;
	struct fake_remote remote;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->space = dma_space_new(1000);
	assert_int_equal(dma_map(f->space, BASE, SIZE, RW, make_file(SIZE), 0), 0);
	fake_remote_init(&f->remote, 2 * BASE + SIZE);
	assert_int_equal(dma_map(f->space, f->remote.address, 4 * PAGE, RW, -1, 0), 0);
	dma_set_remote(f->space, &f->remote.remote);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct fixture *f = *state;

	dma_set_remote(f->space, NULL);
	assert_int_equal(dma_unmap_all(f->space, &waiter.waiter), 0);
	dma_space_free(f->space);
	free(f);
	return 0;
}

static void start(struct fixture *f, uint64_t page_size)
{
	struct dma_log_range range = {BASE, SIZE};

	assert_int_equal(dma_log_start(f->space, &page_size, &range, 1), 0);
}

/* All of a report, in as many parts as it takes. Returns how many. */
static unsigned report(struct fixture *f, uint64_t address, uint64_t length, uint64_t page_size,
                       uint64_t *bits)
{
	struct dma_log_report asked = {address, length, page_size, bits, 0};
	unsigned parts = 1;
	int rc;

	while ((rc = dma_log_report(f->space, &asked)) == -EAGAIN)
		parts++;
	assert_int_equal(rc, 0);
	return parts;
}

static int report_error(struct fixture *f)
{
	uint64_t bit;

	return dma_log_report(f->space, &(struct dma_log_report){BASE, PAGE, PAGE, &bit, 0});
}

static void stop(struct fixture *f)
{
	dma_log_stop(f->space);
	while (!dma_log_reap(f->space))
		;
}

/* The pages that are reported, as a list of numbers, ended by -1. */
static void expect_report(struct fixture *f, uint64_t address, uint64_t length, uint64_t page_size,
                          const int *pages)
{
	uint64_t bits[64] = {0}, expected[64] = {0};

	assert_true(length / page_size <= 64 * 64);
	report(f, address, length, page_size, bits);
	for (; *pages >= 0; pages++)
		expected[*pages / 64] |= UINT64_C(1) << (*pages % 64);
	assert_memory_equal(bits, expected, sizeof(bits));
}

#define expect(f, address, length, page_size, ...)                                                 \
	expect_report(f, address, length, page_size, (const int[]){__VA_ARGS__})

static void write_at(struct fixture *f, uint64_t address, size_t length)
{
	struct tracked_op op = TRACKED_OP;
	uint8_t *bytes = calloc(1, length);

	assert_int_equal(dma_write(f->space, address, bytes, length, &op.op), 0);
	free(bytes);
}

static void copies_are_reported_once(void **state)
{
	struct fixture *f = *state;

	start(f, PAGE);
	expect(f, BASE, SIZE, PAGE, -1);
	write_at(f, BASE, 1);
	write_at(f, BASE + 70 * PAGE - 1, 2);
	write_at(f, BASE + SIZE - 1, 1);
	expect(f, BASE, SIZE, PAGE, 0, 69, 70, 511, -1);
	expect(f, BASE, SIZE, PAGE, -1);
	write_at(f, BASE + 3 * PAGE, 200 * PAGE);
	for (int i = 3; i < 203; i++)
		expect(f, BASE + (uint64_t)i * PAGE, PAGE, PAGE, 0, -1);
	expect(f, BASE, SIZE, PAGE, -1);
}

static void reads_are_not_logged(void **state)
{
	struct tracked_op op = TRACKED_OP;
	struct fixture *f = *state;
	struct iovec iov[2];
	unsigned count = 0;
	uint8_t byte;

	start(f, PAGE);
	assert_int_equal(dma_read(f->space, BASE, &byte, 1, &op.op), 0);
	assert_non_null(dma_direct(f->space, BASE, 64, OB_DMA_FROM_CLIENT));
	assert_int_equal(dma_pin(f->space, BASE, PAGE, OB_DMA_FROM_CLIENT, iov, &count, 2), 0);
	dma_unpin(f->space, BASE, PAGE, OB_DMA_FROM_CLIENT);
	expect(f, BASE, SIZE, PAGE, -1);
}

/* Filled by the kernel at any time until the pin is given back. */
static void pins_are_logged_when_they_end(void **state)
{
	struct fixture *f = *state;
	struct iovec iov[2];
	unsigned count = 0;

	start(f, PAGE);
	assert_int_equal(dma_pin(f->space, BASE + 100, 2 * PAGE, OB_DMA_TO_CLIENT, iov, &count, 2),
	                 0);
	expect(f, BASE, SIZE, PAGE, -1);
	dma_unpin(f->space, BASE + 100, 2 * PAGE, OB_DMA_TO_CLIENT);
	expect(f, BASE, SIZE, PAGE, 0, 1, 2, -1);
}

static void pointers_are_logged_when_given_out(void **state)
{
	struct fixture *f = *state;

	start(f, PAGE);
	assert_non_null(dma_direct(f->space, BASE + 5 * PAGE + 8, 16, OB_DMA_TO_CLIENT));
	expect(f, BASE, SIZE, PAGE, 5, -1);
}

static void messages_are_logged_when_acknowledged(void **state)
{
	struct tracked_op op = TRACKED_OP;
	struct fixture *f = *state;
	struct dma_log_range range = {f->remote.address, 4 * PAGE};
	uint64_t page_size = PAGE;
	uint8_t bytes[2 * PAGE] = {0};

	f->remote.limit = PAGE;
	assert_int_equal(dma_log_start(f->space, &page_size, &range, 1), 0);
	assert_int_equal(dma_write(f->space, range.address, bytes, sizeof(bytes), &op.op),
	                 -EINPROGRESS);
	expect(f, range.address, range.length, PAGE, -1);
	kit_answer(f->space, &f->remote, &op.op, 0);
	expect(f, range.address, range.length, PAGE, 0, -1);
	kit_answer(f->space, &f->remote, &op.op, 0);
	assert_int_equal(op.calls, 1);
	expect(f, range.address, range.length, PAGE, 1, -1);
}

/* It may have been on its way, and gets there after all. */
static void messages_are_logged_when_given_up(void **state)
{
	struct tracked_op op = TRACKED_OP;
	struct fixture *f = *state;
	struct dma_log_range range = {f->remote.address, 4 * PAGE};
	uint64_t page_size = PAGE;
	uint8_t bytes[3 * PAGE] = {0};

	f->remote.limit = 2 * PAGE;
	assert_int_equal(dma_log_start(f->space, &page_size, &range, 1), 0);
	assert_int_equal(dma_write(f->space, range.address, bytes, sizeof(bytes), &op.op),
	                 -EINPROGRESS);
	dma_cancel(f->space, &op.op);
	assert_int_equal(op.calls, 0);
	expect(f, range.address, range.length, PAGE, 0, 1, -1);
	assert_int_equal(dma_write(f->space, range.address + PAGE, bytes, 1, &op.op), -EINPROGRESS);
	kit_answer(f->space, &f->remote, &op.op, -EIO);
	assert_int_equal(op.status, -EIO);
	expect(f, range.address, range.length, PAGE, 1, -1);
}

static void reports_may_have_other_pages(void **state)
{
	struct fixture *f = *state;

	start(f, 4 * PAGE);
	write_at(f, BASE + 5 * PAGE, 1);
	/* A part of a page of the log: all of it may have been written, and stays logged. */
	expect(f, BASE + 4 * PAGE, 2 * PAGE, PAGE, 0, 1, -1);
	expect(f, BASE + 6 * PAGE, 2 * PAGE, PAGE, 0, 1, -1);
	expect(f, BASE, SIZE, PAGE, 4, 5, 6, 7, -1);
	expect(f, BASE, SIZE, PAGE, -1);
	write_at(f, BASE + 5 * PAGE, 1);
	expect(f, BASE, SIZE, 8 * PAGE, 0, -1);
	write_at(f, BASE + 17 * PAGE, 1);
	expect(f, BASE, SIZE, 8 * PAGE, 2, -1);
	expect(f, BASE, SIZE, PAGE, -1);
}

static void a_report_clears_what_it_has(void **state)
{
	struct fixture *f = *state;

	start(f, PAGE);
	write_at(f, BASE + 10 * PAGE, 100 * PAGE);
	/* The same place of a word, and another one. */
	expect(f, BASE + 64 * PAGE, 2 * PAGE, PAGE, 0, 1, -1);
	expect(f, BASE + 13 * PAGE, 2 * PAGE, PAGE, 0, 1, -1);
	expect(f, BASE + 10 * PAGE, 6 * PAGE, PAGE, 0, 1, 2, 5, -1);
	expect(f, BASE + 62 * PAGE, 6 * PAGE, PAGE, 0, 1, 4, 5, -1);
}

static void outside_of_the_ranges_nothing_is_logged(void **state)
{
	struct dma_log_range ranges[] = {{BASE + 8 * PAGE, PAGE}, {BASE + 2 * PAGE, 2 * PAGE}};
	struct fixture *f = *state;
	uint64_t page_size = PAGE;

	assert_int_equal(dma_log_start(f->space, &page_size, ranges, 2), 0);
	write_at(f, BASE, 7 * PAGE);
	expect(f, BASE, SIZE, PAGE, 2, 3, -1);
	write_at(f, BASE, 12 * PAGE);
	expect(f, BASE, SIZE, PAGE, 2, 3, 8, -1);
	write_at(f, BASE + 20 * PAGE, 1);
	write_at(f, BASE, 1);
	expect(f, BASE, SIZE, PAGE, -1);
}

static void without_ranges_all_maps_are_logged(void **state)
{
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct fixture *f = *state;
	uint64_t page_size = PAGE, later = BASE + SIZE + 3 * PAGE;

	assert_int_equal(dma_log_start(f->space, &page_size, NULL, 0), 0);
	write_at(f, BASE + PAGE, 1);
	expect(f, BASE, SIZE, PAGE, 1, -1);
	assert_int_equal(dma_map(f->space, later, 2 * PAGE, RW, make_file(2 * PAGE), 0), 0);
	write_at(f, later + PAGE, 1);
	expect(f, BASE, SIZE + 5 * PAGE, PAGE, 512 + 4, -1);
	/* Mapped again, larger: what was logged is kept. */
	write_at(f, later, 1);
	assert_int_equal(dma_unmap(f->space, later, 2 * PAGE, &waiter.waiter), 0);
	assert_int_equal(dma_map(f->space, later - PAGE, 5 * PAGE, RW, make_file(5 * PAGE), 0), 0);
	write_at(f, later - PAGE, 1);
	write_at(f, later + 3 * PAGE, 1);
	expect(f, BASE, SIZE + 8 * PAGE, PAGE, 512 + 2, 512 + 3, 512 + 6, -1);
}

static void nothing_mapped_at_all(void **state)
{
	struct dma_space *space = dma_space_new(10);
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct fixture f = {.space = space};
	uint64_t page_size = PAGE;

	assert_int_equal(dma_log_start(space, &page_size, NULL, 0), 0);
	assert_int_equal(
		dma_map(space, UINT64_MAX - 2 * PAGE + 1, 2 * PAGE, RW, make_file(2 * PAGE), 0), 0);
	write_at(&f, UINT64_MAX, 1);
	write_at(&f, UINT64_MAX - 2 * PAGE + 1, 1);
	expect(&f, UINT64_MAX - 4 * PAGE + 1, 4 * PAGE, PAGE, 2, 3, -1);
	assert_int_equal(dma_unmap_all(space, &waiter.waiter), 0);
	dma_space_free(space);
}

static int make_sparse(uint64_t size)
{
	int fd = memfd_create("sparse", MFD_CLOEXEC);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

enum { LOG_BLOCK = 65536 * 8 }; /* pages that are logged together, where everything is */

/* What cannot be logged counts as written, always. */
static void too_much_to_log_counts_as_written(void **state)
{
	const uint64_t block = LOG_BLOCK * (uint64_t)PAGE, blocks = DMA_LOG_BYTES / 65536;
	const uint64_t at = UINT64_C(1) << 50;
	struct fixture *f = *state;
	uint64_t page_size = PAGE;
	unsigned parts = 1;

	assert_int_equal(dma_log_start(f->space, &page_size, NULL, 0), 0);
	assert_int_equal(dma_map(f->space, at, (blocks + 1) * block, RW,
	                         make_sparse((blocks + 1) * block), 0),
	                 0);
	for (uint64_t i = 0; i < blocks; i++)
		assert_non_null(dma_direct(f->space, at + i * block, 1, OB_DMA_TO_CLIENT));
	expect(f, at + PAGE, 4 * PAGE, PAGE, -1);
	expect(f, at + blocks * block, 4 * PAGE, PAGE, -1);
	assert_non_null(dma_direct(f->space, at + blocks * block, 1, OB_DMA_TO_CLIENT));
	expect(f, at + blocks * block, 4 * PAGE, PAGE, 0, 1, 2, 3, -1);
	expect(f, at + blocks * block, 4 * PAGE, PAGE, 0, 1, 2, 3, -1);
	expect(f, at, 4 * PAGE, PAGE, 0, -1);
	/* So much is given back in parts, and nothing is begun before. */
	dma_log_stop(f->space);
	assert_int_equal(dma_log_start(f->space, &page_size, NULL, 0), -EBUSY);
	while (!dma_log_reap(f->space))
		parts++;
	assert_int_equal(parts, DMA_LOG_BYTES / (512 << 10));
	start(f, PAGE);
}

/* Pages of any size, places of any kind: the parts of a report are a report. */
static void a_long_report_comes_in_parts(void **state)
{
	enum { MANY = 1 << 20 };
	const uint64_t at = UINT64_C(1) << 40, pages[] = {PAGE, 512, 4 * PAGE};
	const uint64_t offsets[] = {0, 3 * PAGE, 100};
	struct fixture *f = *state;
	struct dma_log_range range = {at, MANY * (uint64_t)PAGE};
	uint64_t page_size = PAGE, *bits = calloc(MANY, 8);

	assert_int_equal(dma_map(f->space, at, MANY * (uint64_t)PAGE, RW,
	                         make_sparse(MANY * (uint64_t)PAGE), 0),
	                 0);
	assert_int_equal(dma_log_start(f->space, &page_size, &range, 1), 0);
	for (size_t i = 0; i < ARRAY_SIZE(pages) * ARRAY_SIZE(offsets); i++) {
		uint64_t page = pages[i / 3], first = at + offsets[i % 3];
		uint64_t length = MANY * (uint64_t)PAGE - offsets[i % 3];

		memset(bits, 0, MANY * (size_t)8);
		for (uint64_t n = 1; n < MANY; n += 1000)
			dma_direct(f->space, at + n * PAGE + 77, 1, OB_DMA_TO_CLIENT);
		assert_true(report(f, first, length, page, bits) > 1);
		for (uint64_t n = 1; n < MANY; n += 1000) {
			uint64_t from = at + n * PAGE, to = from + PAGE - 1;

			for (uint64_t p = from < first ? 0 : (from - first) / page;
			     to >= first && p <= (to - first) / page; p++) {
				assert_int_equal(bits[p / 64] >> p % 64 & 1, 1);
				bits[p / 64] &= ~(UINT64_C(1) << p % 64);
			}
		}
		for (uint64_t n = 0; n < MANY; n++)
			assert_int_equal(bits[n], 0);
		memset(bits, 0, MANY * (size_t)8);
		report(f, at, MANY * (uint64_t)PAGE, PAGE, bits); /* what stuck out */
	}
	free(bits);
}

static void what_is_refused(void **state)
{
	static const struct {
		struct dma_log_range ranges[2];
		unsigned count;
		int error;
	} cases[] = {
		{{{0, 0}}, 1, -EINVAL},
		{{{1, PAGE}}, 1, -EINVAL},
		{{{PAGE, PAGE + 1}}, 1, -EINVAL},
		{{{0, 2 * PAGE}, {PAGE, PAGE}}, 2, -EINVAL},
		{{{PAGE, PAGE}, {0, 2 * PAGE}}, 2, -EINVAL},
		{{{UINT64_MAX - PAGE + 1, 2 * PAGE}}, 1, -EOVERFLOW},
		{{{0, UINT64_C(1) << 63}}, 1, -ENOSPC},
		{{{0, 0}}, DMA_LOG_RANGES + 1, -E2BIG},
	};
	struct fixture *f = *state;
	uint64_t page_size = PAGE;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct dma_log_range ranges[2];

		memcpy(ranges, cases[i].ranges, sizeof(ranges));
		assert_int_equal(dma_log_start(f->space, &page_size, ranges, cases[i].count),
		                 cases[i].error);
		assert_false(dma_log_active(f->space));
	}
	assert_int_equal(report_error(f), -EINVAL);
	start(f, PAGE);
	assert_int_equal(dma_log_start(f->space, &page_size, NULL, 0), -EBUSY);
	stop(f);
	stop(f);
	assert_int_equal(report_error(f), -EINVAL);
	start(f, PAGE);
}

static void page_sizes_that_are_chosen(void **state)
{
	static const uint64_t asked[] = {0, 1, 4096, 5000, 8192, 1 << 21, UINT64_C(1) << 40};
	static const uint64_t chosen[] = {4096, 4096, 4096, 4096, 8192, 1 << 21, 1 << 30};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(asked); i++) {
		uint64_t page_size = asked[i];

		assert_int_equal(dma_log_start(f->space, &page_size, NULL, 0), 0);
		assert_int_equal(page_size, chosen[i]);
		write_at(f, BASE, 1);
		stop(f);
	}
}

/* Against a model that knows every page: random writes, random reports of random pages. */
static void random_writes_and_reports(void **state)
{
	struct fixture *f = *state;
	bool dirty[PAGES] = {false};
	unsigned seed = 1;

	start(f, PAGE);
	for (int round = 0; round < 20000; round++) {
		unsigned first = (unsigned)rand_r(&seed) % PAGES;
		unsigned count = 1 + (unsigned)rand_r(&seed) % 150;
		uint64_t bits[PAGES / 64 + 1] = {0};

		if (count > PAGES - first)
			count = PAGES - first;
		if (rand_r(&seed) % 2) {
			write_at(f, BASE + first * (uint64_t)PAGE + 7, 1 + (count - 1) * PAGE);
			memset(dirty + first, true, count);
			continue;
		}
		report(f, BASE + first * (uint64_t)PAGE, count * (uint64_t)PAGE, PAGE, bits);
		for (unsigned i = 0; i < count; i++) {
			assert_int_equal(bits[i / 64] >> (i % 64) & 1, dirty[first + i]);
			dirty[first + i] = false;
		}
	}
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(copies_are_reported_once),
		test(reads_are_not_logged),
		test(pins_are_logged_when_they_end),
		test(pointers_are_logged_when_given_out),
		test(messages_are_logged_when_acknowledged),
		test(messages_are_logged_when_given_up),
		test(reports_may_have_other_pages),
		test(a_report_clears_what_it_has),
		test(outside_of_the_ranges_nothing_is_logged),
		test(without_ranges_all_maps_are_logged),
		test(nothing_mapped_at_all),
		test(too_much_to_log_counts_as_written),
		test(a_long_report_comes_in_parts),
		test(what_is_refused),
		test(page_sizes_that_are_chosen),
		test(random_writes_and_reports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

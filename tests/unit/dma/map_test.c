/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of maps: what is accepted, what is refused and how, and what a descriptor must be. */
#include "kit.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "base/list.h"
#include "lingering.h"
#include "loop/loop.h"
#include "loop/offload.h"

static int setup(void **state)
{
	*state = dma_space_new(16);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	struct tracked_waiter waiter = TRACKED_WAITER;

	assert_int_equal(dma_unmap_all(*state, &waiter.waiter), 0);
	dma_space_free(*state);
	return 0;
}

static void refuses_bad_ranges(void **state)
{
	assert_int_equal(dma_map(*state, 0, 0, RW, -1, 0), -EINVAL);
	assert_int_equal(dma_map(*state, UINT64_MAX, 2, RW, -1, 0), -EINVAL);
	assert_int_equal(dma_map(*state, 1, UINT64_MAX, RW, -1, UINT64_MAX), -EINVAL);
	assert_int_equal(dma_map(*state, 0, PAGE, 4, -1, 0), -EINVAL);
	assert_int_equal(dma_map(*state, 0, PAGE, RW, -1, UINT64_MAX - PAGE + 1), -EINVAL);
	assert_int_equal(dma_map_count(*state), 0);
}

static void maps_up_to_the_end_of_the_address_space(void **state)
{
	assert_int_equal(dma_map(*state, UINT64_MAX - PAGE + 1, PAGE, RW, -1, 0), 0);
	assert_int_equal(dma_map(*state, UINT64_MAX, 1, RW, -1, 0), -EEXIST);
	assert_int_equal(dma_map(*state, UINT64_MAX - 2 * PAGE + 1, PAGE, RW, -1, 0), 0);
	assert_int_equal(dma_map(*state, 0, PAGE, RW, -1, 0), 0);
	assert_int_equal(dma_map_count(*state), 3);
}

static void maps_the_whole_address_space_but_one_byte(void **state)
{
	assert_int_equal(dma_map(*state, 1, UINT64_MAX, RW, -1, 0), 0);
	assert_int_equal(dma_map(*state, 0, 2, RW, -1, 0), -EEXIST);
	assert_int_equal(dma_map(*state, 0, 1, RW, -1, 0), 0);
}

static void refuses_every_overlap(void **state)
{
	static const struct {
		uint64_t address, size;
		int rc;
	} cases[] = {
		{0x3000, 0x1000, -EEXIST}, {0x2000, 0x1001, -EEXIST}, {0x2fff, 2, -EEXIST},
		{0x3fff, 1, -EEXIST},      {0x3000, 1, -EEXIST},      {0x3800, 0x10, -EEXIST},
		{0x0, 0x10000, -EEXIST},   {0x2000, 0x3000, -EEXIST}, {0x3fff, 0x1000, -EEXIST},
		{0x2000, 0x1000, 0},       {0x4000, 0x1000, 0},
	};

	assert_int_equal(dma_map(*state, 0x3000, 0x1000, RW, -1, 0), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(dma_map(*state, cases[i].address, cases[i].size, RW, -1, 0),
		                 cases[i].rc);
}

static int unmap(struct dma_space *space, uint64_t address, uint64_t size, uint64_t bytes)
{
	struct tracked_waiter waiter = TRACKED_WAITER;
	int rc = dma_unmap(space, address, size, &waiter.waiter);

	assert_int_equal(waiter.calls, 0);
	assert_int_equal(waiter.waiter.bytes, bytes);
	return rc;
}

static void a_range_that_cuts_a_map_is_refused(void **state)
{
	static const struct {
		uint64_t address, size;
	} cuts[] = {
		{0x3000, 0x1000},     {0x4000, 0x1000},     {0x3fff, 2},      {0x2000, 0x2fff},
		{0x2000, 0x1001},     {0x4fff, 1},          {0x4fff, 0x8000}, {0x3001, 0x1fff},
		{0x3001, 0x10000},    {0, 0x3001},          {0, 0x8001},      {0x4000, 0x5000},
		{0x3000, 0},          {0x5000, UINT64_MAX}, {UINT64_MAX, 2},  {0, 0},
		{0x4000, 1ull << 63},
	};

	assert_int_equal(dma_map(*state, 0x3000, 0x2000, RW, -1, 0), 0);
	assert_int_equal(dma_map(*state, 0x8000, 0x1000, RW, -1, 0), 0);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++)
		assert_int_equal(unmap(*state, cuts[i].address, cuts[i].size, 0), -EINVAL);
	assert_int_equal(dma_map_count(*state), 2);
	assert_int_equal(unmap(*state, 0x3000, 0x2000, 0x2000), 0);
	assert_int_equal(unmap(*state, 0x8000, 0x1000, 0x1000), 0);
	assert_int_equal(dma_map_count(*state), 0);
}

static void lists_maps_in_order(void **state)
{
	struct dma_map_info info;
	int fd = make_file(2 * PAGE);

	assert_int_equal(dma_map(*state, 0x9000, PAGE, 0, -1, 7), 0);
	assert_int_equal(dma_map(*state, 0x1000, PAGE, R, fd, PAGE), 0);
	assert_int_equal(dma_map(*state, 0x5000, PAGE, W, -1, 0), 0);
	assert_true(dma_map_at(*state, 0, &info));
	assert_true(info.address == 0x1000 && info.size == PAGE && info.prot == R && info.mapped);
	assert_true(info.offset == PAGE && info.fd == -1 && !info.dying);
	assert_true(dma_map_at(*state, 1, &info));
	assert_true(info.address == 0x5000 && info.prot == W && !info.mapped);
	assert_true(dma_map_at(*state, 2, &info));
	assert_true(info.address == 0x9000 && info.prot == 0 && info.offset == 7);
	assert_false(dma_map_at(*state, 3, &info));
}

static void holds_no_more_maps_than_allowed(void **state)
{
	struct tracked_waiter waiter = TRACKED_WAITER;

	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(dma_map(*state, i * PAGE, PAGE, RW, -1, 0), 0);
	assert_int_equal(dma_map(*state, 16 * PAGE, PAGE, RW, -1, 0), -ENOSPC);
	assert_int_equal(dma_unmap(*state, 3 * PAGE, PAGE, &waiter.waiter), 0);
	assert_int_equal(dma_map(*state, 16 * PAGE, PAGE, RW, -1, 0), 0);
}

/* After a refusal the descriptor is the caller's still, and nothing is mapped. */
static void assert_refused(struct dma_space *space, uint64_t size, unsigned prot, int fd,
                           uint64_t offset, int rc)
{
	assert_int_equal(dma_map(space, 0, size, prot, fd, offset), rc);
	assert_int_equal(dma_map_count(space), 0);
	assert_true(fcntl(fd, F_GETFD) >= 0);
}

static void refuses_files_that_are_too_short(void **state)
{
	int fd = make_file(2 * PAGE + 100);

	assert_refused(*state, 3 * PAGE, RW, fd, 0, -EINVAL);
	assert_refused(*state, 2 * PAGE, RW, fd, PAGE, -EINVAL);
	assert_refused(*state, 1, RW, fd, 2 * PAGE + 100, -EINVAL);
	assert_refused(*state, PAGE, RW, fd, UINT64_C(1) << 63, -EINVAL);
	assert_refused(*state, PAGE, 0, fd, 2 * PAGE, -EINVAL);
	/* To its last byte, which is not the last of a page. */
	assert_int_equal(dma_map(*state, 0, PAGE + 100, RW, fd, PAGE), 0);
}

static void refuses_descriptors_of_the_wrong_mode(void **state)
{
	int fd = make_file(PAGE);
	int reader = reopen(fd, O_RDONLY), writer = reopen(fd, O_WRONLY);

	assert_refused(*state, PAGE, RW, reader, 0, -EACCES);
	assert_refused(*state, PAGE, W, reader, 0, -EACCES);
	assert_refused(*state, PAGE, R, writer, 0, -EACCES);
	assert_refused(*state, PAGE, RW, writer, 0, -EACCES);
	assert_int_equal(dma_map(*state, 0, PAGE, R, reader, 0), 0);
	assert_int_equal(dma_map(*state, PAGE, PAGE, W, writer, 0), 0);
	close(fd);
}

static void refuses_descriptors_without_offsets(void **state)
{
	int fds[2];
	int event = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(pipe(fds), 0);
	assert_refused(*state, PAGE, R, fds[0], 0, -ESPIPE);
	assert_refused(*state, PAGE, W, fds[1], 0, -ESPIPE);
	assert_refused(*state, PAGE, RW, event, 0, -ESPIPE);
	close(fds[0]);
	close(fds[1]);
	close(event);
	assert_int_equal(dma_map(*state, 0, PAGE, R, event, 0), -EBADF);
}

static void closes_what_it_took_over(void **state)
{
	struct tracked_waiter waiter = TRACKED_WAITER;
	int mapped = make_file(PAGE), untouchable = make_file(PAGE);
	int by_file = open("/dev/full", O_RDWR | O_CLOEXEC);

	assert_int_equal(dma_map(*state, 0, PAGE, RW, mapped, 0), 0);
	assert_int_equal(dma_map(*state, PAGE, PAGE, 0, untouchable, 0), 0);
	assert_int_equal(dma_map(*state, 2 * PAGE, PAGE, RW, by_file, 0), 0);
	assert_int_equal(fcntl(mapped, F_GETFD), -1);
	assert_int_equal(fcntl(untouchable, F_GETFD), -1);
	assert_true(fcntl(by_file, F_GETFD) >= 0);
	assert_int_equal(dma_unmap(*state, 2 * PAGE, PAGE, &waiter.waiter), 0);
	assert_int_equal(fcntl(by_file, F_GETFD), -1);
}

/* Says which memory was asked for. */
struct witness {
	struct dma_remote remote;
	uint64_t address;
	size_t piece;
};

static int witness_start(struct dma_remote *remote, struct ob_dma_op *op)
{
	struct witness *witness = (struct witness *)remote;

	witness->address = op->address + op->transferred;
	witness->piece = op->piece;
	return 0;
}

enum { MANY = 65535, HOLE_EVERY = 64, SPACING = 0x2000 };

/* As many maps as QEMU may make; some of them come late, in between, from the end. */
static void make_many_maps(struct dma_space *space)
{
	unsigned n;

	for (n = 0; n < MANY; n++) {
		if (n % HOLE_EVERY)
			assert_int_equal(dma_map(space, n * (uint64_t)SPACING, PAGE, R, -1, n), 0);
	}
	for (n = MANY; n-- > 0;) {
		if (n % HOLE_EVERY == 0)
			assert_int_equal(dma_map(space, n * (uint64_t)SPACING, PAGE, R, -1, n), 0);
	}
	assert_int_equal(dma_map(space, MANY * (uint64_t)SPACING, 1, R, -1, 0), -ENOSPC);
	assert_int_equal(dma_map_count(space), MANY);
}

static void finds_its_way_in_65535_maps(void **state)
{
	enum { STEP = 40507 }; /* no factor in common with MANY */
	struct dma_space *space = dma_space_new(MANY);
	struct witness witness = {.remote = {.start = witness_start}};
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct tracked_op tracked = TRACKED_OP;
	struct dma_map_info info;
	unsigned i, n;
	uint8_t bytes[PAGE];

	assert_non_null(space);
	make_many_maps(space);
	dma_set_remote(space, &witness.remote);
	for (i = 0, n = 0; i < MANY; i++, n = (n + STEP) % MANY) {
		uint64_t address = n * (uint64_t)SPACING + 16;

		assert_true(dma_map_at(space, n, &info) && info.offset == n);
		assert_int_equal(dma_read(space, address, bytes, PAGE - 16, &tracked.op), 0);
		assert_true(witness.address == address && witness.piece == PAGE - 16);
		assert_int_equal(dma_read(space, address, bytes, PAGE - 15, &tracked.op), -EFAULT);
		assert_int_equal(dma_read(space, address + PAGE, bytes, 1, &tracked.op), -EFAULT);
	}
	for (n = 0; n < MANY; n += HOLE_EVERY)
		assert_int_equal(dma_unmap(space, n * (uint64_t)SPACING, PAGE, &waiter.waiter), 0);
	assert_int_equal(dma_map_count(space), MANY - MANY / HOLE_EVERY - 1);
	/* So much is done at a time, and no more is looked at: the last ones go first. */
	n = dma_map_count(space);
	assert_int_equal(dma_unmap_all(space, &waiter.waiter), -EAGAIN);
	for (n -= DMA_UNMAP_BATCH; n > DMA_UNMAP_BATCH; n -= DMA_UNMAP_BATCH) {
		assert_int_equal(dma_map_count(space), n);
		assert_int_equal(waiter.waiter.bytes, (MANY - MANY / HOLE_EVERY - 1 - n) * PAGE);
		assert_int_equal(dma_read(space, SPACING, bytes, 1, &tracked.op), 0);
		assert_int_equal(dma_unmap_rest(space, &waiter.waiter), -EAGAIN);
	}
	assert_int_equal(dma_unmap_rest(space, &waiter.waiter), 0);
	assert_int_equal(dma_read(space, SPACING, bytes, 1, &tracked.op), -EFAULT);
	assert_int_equal(dma_map_count(space), 0);
	dma_space_free(space);
	(void)state;
}

/* What lies in a range goes together, whatever the range looks like; nothing in it is fine. */
static void a_range_takes_all_maps_inside(void **state)
{
	struct dma_space *space = *state;

	for (unsigned i = 1; i <= 5; i++)
		assert_int_equal(dma_map(space, i * 0x10000, 0x8000, DMA_READABLE, -1, 0), 0);
	assert_int_equal(unmap(space, 0, 0x10000, 0), 0);
	assert_int_equal(unmap(space, 0x18000, 0x8000, 0), 0);
	assert_int_equal(unmap(space, 0x1c123, 1, 0), 0);
	assert_int_equal(unmap(space, 0x60000, UINT64_MAX - 0x60000, 0), 0);
	assert_int_equal(dma_map_count(space), 5);
	assert_int_equal(unmap(space, 0x1f123, 0x1c000, 0x10000), 0);
	assert_int_equal(dma_map_count(space), 3);
	assert_int_equal(unmap(space, 0x20000, 0x18000, 0), 0);
	assert_int_equal(unmap(space, 0x10000, 0x8000, 0x8000), 0);
	assert_int_equal(unmap(space, 0, UINT64_MAX, 0x10000), 0);
	assert_int_equal(unmap(space, 0, UINT64_MAX, 0), 0);
	assert_int_equal(dma_map_count(space), 0);
}

/* A range among many is not looked for in all of them, and goes some at a time. */
static void a_range_of_many_goes_in_parts(void **state)
{
	enum { COUNT = 2 * DMA_UNMAP_BATCH };
	struct dma_space *space = dma_space_new(3 * COUNT);
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct dma_map_info info;

	for (unsigned i = 0; i < 3 * COUNT; i++)
		assert_int_equal(dma_map(space, i * PAGE, PAGE, RW, -1, 0), 0);
	assert_int_equal(dma_unmap(space, COUNT * PAGE, COUNT * PAGE, &waiter.waiter), -EAGAIN);
	assert_int_equal(waiter.waiter.bytes, DMA_UNMAP_BATCH * PAGE);
	assert_int_equal(dma_map_count(space), 3 * COUNT - DMA_UNMAP_BATCH);
	assert_int_equal(dma_unmap_rest(space, &waiter.waiter), 0);
	assert_int_equal(waiter.waiter.bytes, COUNT * PAGE);
	assert_int_equal(dma_map_count(space), 2 * COUNT);
	assert_true(dma_map_at(space, COUNT - 1, &info) && info.address == (COUNT - 1) * PAGE);
	assert_true(dma_map_at(space, COUNT, &info) && info.address == 2 * COUNT * PAGE);
	while (dma_unmap_all(space, &waiter.waiter) == -EAGAIN)
		;
	assert_int_equal(waiter.calls, 0);
	dma_space_free(space);
	(void)state;
}

struct listening {
	struct dma_listener listener;
	unsigned mapped, unmapped;
	void *base;
	size_t length;
};

static void on_mapped(struct dma_listener *listener, void *base, size_t length)
{
	struct listening *listening = (struct listening *)listener;

	listening->mapped++;
	listening->base = base;
	listening->length = length;
}

/* It is still there. */
static void on_unmapping(struct dma_listener *listener, void *base)
{
	struct listening *listening = (struct listening *)listener;

	assert_ptr_equal(base, listening->base);
	assert_int_equal(*((volatile uint8_t *)base + PAGE + 5), 6);
	listening->unmapped++;
}

static void tells_what_is_mapped_here(void **state)
{
	struct listening listening = {.listener = {on_mapped, on_unmapping}};
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct dma_space *space = *state;
	struct iovec iov[1];
	unsigned count = 0;

	dma_set_listener(space, &listening.listener);
	assert_int_equal(dma_map(space, 0x10000, PAGE, RW, -1, 0), 0);
	assert_int_equal(listening.mapped, 0);
	/* From the middle of a page to the middle of the next but one. */
	assert_int_equal(dma_map(space, 0x20010, 2 * PAGE, RW, make_file(4 * PAGE), PAGE + 16), 0);
	assert_int_equal(listening.mapped, 1);
	/* All of the file. */
	assert_int_equal(listening.length, 4 * PAGE);
	assert_ptr_equal((uint8_t *)listening.base + PAGE + 16,
	                 dma_direct(space, 0x20010, 1, OB_DMA_FROM_CLIENT));
	/* Not before the last pin is gone. */
	assert_int_equal(dma_pin(space, 0x20010, 16, OB_DMA_FROM_CLIENT, iov, &count, 1), 0);
	assert_int_equal(dma_unmap(space, 0x20010, 2 * PAGE, &waiter.waiter), -EINPROGRESS);
	assert_int_equal(listening.unmapped, 0);
	dma_unpin(space, 0x20010, 16, OB_DMA_FROM_CLIENT);
	assert_int_equal(listening.unmapped, 1);
	assert_int_equal(dma_unmap(space, 0x10000, PAGE, &waiter.waiter), 0);
	assert_int_equal(listening.unmapped, 1);
}

/* Lines of /proc/self/maps that have word. */
static unsigned mappings_of(const char *word)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned count = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		count += strstr(line, word) != NULL;
	fclose(maps);
	return count;
}

/* What a guest's IOMMU makes of its memory: 4 KiB each, in any order. */
static void maps_of_one_file_share_a_mapping(void **state)
{
	struct dma_space *space = dma_space_new(MANY);
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct tracked_op tracked = TRACKED_OP;
	int file = memfd_create("shared-by-all", MFD_CLOEXEC);
	uint64_t word;
	int rc;

	assert_int_equal(ftruncate(file, (off_t)MANY * PAGE), 0);
	for (uint64_t n = 0; n < MANY; n++) {
		uint64_t at = n * 40507 % MANY;

		assert_int_equal(dma_map(space, at * SPACING, PAGE, RW, dup(file), n * PAGE), 0);
	}
	assert_int_equal(mappings_of("shared-by-all"), 1);
	for (uint64_t n = 0; n < MANY; n += 997) {
		uint64_t at = n * 40507 % MANY;

		assert_int_equal(dma_write(space, at * SPACING + 8, &n, sizeof(n), &tracked.op), 0);
		assert_int_equal(pread(file, &word, sizeof(word), (off_t)(n * PAGE + 8)), 8);
		assert_int_equal(word, n);
	}
	do
		rc = dma_unmap_all(space, &waiter.waiter);
	while (rc == -EAGAIN);
	assert_int_equal(rc, 0);
	assert_int_equal(mappings_of("shared-by-all"), 0);
	dma_space_free(space);
	close(file);
	(void)state;
}

/* A reader's descriptor gives no right to write, though a writer's is mapped too. */
static void descriptors_keep_their_rights(void **state)
{
	int file = make_file(2 * PAGE), reader = reopen(file, O_RDONLY);
	struct tracked_op tracked = TRACKED_OP;
	uint64_t word = 1;

	assert_int_equal(dma_map(*state, 0, PAGE, RW, file, 0), 0);
	assert_int_equal(dma_map(*state, 2 * PAGE, PAGE, W, reader, 0), -EACCES);
	assert_int_equal(dma_map(*state, 2 * PAGE, PAGE, R, reader, PAGE), 0);
	assert_int_equal(dma_write(*state, 2 * PAGE, &word, sizeof(word), &tracked.op), -EFAULT);
	assert_int_equal(dma_write(*state, 0, &word, sizeof(word), &tracked.op), 0);
	assert_int_equal(dma_read(*state, 2 * PAGE, &word, sizeof(word), &tracked.op), 0);
	assert_int_equal(word, UINT64_C(0x0807060504030201));
}

/* What is written to a file that is sealed against it goes wrong there, and not in the map. */
static void sealed_files_are_read(void **state)
{
	int file = make_file(PAGE);
	struct tracked_op tracked = TRACKED_OP;
	uint64_t word = 1;

	assert_int_equal(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(dma_map(*state, 0, PAGE, R, dup(file), 0), 0);
	assert_int_equal(dma_map(*state, PAGE, PAGE, RW, file, 0), 0);
	assert_int_equal(dma_read(*state, 8, &word, sizeof(word), &tracked.op), 0);
	assert_int_equal(word, UINT64_C(0x0f0e0d0c0b0a0908));
	assert_int_equal(dma_write(*state, PAGE, &word, sizeof(word), &tracked.op), -EIO);
}

/* What was mapped of a file when it was shorter stays, and what is mapped of it later is right. */
static void files_may_grow(void **state)
{
	int file = make_file(PAGE);
	struct tracked_op tracked = TRACKED_OP;
	uint8_t bytes[2] = {1, 2};

	assert_int_equal(dma_map(*state, 0, PAGE, RW, dup(file), 0), 0);
	assert_int_equal(ftruncate(file, 8 * PAGE), 0);
	assert_int_equal(dma_map(*state, PAGE, PAGE, RW, dup(file), 7 * PAGE), 0);
	assert_int_equal(dma_write(*state, PAGE - 1, bytes, 2, &tracked.op), 0);
	assert_int_equal(pread(file, bytes, 1, 7 * PAGE), 1);
	assert_int_equal(bytes[0], 2);
	close(file);
}

/* Address space is everybody's: of a file that has much of it, only what is needed is taken. */
static void huge_files_are_mapped_in_parts(void **state)
{
	int file = memfd_create("huge", MFD_CLOEXEC);
	struct tracked_op tracked = TRACKED_OP;
	uint8_t byte = 7;

	assert_int_equal(ftruncate(file, INT64_C(1) << 52), 0);
	assert_int_equal(dma_map(*state, 0, PAGE, RW, dup(file), UINT64_C(1) << 51), 0);
	assert_int_equal(dma_write(*state, 5, &byte, 1, &tracked.op), 0);
	byte = 0;
	assert_int_equal(pread(file, &byte, 1, (INT64_C(1) << 51) + 5), 1);
	assert_int_equal(byte, 7);
	close(file);
}

static void shares_of_a_budget(void **state)
{
	struct dma_budget *budget = dma_budget_new(40, UINT64_C(1) << 32);
	struct dma_space *greedy = dma_space_new(100), *modest = dma_space_new(100);
	struct tracked_waiter waiter = TRACKED_WAITER;
	unsigned n = 0, m = 0;
	int rc, file;

	assert_int_equal(dma_set_budget(greedy, budget), 0);
	assert_int_equal(dma_set_budget(modest, budget), 0);
	dma_budget_drop(budget);
	for (;; n++) {
		file = make_file(PAGE);
		rc = dma_map(greedy, n * PAGE, PAGE, RW, file, 0);
		if (rc)
			break;
	}
	assert_int_equal(rc, -EDQUOT);
	assert_int_equal(n, 20); /* half of all */
	/* Without memory of its own in the process, it is no matter of the budget. */
	assert_int_equal(dma_map(greedy, n * PAGE, PAGE, RW, -1, 0), 0);
	for (;; m++) {
		rc = dma_map(modest, m * PAGE, PAGE, RW, file, 0);
		if (rc)
			break;
		file = make_file(PAGE);
	}
	assert_int_equal(rc, -EDQUOT);
	assert_int_equal(m, 10); /* half of the rest */
	/* What is given back can be had again. */
	assert_int_equal(dma_unmap_all(greedy, &waiter.waiter), 0);
	assert_int_equal(dma_map(modest, m * PAGE, PAGE, RW, file, 0), 0);
	assert_int_equal(dma_unmap_all(modest, &waiter.waiter), 0);
	dma_space_free(modest);
	dma_space_free(greedy);
	(void)state;
}

static void address_space_has_a_budget(void **state)
{
	struct dma_budget *budget = dma_budget_new(1000, UINT64_C(1) << 30);
	struct dma_space *space = dma_space_new(100);
	struct tracked_waiter waiter = TRACKED_WAITER;
	int file = memfd_create("large", MFD_CLOEXEC);

	assert_int_equal(dma_set_budget(space, budget), 0);
	dma_budget_drop(budget);
	assert_int_equal(ftruncate(file, INT64_C(1) << 31), 0);
	/* All of it is too much, half is not. */
	assert_int_equal(dma_map(space, 0, UINT64_C(1) << 29, RW, dup(file), 0), 0);
	assert_int_equal(dma_map(space, UINT64_C(1) << 30, PAGE, RW, file, UINT64_C(1) << 30),
	                 -EDQUOT);
	assert_int_equal(dma_unmap_all(space, &waiter.waiter), 0);
	assert_int_equal(dma_map(space, UINT64_C(1) << 30, PAGE, RW, file, UINT64_C(1) << 30), 0);
	assert_int_equal(dma_unmap_all(space, &waiter.waiter), 0);
	dma_space_free(space);
	(void)state;
}

/* A loop: what is unmapped is gone from the process soon, and the map at once. */
static void unmaps_elsewhere(void **state)
{
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct ob_loop *loop = loop_new();
	struct dma_space *space = *state;
	int file = memfd_create("given-back", MFD_CLOEXEC);

	assert_non_null(loop);
	dma_set_loop(space, loop);
	assert_int_equal(ftruncate(file, INT64_C(1) << 30), 0);
	for (uint64_t n = 0; n < 2; n++)
		assert_int_equal(dma_map(space, n << 20, PAGE, RW, dup(file), n << 29), 0);
	assert_int_equal(dma_unmap(space, 0, PAGE, &waiter.waiter), 0);
	assert_int_equal(loop_offload_count(loop, LOOP_LANE_MEMORY), 0);
	assert_int_equal(dma_unmap(space, 1 << 20, PAGE, &waiter.waiter), 0);
	assert_int_equal(dma_map_count(space), 0);
	/* Mapped again before it has gone. */
	assert_int_equal(dma_map(space, 0, PAGE, RW, file, 0), 0);
	while (loop_offload_count(loop, LOOP_LANE_MEMORY))
		sched_yield();
	assert_int_equal(mappings_of("given-back"), 1);
	assert_int_equal(dma_unmap(space, 0, PAGE, &waiter.waiter), 0);
	while (loop_offload_count(loop, LOOP_LANE_MEMORY))
		sched_yield();
	assert_int_equal(mappings_of("given-back"), 0);
	dma_set_loop(space, NULL);
	loop_free(loop);
}

struct gate {
	struct loop_job job;
	int ends[2];
};

static void wait_at_gate(struct loop_job *job)
{
	struct gate *gate = container_of(job, struct gate, job);
	char byte;

	assert_int_equal(read(gate->ends[0], &byte, 1), 1);
}

/* What cannot be closed yet does not pile up. */
static void descriptors_that_wait_have_a_bound(void **state)
{
	struct gate gate = {.job = {.work = wait_at_gate, .lane = LOOP_LANE_MEMORY}};
	struct dma_space *space = dma_space_new(100);
	struct ob_loop *loop = loop_new();
	int file = make_file(PAGE);

	assert_int_equal(pipe(gate.ends), 0);
	dma_set_loop(space, loop);
	dma_set_limits(space, 100, 3);
	loop_offload(loop, &gate.job);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(dma_map(space, 0, PAGE, 0, dup(file), 0), 0);
		assert_int_equal(dma_unmap_all(space, NULL), 0);
	}
	assert_int_equal(dma_map(space, 0, PAGE, 0, file, 0), -EMFILE);
	/* One that is mapped needs no helper to be closed. */
	assert_int_equal(dma_map(space, 0, PAGE, RW, dup(file), 0), 0);
	assert_int_equal(dma_unmap_all(space, NULL), 0);
	assert_int_equal(write(gate.ends[1], "x", 1), 1);
	while (loop_offload_count(loop, LOOP_LANE_MEMORY))
		sched_yield();
	assert_int_equal(dma_map(space, 0, PAGE, 0, file, 0), 0);
	assert_int_equal(dma_unmap_all(space, NULL), 0);
	dma_space_free(space);
	loop_free(loop);
	close(gate.ends[0]);
	close(gate.ends[1]);
	(void)state;
}

enum { STUCK = 20 };

/* Each space has its own thread for that, and its own bound. */
static void closes_that_sleep_hold_up_no_other_space(void **state)
{
	struct dma_space *stuck[STUCK], *good = dma_space_new(100);
	struct ob_loop *loop = loop_new();
	struct pollfd end = {0};
	int others[STUCK], pipes[2];

	for (unsigned i = 0; i < STUCK; i++) {
		stuck[i] = dma_space_new(100);
		dma_set_loop(stuck[i], loop);
		dma_set_limits(stuck[i], 100, 1);
		assert_int_equal(dma_map(stuck[i], 0, PAGE, 0, lingering(&others[i]), 0), 0);
		assert_int_equal(dma_unmap_all(stuck[i], NULL), 0);
	}
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(dma_map(stuck[0], 0, PAGE, 0, pipes[1], 0), -EMFILE);
	dma_set_loop(good, loop);
	assert_int_equal(dma_map(good, 0, PAGE, 0, pipes[1], 0), 0);
	assert_int_equal(dma_unmap_all(good, NULL), 0);
	/* Until nobody has the other end. */
	end.fd = pipes[0];
	while (poll(&end, 1, 10) == 0)
		assert_int_equal(loop_turn(loop, 0), 0);
	assert_true(end.revents & POLLHUP);
	/* The rest goes on without its spaces. */
	dma_space_free(good);
	for (unsigned i = 0; i < STUCK; i++) {
		dma_space_free(stuck[i]);
		close(others[i]);
	}
	while (loop_offload_count(loop, LOOP_LANE_CLIENT))
		sched_yield();
	loop_free(loop);
	close(pipes[0]);
	(void)state;
}

static void tells_memory_from_the_rest(void **state)
{
	int memory = make_file(PAGE), reader = reopen(memory, O_RDONLY);
	int event = eventfd(0, EFD_CLOEXEC), null = open("/dev/zero", O_RDWR | O_CLOEXEC);
	int path = open("/", O_PATH | O_CLOEXEC), file = open("/proc/self/exe", O_RDONLY);
	int huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	int pipes[2];

	assert_int_equal(pipe(pipes), 0);
	assert_true(dma_fd_is_memory(memory));
	assert_true(dma_fd_is_memory(reader));
	assert_true(huge < 0 || dma_fd_is_memory(huge));
	assert_false(dma_fd_is_memory(event));
	assert_false(dma_fd_is_memory(null));
	assert_false(dma_fd_is_memory(path));
	assert_false(dma_fd_is_memory(file));
	assert_false(dma_fd_is_memory(pipes[0]));
	assert_false(dma_fd_is_memory(-1));
	for (int fd = memory; fd <= pipes[1]; fd++)
		close(fd);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(refuses_bad_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(maps_up_to_the_end_of_the_address_space, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(maps_the_whole_address_space_but_one_byte, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(refuses_every_overlap, setup, teardown),
		cmocka_unit_test_setup_teardown(a_range_that_cuts_a_map_is_refused, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(lists_maps_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(holds_no_more_maps_than_allowed, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_files_that_are_too_short, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_descriptors_of_the_wrong_mode, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(refuses_descriptors_without_offsets, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(closes_what_it_took_over, setup, teardown),
		cmocka_unit_test_setup_teardown(a_range_takes_all_maps_inside, setup, teardown),
		cmocka_unit_test_setup_teardown(tells_what_is_mapped_here, setup, teardown),
		cmocka_unit_test(a_range_of_many_goes_in_parts),
		cmocka_unit_test_setup_teardown(descriptors_keep_their_rights, setup, teardown),
		cmocka_unit_test_setup_teardown(sealed_files_are_read, setup, teardown),
		cmocka_unit_test_setup_teardown(files_may_grow, setup, teardown),
		cmocka_unit_test_setup_teardown(huge_files_are_mapped_in_parts, setup, teardown),
		cmocka_unit_test_setup_teardown(unmaps_elsewhere, setup, teardown),
		cmocka_unit_test(maps_of_one_file_share_a_mapping),
		cmocka_unit_test(shares_of_a_budget),
		cmocka_unit_test(address_space_has_a_budget),
		cmocka_unit_test(descriptors_that_wait_have_a_bound),
		cmocka_unit_test(closes_that_sleep_hold_up_no_other_space),
		cmocka_unit_test(tells_memory_from_the_rest),
		cmocka_unit_test(finds_its_way_in_65535_maps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

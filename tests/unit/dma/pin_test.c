/* SPDX-License-Identifier: BSD-3-Clause */
/* Pins: the pieces they consist of, and how unmap waits for them. */
#include "kit.h"

struct fixture {
	struct dma_space *space;
	int fd; /* 8 pages */
	struct iovec iov[8];
	unsigned count;
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture)
		return -1;
	fixture->space = dma_space_new(64);
	fixture->fd = make_file(8 * PAGE);
	*state = fixture;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_waiter waiter = TRACKED_WAITER;

	assert_int_equal(dma_unmap_all(fixture->space, &waiter.waiter), 0);
	dma_space_free(fixture->space);
	close(fixture->fd);
	free(fixture);
	return 0;
}

static void map_file(struct fixture *fixture, uint64_t address, uint64_t size, unsigned prot,
                     uint64_t offset)
{
	assert_int_equal(dma_map(fixture->space, address, size, prot, dup(fixture->fd), offset), 0);
}

static int pin(struct fixture *fixture, uint64_t address, uint64_t length, enum ob_dma_dir dir,
               unsigned max)
{
	return dma_pin(fixture->space, address, length, dir, fixture->iov, &fixture->count, max);
}

static void assert_piece(struct fixture *fixture, unsigned n, uint64_t offset, size_t length)
{
	uint8_t bytes[PAGE];
	size_t some = length < PAGE ? length : PAGE;

	assert_int_equal(fixture->iov[n].iov_len, length);
	assert_int_equal(pread(fixture->fd, bytes, some, (off_t)offset), some);
	assert_memory_equal(fixture->iov[n].iov_base, bytes, some);
}

static void pins_within_one_map(void **state)
{
	struct fixture *fixture = *state;

	map_file(fixture, 0x8000, 4 * PAGE, RW, PAGE);
	assert_int_equal(pin(fixture, 0x8000 + 100, 300, OB_DMA_FROM_CLIENT, 8), 0);
	assert_int_equal(fixture->count, 1);
	assert_piece(fixture, 0, PAGE + 100, 300);
	dma_unpin(fixture->space, 0x8000 + 100, 300, OB_DMA_FROM_CLIENT);
}

static void what_follows_in_memory_becomes_one(void **state)
{
	struct fixture *fixture = *state;

	map_file(fixture, 0x8000, 4 * PAGE, RW, 0);
	assert_int_equal(pin(fixture, 0x8000, PAGE, OB_DMA_TO_CLIENT, 8), 0);
	assert_int_equal(pin(fixture, 0x9000, PAGE, OB_DMA_TO_CLIENT, 1), 0);
	assert_int_equal(fixture->count, 1);
	assert_piece(fixture, 0, 0, 2 * PAGE);
	/* Not the next one: a piece of its own. */
	assert_int_equal(pin(fixture, 0xb000, PAGE, OB_DMA_TO_CLIENT, 8), 0);
	assert_int_equal(fixture->count, 2);
	assert_piece(fixture, 1, 3 * PAGE, PAGE);
	dma_unpin(fixture->space, 0x8000, PAGE, OB_DMA_TO_CLIENT);
	dma_unpin(fixture->space, 0x9000, PAGE, OB_DMA_TO_CLIENT);
	dma_unpin(fixture->space, 0xb000, PAGE, OB_DMA_TO_CLIENT);
}

static void pins_across_maps(void **state)
{
	struct fixture *fixture = *state;

	map_file(fixture, 0x8000, PAGE, RW, 5 * PAGE);
	map_file(fixture, 0x9000, PAGE, RW, 2 * PAGE);
	map_file(fixture, 0xa000, PAGE, RW, 7 * PAGE);
	assert_int_equal(pin(fixture, 0x8800, 2 * PAGE, OB_DMA_FROM_CLIENT, 8), 0);
	assert_true(fixture->count >= 2); /* the kernel may have put two side by side */
	assert_ptr_equal(fixture->iov[0].iov_base,
	                 dma_direct(fixture->space, 0x8800, 1, OB_DMA_FROM_CLIENT));
	dma_unpin(fixture->space, 0x8800, 2 * PAGE, OB_DMA_FROM_CLIENT);
}

static void length_0_pins_nothing(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(pin(fixture, 0x8000, 0, OB_DMA_FROM_CLIENT, 0), 0);
	assert_int_equal(fixture->count, 0);
	dma_unpin(fixture->space, 0x8000, 0, OB_DMA_FROM_CLIENT);
}

/* After each error, iov is as before and no map is held: it can be unmapped at once. */
static void pins_nothing_on_error(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct fake_remote *fake = calloc(1, sizeof(*fake));
	uint8_t *bytes;

	assert_non_null(fake);
	fake_remote_init(fake, 0);
	map_file(fixture, 0x8000, PAGE, RW, 5 * PAGE);
	map_file(fixture, 0x9000, PAGE, RW, PAGE);
	map_file(fixture, 0xa000, PAGE, R, 7 * PAGE);
	assert_int_equal(dma_map(fixture->space, 0xb000, PAGE, RW, -1, 0), 0);

	assert_int_equal(pin(fixture, 0x7fff, 2, OB_DMA_FROM_CLIENT, 8), -EFAULT);
	assert_int_equal(pin(fixture, 0x8000, 5 * PAGE, OB_DMA_FROM_CLIENT, 8), -EFAULT);
	assert_int_equal(pin(fixture, 0x8000, 3 * PAGE, OB_DMA_TO_CLIENT, 8), -EFAULT);
	assert_int_equal(pin(fixture, 0xa000, 2 * PAGE, OB_DMA_FROM_CLIENT, 8), -EFAULT);
	dma_set_remote(fixture->space, &fake->remote);
	assert_int_equal(pin(fixture, 0xa000, 2 * PAGE, OB_DMA_FROM_CLIENT, 8), -ENOTSUP);
	assert_int_equal(pin(fixture, 0xa000, 3 * PAGE, OB_DMA_FROM_CLIENT, 8), -EFAULT);
	dma_set_remote(fixture->space, NULL);
	free(fake);
	assert_int_equal(pin(fixture, 0x8000, 1, OB_DMA_FROM_CLIENT, 0), -E2BIG);
	assert_int_equal(fixture->count, 0);

	/* What was merged into the last piece before the room ran out is taken back, too. */
	bytes = dma_direct(fixture->space, 0x8000, 1, OB_DMA_FROM_CLIENT);
	fixture->iov[0] = (struct iovec){.iov_base = bytes - 16, .iov_len = 16};
	fixture->count = 1;
	assert_int_equal(pin(fixture, 0x8000, 3 * PAGE, OB_DMA_FROM_CLIENT, 1), -E2BIG);
	assert_int_equal(fixture->count, 1);
	assert_int_equal(fixture->iov[0].iov_len, 16);

	assert_int_equal(dma_unmap(fixture->space, 0x8000, PAGE, &waiter.waiter), 0);
	assert_int_equal(dma_unmap(fixture->space, 0x9000, PAGE, &waiter.waiter), 0);
	assert_int_equal(dma_unmap(fixture->space, 0xa000, PAGE, &waiter.waiter), 0);
}

static void unmap_waits_for_the_last_pin(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_waiter waiter = TRACKED_WAITER, other = TRACKED_WAITER;
	struct tracked_waiter half = TRACKED_WAITER;
	struct tracked_op tracked = TRACKED_OP;
	struct dma_map_info info;
	uint8_t byte;

	map_file(fixture, 0x8000, PAGE, RW, 0);
	map_file(fixture, 0x9000, PAGE, RW, PAGE);
	assert_int_equal(pin(fixture, 0x8000, 2 * PAGE, OB_DMA_TO_CLIENT, 8), 0);
	assert_int_equal(pin(fixture, 0x8000, 8, OB_DMA_FROM_CLIENT, 8), 0);
	assert_int_equal(dma_unmap(fixture->space, 0x8000, PAGE, &waiter.waiter), -EINPROGRESS);

	/* Dying: no access, nothing in its place, but the memory is there. */
	assert_int_equal(dma_read(fixture->space, 0x8000, &byte, 1, &tracked.op), -EFAULT);
	assert_null(dma_direct(fixture->space, 0x8000, 1, OB_DMA_FROM_CLIENT));
	assert_int_equal(pin(fixture, 0x8000, 8, OB_DMA_FROM_CLIENT, 8), -EFAULT);
	assert_int_equal(dma_unmap(fixture->space, 0x8000, PAGE, &other.waiter), -EINPROGRESS);
	assert_int_equal(other.waiter.bytes, 0);
	/* Half of it is no cut any more. */
	assert_int_equal(dma_unmap(fixture->space, 0x8800, 8, &half.waiter), -EINPROGRESS);
	assert_int_equal(dma_map(fixture->space, 0x8000, PAGE, RW, -1, 0), -EEXIST);
	assert_true(dma_map_at(fixture->space, 0, &info) && info.dying);
	memset(fixture->iov[0].iov_base, 0x11, 16);

	dma_unpin(fixture->space, 0x8000, 8, OB_DMA_FROM_CLIENT);
	assert_int_equal(waiter.calls, 0);
	dma_unpin(fixture->space, 0x8000, 2 * PAGE, OB_DMA_TO_CLIENT);
	assert_int_equal(waiter.calls, 1);
	assert_int_equal(dma_map_count(fixture->space), 1);
	assert_true(other.calls == 1 && half.calls == 1);
	map_file(fixture, 0x8000, PAGE, RW, 0);
	assert_int_equal(dma_read(fixture->space, 0x8000, &byte, 1, &tracked.op), 0);
	assert_int_equal(byte, 0x11);
}

static void unmap_all_waits_for_all(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_waiter one = TRACKED_WAITER, all = TRACKED_WAITER, again = TRACKED_WAITER;

	for (unsigned i = 0; i < 4; i++)
		map_file(fixture, i * 0x10000, PAGE, RW, i * PAGE);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(pin(fixture, i * 0x10000, PAGE, OB_DMA_FROM_CLIENT, 8), 0);
	assert_int_equal(dma_unmap(fixture->space, 0x20000, PAGE, &one.waiter), -EINPROGRESS);
	assert_int_equal(dma_unmap_all(fixture->space, &all.waiter), -EINPROGRESS);
	assert_int_equal(dma_unmap_all(fixture->space, &again.waiter), -EINPROGRESS);
	assert_int_equal(dma_map_count(fixture->space), 3); /* what was not pinned is gone */
	dma_unpin(fixture->space, 0x20000, PAGE, OB_DMA_FROM_CLIENT);
	assert_true(one.calls == 0 && all.calls == 0);
	dma_unpin(fixture->space, 0x30000, PAGE, OB_DMA_FROM_CLIENT);
	dma_unpin(fixture->space, 0x10000, PAGE, OB_DMA_FROM_CLIENT);
	assert_true(one.calls == 1 && all.calls == 1 && again.calls == 1);
	assert_int_equal(dma_map_count(fixture->space), 0);
}

static void unpin_own_page(struct tracked_op *tracked)
{
	dma_unpin(tracked->space, 0x8000, PAGE, OB_DMA_FROM_CLIENT);
}

/* The operation that unmap ends gives the pin back that would have made unmap wait. */
static void a_callback_of_unmap_gives_the_last_pin_back(void **state)
{
	struct fixture *fixture = *state;
	struct fake_remote *fake = calloc(1, sizeof(*fake));
	struct tracked_op tracked = TRACKED_OP;
	struct tracked_waiter waiter = TRACKED_WAITER;
	uint8_t buffer[PAGE];

	assert_non_null(fake);
	fake_remote_init(fake, 0x9000 - PAGE);
	tracked.also = unpin_own_page;
	tracked.space = fixture->space;
	for (int all = 0; all < 2; all++) {
		dma_set_remote(fixture->space, &fake->remote);
		map_file(fixture, 0x8000, PAGE, RW, 0);
		assert_int_equal(dma_map(fixture->space, 0x9000, PAGE, RW, -1, 0), 0);
		assert_int_equal(pin(fixture, 0x8000, PAGE, OB_DMA_FROM_CLIENT, 8), 0);
		assert_int_equal(dma_read(fixture->space, 0x9000, buffer, 8, &tracked.op),
		                 -EINPROGRESS);
		if (all) {
			assert_int_equal(dma_unmap_all(fixture->space, &waiter.waiter), 0);
		} else {
			assert_int_equal(dma_unmap(fixture->space, 0x9000, PAGE, &waiter.waiter),
			                 0);
			assert_int_equal(dma_unmap(fixture->space, 0x8000, PAGE, &waiter.waiter),
			                 0);
		}
		assert_int_equal(tracked.calls, all + 1);
		assert_int_equal(tracked.status, -EFAULT);
		assert_int_equal(dma_map_count(fixture->space), 0);
	}
	assert_int_equal(waiter.calls, 0);
	dma_set_remote(fixture->space, NULL);
	free(fake);
}

struct unmapping_waiter {
	struct dma_waiter waiter;
	struct dma_space *space;
	int calls;
};

/* What a session does: it answers the client, whose next message maps the place anew. */
static void map_the_place_again(struct dma_waiter *waiter)
{
	struct unmapping_waiter *self = (struct unmapping_waiter *)waiter;

	self->calls++;
	assert_int_equal(dma_map_count(self->space), 0);
	assert_int_equal(dma_map(self->space, 0x8000, PAGE, RW, -1, 0), 0);
}

static void a_waiter_maps_the_place_again(void **state)
{
	struct fixture *fixture = *state;
	struct unmapping_waiter waiter = {
		.waiter = {.done = map_the_place_again},
		.space = fixture->space,
	};

	map_file(fixture, 0x8000, PAGE, RW, 0);
	assert_int_equal(pin(fixture, 0x8000, PAGE, OB_DMA_FROM_CLIENT, 8), 0);
	assert_int_equal(dma_unmap(fixture->space, 0x8000, PAGE, &waiter.waiter), -EINPROGRESS);
	dma_unpin(fixture->space, 0x8000, PAGE, OB_DMA_FROM_CLIENT);
	assert_int_equal(waiter.calls, 1);
	assert_int_equal(dma_map_count(fixture->space), 1);
}

/* Maps go one by one as their pins do. What is around them is found all the time. */
static void places_are_closed_up_together(void **state)
{
	enum { COUNT = 48, FIRST = 8, END = 40 };
	struct fixture *fixture = *state;
	struct dma_space *space = fixture->space;
	struct tracked_waiter waiter = TRACKED_WAITER;
	struct tracked_op tracked = TRACKED_OP;
	struct dma_map_info info;
	uint8_t byte;

	for (unsigned i = 0; i < COUNT; i++) {
		map_file(fixture, i * 0x10000, PAGE, RW, i % 8 * PAGE);
		if (i % 2)
			assert_int_equal(pin(fixture, i * 0x10000, 1, OB_DMA_FROM_CLIENT, 1), 0);
		fixture->count = 0;
	}
	assert_int_equal(dma_unmap(space, FIRST * 0x10000, (END - FIRST) * 0x10000, &waiter.waiter),
	                 -EINPROGRESS);
	assert_int_equal(waiter.waiter.bytes, (END - FIRST) * PAGE);
	for (unsigned n = 0, i = FIRST + 1; n < (END - FIRST) / 2;
	     n++, i = (i + 10 - FIRST) % 32 + FIRST) {
		assert_int_equal(waiter.calls, 0);
		assert_int_equal(dma_map_count(space), COUNT - (END - FIRST) / 2 - n);
		dma_unpin(space, i * 0x10000, 1, OB_DMA_FROM_CLIENT);
		for (unsigned j = 0; j < COUNT; j++)
			assert_int_equal(dma_read(space, j * 0x10000, &byte, 1, &tracked.op),
			                 j < FIRST || j >= END ? 0 : -EFAULT);
	}
	assert_int_equal(waiter.calls, 1);
	assert_int_equal(dma_unmap(space, FIRST * 0x10000, 0x10000, &waiter.waiter), 0);
	map_file(fixture, FIRST * 0x10000, PAGE, RW, 0);
	map_file(fixture, (END - 1) * 0x10000, PAGE, RW, 0);
	assert_true(dma_map_at(space, FIRST + 1, &info) && info.address == (END - 1) * 0x10000);
	assert_true(dma_map_at(space, FIRST + 2, &info) && info.address == END * 0x10000);
	for (unsigned i = 1; i < COUNT; i += 2) {
		if (i < FIRST || i >= END)
			dma_unpin(space, i * 0x10000, 1, OB_DMA_FROM_CLIENT);
	}
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(pins_within_one_map),
		WITH_FIXTURE(what_follows_in_memory_becomes_one),
		WITH_FIXTURE(pins_across_maps),
		WITH_FIXTURE(length_0_pins_nothing),
		WITH_FIXTURE(pins_nothing_on_error),
		WITH_FIXTURE(unmap_waits_for_the_last_pin),
		WITH_FIXTURE(unmap_all_waits_for_all),
		WITH_FIXTURE(places_are_closed_up_together),
		WITH_FIXTURE(a_callback_of_unmap_gives_the_last_pin_back),
		WITH_FIXTURE(a_waiter_maps_the_place_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random maps, unmaps, pins and accesses, beside a model that keeps a note for each unit of memory.
 * Unit n of the client's address space is unit n of the file where that is mapped, and unit n of
 * the remote's memory where it is not. The sequence is the same in every run.
 */
#include "kit.h"

enum {
	UNIT = 64, /* bytes: less than a page, so that maps begin and end within pages */
	UNITS = 4 * PAGE / UNIT,
	MAX_PINS = 8,
	ROUNDS = 100000,
};

struct unit {
	unsigned first, count; /* of the map that holds it; count 0: not mapped */
	unsigned prot, pins;
	bool remote, dying;
};

struct pin {
	unsigned first, count;
	enum ob_dma_dir dir;
};

struct world {
	struct dma_space *space;
	struct fake_remote fake;
	int fd;
	uint8_t *file; /* all of it, mapped */
	struct unit units[UNITS];
	struct pin pins[MAX_PINS];
	unsigned pin_count, waiting;
	uint32_t random;
};

struct world_waiter {
	struct dma_waiter waiter;
	struct world *world;
};

static unsigned pick(struct world *world, unsigned below)
{
	world->random = world->random * 1664525 + 1013904223;
	return (world->random >> 8) % below;
}

static uint8_t *client_byte(struct world *world, uint64_t address)
{
	return world->units[address / UNIT].remote ? &world->fake.memory[address]
	                                           : &world->file[address];
}

/* 0, -EFAULT, or -ENOTSUP where some of it is remote. */
static int expected(struct world *world, uint64_t address, uint64_t length, unsigned want)
{
	int rc = 0;

	for (uint64_t n = address / UNIT; n <= (address + length - 1) / UNIT; n++) {
		const struct unit *unit = n < UNITS ? &world->units[n] : NULL;

		if (!unit || !unit->count || unit->dying || !(unit->prot & want))
			return -EFAULT;
		if (unit->remote)
			rc = -ENOTSUP;
	}
	return rc;
}

static void try_map(struct world *world)
{
	unsigned first = pick(world, UNITS), count = 1 + pick(world, 24);
	unsigned prot = pick(world, 4), i;
	bool remote = pick(world, 3) == 0;
	int fd = remote ? -1 : dup(world->fd), rc = 0;

	if (first + count > UNITS)
		count = UNITS - first;
	for (i = first; i < first + count; i++) {
		if (world->units[i].count)
			rc = -EEXIST;
	}
	assert_int_equal(dma_map(world->space, first * UNIT, count * UNIT, prot, fd, first * UNIT),
	                 rc);
	if (rc && fd >= 0)
		close(fd);
	for (i = first; i < first + count && !rc; i++)
		world->units[i] = (struct unit){first, count, prot, 0, remote, false};
}

static void forget_map(struct world *world, unsigned first)
{
	for (unsigned i = first, count = world->units[first].count; i < first + count; i++)
		world->units[i] = (struct unit){0};
}

static void waited(struct dma_waiter *waiter)
{
	struct world_waiter *mine = (struct world_waiter *)waiter;

	mine->world->waiting--;
	free(mine);
}

/* Whether the last pin of a dying map has gone. */
static bool is_dead(struct world *world, unsigned first)
{
	unsigned count = world->units[first].count, i;

	for (i = first; i < first + count; i++) {
		if (world->units[i].pins || !world->units[i].dying)
			return false;
	}
	return count > 0;
}

/* A map if there is one at a place, or any range. */
static void pick_range(struct world *world, unsigned *first, unsigned *count)
{
	const struct unit *unit = &world->units[pick(world, UNITS)];

	if (unit->count && pick(world, 2)) {
		*first = unit->first;
		*count = unit->count;
		return;
	}
	*first = pick(world, UNITS);
	*count = 1 + pick(world, 60);
}

/* What an unmap of units [first, end) returns. */
static int expect_unmap(const struct world *world, unsigned first, unsigned end, uint64_t *bytes)
{
	bool dying = world->waiting > 0;

	*bytes = 0;
	for (unsigned i = first; i < end && i < UNITS; i++) {
		const struct unit *unit = &world->units[i];

		if (!unit->count || unit->dying)
			continue;
		if (unit->first < first || unit->first + unit->count > end)
			return -EINVAL;
		*bytes += UNIT;
		dying = dying || unit->pins;
	}
	return dying ? -EINPROGRESS : 0;
}

static void try_unmap(struct world *world)
{
	struct world_waiter *waiter = malloc(sizeof(*waiter));
	unsigned first, count;
	uint64_t bytes;
	int rc;

	assert_non_null(waiter);
	*waiter = (struct world_waiter){{.done = waited}, world};
	pick_range(world, &first, &count);
	rc = expect_unmap(world, first, first + count, &bytes);
	assert_int_equal(dma_unmap(world->space, first * UNIT, count * UNIT, &waiter->waiter), rc);
	if (rc == -EINPROGRESS)
		world->waiting++;
	if (rc != -EINVAL) {
		assert_int_equal(waiter->waiter.bytes, bytes);
		for (unsigned i = first; i < first + count && i < UNITS; i++)
			world->units[i].dying = world->units[i].count;
		for (unsigned i = first; i < first + count && i < UNITS; i++) {
			if (is_dead(world, world->units[i].first))
				forget_map(world, world->units[i].first);
		}
	}
	if (rc != -EINPROGRESS)
		free(waiter);
}

static void try_access(struct world *world)
{
	struct tracked_op tracked = TRACKED_OP;
	uint64_t address = pick(world, UNITS * UNIT);
	size_t length = 1 + pick(world, pick(world, 4) ? UNIT : 20 * UNIT), i;
	bool write = pick(world, 2);
	int rc = expected(world, address, length, write ? W : R);
	uint8_t buffer[20 * UNIT + 1];
	void *direct = dma_direct(world->space, address, length,
	                          write ? OB_DMA_TO_CLIENT : OB_DMA_FROM_CLIENT);

	/* A pointer is there for one piece only, and what is there is all of it accessible. */
	if (direct)
		assert_int_equal(rc, 0);
	if (rc == -ENOTSUP)
		rc = 0;
	memset(buffer, (int)pick(world, 256), sizeof(buffer));
	if (write)
		assert_int_equal(dma_write(world->space, address, buffer, length, &tracked.op), rc);
	else
		assert_int_equal(dma_read(world->space, address, buffer, length, &tracked.op), rc);
	for (i = 0; i < length && !rc; i++)
		assert_int_equal(buffer[i], *client_byte(world, address + i));
	if (direct)
		assert_memory_equal(direct, client_byte(world, address), length);
	assert_int_equal(tracked.calls, 0);
}

static void try_pin(struct world *world)
{
	struct pin pin = {pick(world, UNITS), 1 + pick(world, 30),
	                  pick(world, 2) ? OB_DMA_TO_CLIENT : OB_DMA_FROM_CLIENT};
	uint64_t address = pin.first * UNIT, length = pin.count * UNIT, seen = 0;
	unsigned want = pin.dir == OB_DMA_TO_CLIENT ? W : R, count = 0, i;
	struct iovec iov[32];
	int rc = expected(world, address, length, want);

	if (world->pin_count == MAX_PINS)
		return;
	assert_int_equal(dma_pin(world->space, address, length, pin.dir, iov, &count, 32), rc);
	for (i = 0; i < count; i++) {
		if (want == R)
			assert_memory_equal(iov[i].iov_base, world->file + address + seen,
			                    iov[i].iov_len);
		seen += iov[i].iov_len;
	}
	assert_int_equal(seen, rc ? 0 : length);
	if (rc)
		return;
	world->pins[world->pin_count++] = pin;
	for (i = pin.first; i < pin.first + pin.count; i++)
		world->units[i].pins++;
}

static void try_unpin(struct world *world)
{
	unsigned n = pick(world, MAX_PINS), i;
	struct pin pin;

	if (n >= world->pin_count)
		return;
	pin = world->pins[n];
	world->pins[n] = world->pins[--world->pin_count];
	dma_unpin(world->space, pin.first * UNIT, pin.count * UNIT, pin.dir);
	for (i = pin.first; i < pin.first + pin.count; i++)
		world->units[i].pins--;
	for (i = pin.first; i < pin.first + pin.count; i++) {
		if (world->units[i].count && is_dead(world, world->units[i].first))
			forget_map(world, world->units[i].first);
	}
}

static unsigned count_maps(struct world *world, bool dying)
{
	unsigned count = 0;

	for (unsigned i = 0; i < UNITS; i++) {
		const struct unit *unit = &world->units[i];

		count += unit->count && unit->first == i && (!dying || unit->dying);
	}
	return count;
}

static void random_walk(void **state)
{
	struct world *world = calloc(1, sizeof(*world));
	struct tracked_waiter waiter = TRACKED_WAITER;
	void (*const steps[])(struct world *) = {try_map,    try_map,   try_unmap, try_access,
	                                         try_access, try_pin,   try_unpin, try_unpin,
	                                         try_access, try_access};

	assert_non_null(world);
	world->space = dma_space_new(UNITS);
	world->fd = make_file(4 * PAGE);
	world->file = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, world->fd, 0);
	fake_remote_init(&world->fake, 0);
	world->fake.sync = true;
	world->fake.limit = 100;
	dma_set_remote(world->space, &world->fake.remote);
	for (unsigned i = 0; i < ROUNDS; i++) {
		steps[pick(world, sizeof(steps) / sizeof(steps[0]))](world);
		assert_int_equal(dma_map_count(world->space), count_maps(world, false));
		assert_int_equal(world->waiting > 0, count_maps(world, true) > 0);
	}
	while (world->pin_count > 0)
		try_unpin(world);
	assert_int_equal(world->waiting, 0);
	assert_int_equal(dma_unmap_all(world->space, &waiter.waiter), 0);
	dma_set_remote(world->space, NULL);
	dma_space_free(world->space);
	munmap(world->file, 4 * PAGE);
	close(world->fd);
	free(world);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_walk)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

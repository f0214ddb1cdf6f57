/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Access to memory with a descriptor: mapped, by pread and pwrite, across several maps, and what is
 * refused before a byte has moved.
 */
#include "kit.h"

#include <sys/statvfs.h>

struct fixture {
	struct dma_space *space;
	int fd; /* the file behind the first map, 4 pages */
};

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	if (!fixture)
		return -1;
	fixture->space = dma_space_new(64);
	fixture->fd = make_file(4 * PAGE);
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

static void assert_file_holds(struct fixture *fixture, uint64_t offset, const void *bytes,
                              size_t length)
{
	uint8_t there[PAGE];

	assert_true(length <= sizeof(there));
	assert_int_equal(pread(fixture->fd, there, length, (off_t)offset), length);
	assert_memory_equal(there, bytes, length);
}

static void reads_and_writes_mapped_memory(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[64], file[64];

	map_file(fixture, 0x10000, 2 * PAGE, RW, 0);
	assert_int_equal(pread(fixture->fd, file, 64, 100), 64);
	assert_int_equal(dma_read(fixture->space, 0x10000 + 100, buffer, 64, &tracked.op), 0);
	assert_memory_equal(buffer, file, 64);
	memset(buffer, 0xa5, 64);
	assert_int_equal(dma_write(fixture->space, 0x10000 + PAGE, buffer, 64, &tracked.op), 0);
	assert_file_holds(fixture, PAGE, buffer, 64);
	assert_int_equal(tracked.calls, 0);
}

static void takes_any_offset_address_and_size(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[300], file[300];

	map_file(fixture, 0x1234567, 300, RW, PAGE - 77);
	assert_int_equal(pread(fixture->fd, file, 300, PAGE - 77), 300);
	assert_int_equal(dma_read(fixture->space, 0x1234567, buffer, 300, &tracked.op), 0);
	assert_memory_equal(buffer, file, 300);
	assert_int_equal(dma_read(fixture->space, 0x1234567, buffer, 301, &tracked.op), -EFAULT);
	assert_int_equal(dma_read(fixture->space, 0x1234566, buffer, 2, &tracked.op), -EFAULT);
	assert_int_equal(dma_write(fixture->space, 0x1234567 + 299, "x", 1, &tracked.op), 0);
	assert_file_holds(fixture, PAGE - 77 + 299, "x", 1);
}

static void nothing_is_mapped_in_an_empty_space(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t byte;

	assert_int_equal(dma_read(fixture->space, 0, &byte, 1, &tracked.op), -EFAULT);
	assert_int_equal(dma_write(fixture->space, UINT64_MAX, &byte, 1, &tracked.op), -EFAULT);
	assert_int_equal(dma_read(fixture->space, 0, NULL, 0, &tracked.op), 0);
	assert_null(dma_direct(fixture->space, 0, 1, OB_DMA_FROM_CLIENT));
}

static void length_0_succeeds(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;

	map_file(fixture, 0, PAGE, RW, 0);
	assert_int_equal(dma_read(fixture->space, 0, NULL, 0, &tracked.op), 0);
	assert_int_equal(dma_write(fixture->space, 17, NULL, 0, &tracked.op), 0);
	assert_int_equal(dma_write(fixture->space, UINT64_MAX, NULL, 0, &tracked.op), 0);
}

static void respects_protection(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	struct dma_space *space = fixture->space;
	uint8_t byte = 1;

	map_file(fixture, 0 * PAGE, PAGE, R, 0);
	map_file(fixture, 1 * PAGE, PAGE, W, PAGE);
	map_file(fixture, 2 * PAGE, PAGE, 0, 2 * PAGE);
	for (int round = 0; round < 2; round++) { /* by search and by the last hit */
		assert_int_equal(dma_read(space, 0, &byte, 1, &tracked.op), 0);
		assert_int_equal(dma_write(space, 0, &byte, 1, &tracked.op), -EFAULT);
		assert_null(dma_direct(space, 0, 1, OB_DMA_TO_CLIENT));
		assert_non_null(dma_direct(space, 0, 1, OB_DMA_FROM_CLIENT));
	}
	for (int round = 0; round < 2; round++) {
		assert_int_equal(dma_write(space, PAGE, &byte, 1, &tracked.op), 0);
		assert_int_equal(dma_read(space, PAGE, &byte, 1, &tracked.op), -EFAULT);
		assert_null(dma_direct(space, PAGE, 1, OB_DMA_FROM_CLIENT));
		assert_non_null(dma_direct(space, PAGE, 1, OB_DMA_TO_CLIENT));
	}
	assert_int_equal(dma_write(space, 2 * PAGE, &byte, 1, &tracked.op), -EFAULT);
	assert_int_equal(dma_read(space, 2 * PAGE, &byte, 1, &tracked.op), -EFAULT);
}

static void crosses_adjacent_maps(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[3 * PAGE], file[PAGE];

	/* The client's pages in another order than the file's. */
	map_file(fixture, 0x8000, PAGE, RW, 2 * PAGE);
	map_file(fixture, 0x9000, PAGE, RW, 0);
	map_file(fixture, 0xa000, PAGE, RW, 3 * PAGE);
	assert_int_equal(dma_read(fixture->space, 0x8000, buffer, 3 * PAGE, &tracked.op), 0);
	assert_int_equal(pread(fixture->fd, file, PAGE, 2 * PAGE), PAGE);
	assert_memory_equal(buffer, file, PAGE);
	assert_int_equal(pread(fixture->fd, file, PAGE, 0), PAGE);
	assert_memory_equal(buffer + PAGE, file, PAGE);
	assert_int_equal(pread(fixture->fd, file, PAGE, 3 * PAGE), PAGE);
	assert_memory_equal(buffer + 2 * PAGE, file, PAGE);

	memset(buffer, 0x5a, 20);
	assert_int_equal(dma_write(fixture->space, 0x9000 - 10, buffer, 20, &tracked.op), 0);
	assert_file_holds(fixture, 3 * PAGE - 10, buffer, 10);
	assert_file_holds(fixture, 0, buffer, 10);
	assert_int_equal(tracked.calls, 0);
}

static void transfers_nothing_where_a_byte_is_missing(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t before[PAGE], buffer[3 * PAGE];

	map_file(fixture, 0x8000, PAGE, RW, 0);
	map_file(fixture, 0x9000, PAGE, R, PAGE);
	map_file(fixture, 0xb000, PAGE, RW, 2 * PAGE);
	assert_int_equal(pread(fixture->fd, before, PAGE, 0), PAGE);
	memset(buffer, 0xee, sizeof(buffer));
	/* Into what is read-only, into a hole. */
	assert_int_equal(dma_write(fixture->space, 0x8800, buffer, PAGE, &tracked.op), -EFAULT);
	assert_int_equal(dma_write(fixture->space, 0x8000, buffer, 3 * PAGE, &tracked.op), -EFAULT);
	assert_file_holds(fixture, 0, before, PAGE);
	assert_int_equal(dma_read(fixture->space, 0x8000, buffer, 2 * PAGE + 1, &tracked.op),
	                 -EFAULT);
	assert_int_equal(buffer[0], 0xee);
}

static void ends_at_the_end_of_the_address_space(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t buffer[2 * PAGE], file[PAGE];
	uint64_t last_page = UINT64_MAX - PAGE + 1;

	map_file(fixture, last_page - PAGE, PAGE, RW, PAGE);
	map_file(fixture, last_page, PAGE, RW, 0);
	map_file(fixture, 0, PAGE, RW, 2 * PAGE);
	assert_int_equal(dma_read(fixture->space, last_page, buffer, PAGE, &tracked.op), 0);
	assert_int_equal(pread(fixture->fd, file, PAGE, 0), PAGE);
	assert_memory_equal(buffer, file, PAGE);
	assert_int_equal(dma_read(fixture->space, last_page - PAGE, buffer, 2 * PAGE, &tracked.op),
	                 0);
	assert_memory_equal(buffer + PAGE, file, PAGE);
	/* There is nothing behind it: address 0 is not. */
	assert_int_equal(dma_read(fixture->space, last_page, buffer, PAGE + 1, &tracked.op),
	                 -EFAULT);
	assert_int_equal(dma_read(fixture->space, UINT64_MAX, buffer, 2, &tracked.op), -EFAULT);
	assert_null(dma_direct(fixture->space, UINT64_MAX, 2, OB_DMA_FROM_CLIENT));
	assert_non_null(dma_direct(fixture->space, UINT64_MAX, 1, OB_DMA_FROM_CLIENT));
}

static void gives_pointers_into_one_map_only(void **state)
{
	struct fixture *fixture = *state;
	struct dma_space *space = fixture->space;
	uint8_t *bytes;

	map_file(fixture, 0x8000, PAGE, RW, 0);
	map_file(fixture, 0x9000, PAGE, RW, PAGE);
	bytes = dma_direct(space, 0x8010, PAGE - 0x10, OB_DMA_TO_CLIENT);
	assert_non_null(bytes);
	bytes[0] = 0xbd;
	assert_file_holds(fixture, 0x10, "\xbd", 1);
	assert_null(dma_direct(space, 0x8010, PAGE, OB_DMA_FROM_CLIENT));
	assert_null(dma_direct(space, 0x7fff, 2, OB_DMA_FROM_CLIENT));
	assert_null(dma_direct(space, 0xa000, 1, OB_DMA_FROM_CLIENT));
	assert_null(dma_direct(space, 0x8000, SIZE_MAX, OB_DMA_FROM_CLIENT));
	assert_non_null(dma_direct(space, 0x9000, PAGE, OB_DMA_FROM_CLIENT));
}

static void does_not_touch_what_was_unmapped(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	struct tracked_waiter waiter = TRACKED_WAITER;
	uint8_t byte;

	map_file(fixture, 0x8000, PAGE, RW, 0);
	assert_int_equal(dma_read(fixture->space, 0x8000, &byte, 1, &tracked.op), 0);
	assert_int_equal(dma_unmap(fixture->space, 0x8000, PAGE, &waiter.waiter), 0);
	assert_int_equal(dma_read(fixture->space, 0x8000, &byte, 1, &tracked.op), -EFAULT);
	assert_null(dma_direct(fixture->space, 0x8000, 1, OB_DMA_FROM_CLIENT));
	/* The same place, another page. */
	map_file(fixture, 0x8000, PAGE, RW, PAGE);
	assert_int_equal(dma_write(fixture->space, 0x8000, "n", 1, &tracked.op), 0);
	assert_file_holds(fixture, PAGE, "n", 1);
}

/* A file that is open for writing only can not be mapped: the way is pwrite. */
static void writes_by_pwrite_where_mmap_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	struct dma_map_info info;
	uint8_t bytes[200];

	assert_int_equal(
		dma_map(fixture->space, 0x8001, 2 * PAGE, W, reopen(fixture->fd, O_WRONLY), 100),
		0);
	assert_true(dma_map_at(fixture->space, 0, &info));
	assert_false(info.mapped);
	assert_true(info.fd >= 0);
	memset(bytes, 0x3c, sizeof(bytes));
	assert_int_equal(dma_write(fixture->space, 0x8001 + 50, bytes, 200, &tracked.op), 0);
	assert_file_holds(fixture, 150, bytes, 200);
	assert_int_equal(dma_read(fixture->space, 0x8001, bytes, 1, &tracked.op), -EFAULT);
	assert_null(dma_direct(fixture->space, 0x8001, 1, OB_DMA_TO_CLIENT));
}

/* /dev/full can be read (zeroes) and not be mapped, and every write to it fails. */
static void reads_by_pread_where_mmap_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
	uint8_t bytes[3 * PAGE];

	assert_true(fd >= 0);
	map_file(fixture, 0x8000, PAGE, RW, 0);
	assert_int_equal(dma_map(fixture->space, 0x9000, PAGE, RW, fd, 0), 0);
	map_file(fixture, 0xa000, PAGE, RW, PAGE);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(dma_read(fixture->space, 0x8000, bytes, sizeof(bytes), &tracked.op), 0);
	assert_int_equal(bytes[PAGE + 5], 0);
	assert_file_holds(fixture, 0, bytes, PAGE);
	assert_file_holds(fixture, PAGE, bytes + 2 * PAGE, PAGE);
	assert_int_equal(dma_write(fixture->space, 0x9000, bytes, 1, &tracked.op), -EIO);
}

/* A file behind pread that ends too early is an error and no endless loop. */
static void a_file_that_ends_is_an_io_error(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(dma_map(fixture->space, 0x8000, PAGE, R, fd, 0), 0);
	assert_int_equal(dma_read(fixture->space, 0x8000, &byte, 1, &tracked.op), -EIO);
}

/* Sealed against writing, a file can be mapped for reading only, and pwrite fails as well. */
static void writing_to_a_sealed_file_is_an_io_error(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	uint8_t byte = 0;

	assert_int_equal(fcntl(fixture->fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	map_file(fixture, 0x8000, PAGE, RW, 0);
	assert_int_equal(dma_read(fixture->space, 0x8003, &byte, 1, &tracked.op), 0);
	assert_int_equal(byte, 3);
	assert_int_equal(dma_write(fixture->space, 0x8000, &byte, 1, &tracked.op), -EIO);
}

/* Guest RAM in huge pages is mapped in parts that begin where the guest's layout has it. */
static void maps_parts_of_huge_pages(void **state)
{
	struct fixture *fixture = *state;
	struct tracked_op tracked = TRACKED_OP;
	struct statvfs fs;
	int fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	uint64_t huge;
	uint8_t byte;

	/* Nothing to test where there are none. cmocka's skip() counts as a failure in TAP. */
	if (fd < 0)
		return;
	assert_int_equal(fstatvfs(fd, &fs), 0);
	huge = fs.f_bsize;
	assert_int_equal(ftruncate(fd, (off_t)huge), 0);
	if (dma_map(fixture->space, 0xc0000, huge / 2, RW, fd, 0xc0000) != 0) {
		close(fd); /* none is free */
		return;
	}
	assert_int_equal(dma_write(fixture->space, 0xc0000, "h", 1, &tracked.op), 0);
	assert_int_equal(dma_read(fixture->space, 0xc0000, &byte, 1, &tracked.op), 0);
	assert_int_equal(byte, 'h');
}

#define WITH_FIXTURE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(reads_and_writes_mapped_memory),
		WITH_FIXTURE(takes_any_offset_address_and_size),
		WITH_FIXTURE(nothing_is_mapped_in_an_empty_space),
		WITH_FIXTURE(length_0_succeeds),
		WITH_FIXTURE(respects_protection),
		WITH_FIXTURE(crosses_adjacent_maps),
		WITH_FIXTURE(transfers_nothing_where_a_byte_is_missing),
		WITH_FIXTURE(ends_at_the_end_of_the_address_space),
		WITH_FIXTURE(gives_pointers_into_one_map_only),
		WITH_FIXTURE(does_not_touch_what_was_unmapped),
		WITH_FIXTURE(writes_by_pwrite_where_mmap_is_refused),
		WITH_FIXTURE(reads_by_pread_where_mmap_is_refused),
		WITH_FIXTURE(a_file_that_ends_is_an_io_error),
		WITH_FIXTURE(writing_to_a_sealed_file_is_an_io_error),
		WITH_FIXTURE(maps_parts_of_huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

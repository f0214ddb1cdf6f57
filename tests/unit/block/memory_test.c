/* SPDX-License-Identifier: BSD-3-Clause */
/* Block nodes in general, and the drivers that keep their bytes in memory or nowhere. */
#include <sched.h>
#include <sys/resource.h>

#include "block/mem_copy.h"
#include "kit.h"

static void known_drivers(void **state)
{
	const struct block_driver *const *drivers = block_drivers();

	assert_string_equal(drivers[0]->name, "mem");
	assert_string_equal(drivers[1]->name, "null");
	assert_string_equal(drivers[2]->name, "file");
	assert_string_equal(drivers[3]->name, "raw");
	assert_null(drivers[4]);
}

static void open_says_what_is_wrong(void **state)
{
	struct ob_loop *loop = new_loop();

	refuse_block(loop, "driver= is missing: expected one of mem, null, file", "node-name=b0");
	refuse_block(loop, "driver=qcow2: expected one of mem, null, file", "qcow2,node-name=b0");
	refuse_block(loop, "node-name= is missing", "null");
	refuse_block(loop, "node-name= is missing", "null,node-name=");
	refuse_block(loop, "at most 63 characters", "null,node-name=%0100d", 0);
	refuse_block(loop, "block node 'b0': block driver 'null' has no property 'frob'",
	             "null,node-name=b0,frob=1");
	refuse_block(loop, "block node 'b0': size= is missing", "mem,node-name=b0");
	refuse_block(loop, "size=1000: expected a multiple of 512 bytes: size=1024",
	             "mem,node-name=b0,size=1000");
	refuse_block(loop, "size=100: expected a size from 512", "mem,node-name=b0,size=100");
	refuse_block(loop, "size=banana: expected a size", "mem,node-name=b0,size=banana");
	refuse_block(loop, "MiB of memory and swap", "mem,node-name=b0,size=1P");
	refuse_block(loop, "size=513: expected a multiple", "null,node-name=b0,size=513");
	refuse_block(loop, "filename= is missing", "file,node-name=b0");
	loop_free(loop);
}

static void submit_checks(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *block = open_block(loop, "mem,node-name=b0,size=1M");
	struct iovec many[1025] = {{0}};
	uint8_t buffer[1024];
	struct iovec wraps[2] = {{buffer, SIZE_MAX}, {buffer, 513}};
	struct call call = {.request = {.op = OB_BLOCK_WRITE, .offset = 512, .length = 512}};

	assert_string_equal(ob_block_name(block), "b0");
	assert_int_equal(ob_block_info(block)->size, 1 << 20);
	assert_int_equal(ob_block_info(block)->block_size, 512);
	assert_false(ob_block_info(block)->volatile_cache);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 100, buffer, 512), -EINVAL);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 0, buffer, 100), -EINVAL);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, (1 << 20) - 512, buffer, 1024), -ENOSPC);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 1 << 20, buffer, 512), -ENOSPC);
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, UINT64_MAX - 511, 1024), -ENOSPC);
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, 0, 0, UINT64_MAX - 511), -ENOSPC);
	assert_int_equal(do_range(block, (enum ob_block_op)5, 0, 0, 512), -EINVAL);
	assert_int_equal(do_range(block, (enum ob_block_op) - 1, 0, 0, 512), -EINVAL);
	assert_int_equal(do_iov(block, OB_BLOCK_READ, 0, 0, many, 1025), -EINVAL);
	assert_int_equal(do_iov(block, OB_BLOCK_READ, 0, 0, many, 1024), 0);
	/* Iovecs that don't add up to length, also by wrapping around. */
	call.request.iov = wraps;
	call.request.iovcnt = 2;
	begin(block, &call);
	assert_int_equal(finish_call(loop, &call), -EINVAL);
	assert_int_equal(do_range(block, OB_BLOCK_READ, 0, 0, 512), -EINVAL);
	assert_int_equal(do_range(block, OB_BLOCK_FLUSH, 0, 12345, 999), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 1 << 20, buffer, 0), 0);
	assert_int_equal(block->in_flight, 0);
	block_close(block);
	loop_free(loop);
}

static void counts(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *block = open_block(loop, "mem,node-name=b0,size=1M");
	uint8_t buffer[1024] = {0};

	do_rw(block, OB_BLOCK_READ, 0, 0, buffer, 1024);
	do_rw(block, OB_BLOCK_READ, 0, 1 << 20, buffer, 1024);
	do_range(block, OB_BLOCK_DISCARD, 0, 0, 4096);
	do_range(block, OB_BLOCK_FLUSH, 0, 0, 77);
	assert_int_equal(block->stats.requests[OB_BLOCK_READ], 2);
	assert_int_equal(block->stats.bytes[OB_BLOCK_READ], 1024);
	assert_int_equal(block->stats.errors[OB_BLOCK_READ], 1);
	assert_int_equal(block->stats.bytes[OB_BLOCK_DISCARD], 4096);
	assert_int_equal(block->stats.requests[OB_BLOCK_FLUSH], 1);
	assert_int_equal(block->stats.bytes[OB_BLOCK_FLUSH], 0);
	assert_int_equal(block->stats.requests[OB_BLOCK_WRITE], 0);
	block_close(block);
	loop_free(loop);
}

/* With guards around, for all kinds of ends and of what comes next. */
static void mem_copies_exactly(void **state)
{
	static const size_t lengths[] = {0, 1, 63, 64, 65, 512, 4095, 4096, 4097, 8192, 12345};
	static const size_t nexts[] = {0, 1, 64, 100, 4096, 65536};
	enum { SIZE = 16384, GUARD = 128 };
	uint8_t *from = aligned_alloc(4096, SIZE), *to = aligned_alloc(4096, SIZE);
	uint8_t *wanted = malloc(SIZE);

	fill(from, SIZE, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(lengths) * ARRAY_SIZE(nexts) * 4; i++) {
		size_t length = lengths[i / 4 / ARRAY_SIZE(nexts)];
		struct mem_next next = {from, nexts[i / 4 % ARRAY_SIZE(nexts)]};
		size_t at = GUARD + (i & 1 ? 7 : 0);

		fill(to, SIZE, 2);
		memcpy(wanted, to, SIZE);
		memcpy(wanted + at, from + 13, length);
		if ((i & 3) == 2)
			mem_store(to + at, from + 13, length, next);
		else
			mem_copy(to + at, from + 13, length, next);
		assert_memory_equal(to, wanted, SIZE);
	}
	free(from);
	free(to);
	free(wanted);
}

static void mem_keeps_bytes(void **state)
{
	struct ob_loop *loop = new_loop();

	for (unsigned i = 0; i < 4; i++) {
		struct ob_block *block =
			open_block(loop, "mem,node-name=b0,size=%u", (1u << 20) + 512 * i);

		random_requests(block, block->info.size, 2000, i);
		block_close(block);
	}
	loop_free(loop);
}

/* The memfd behind a mem node, as a descriptor of the test; -1: there is none. */
static int look_for_memfd(void)
{
	char path[64], target[256];

	for (int fd = 0; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		if (n < 0)
			continue;
		target[n] = '\0';
		if (strstr(target, "outboard-disk"))
			return fd;
	}
	return -1;
}

static int find_memfd(void)
{
	int fd = look_for_memfd();

	assert_true(fd >= 0);
	return fd;
}

/* The memory of a node that is closed is given back by a helper thread. */
static void wait_for_the_end_of_memory(void)
{
	while (look_for_memfd() >= 0)
		sched_yield();
}

static void mem_is_given_back_elsewhere(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *block = open_block(loop, "mem,node-name=b0,size=64M");
	uint8_t buffer[4096] = {1};

	assert_true(look_for_memfd() >= 0);
	block_close(block);
	wait_for_the_end_of_memory();
	/* And where the loop ends first. */
	block = open_block(loop, "mem,node-name=b0,size=64M");
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 0, buffer, sizeof(buffer)), 0);
	block_close(block);
	loop_free(loop);
	wait_for_the_end_of_memory();
}

static void expect(struct ob_block *block, enum ob_block_op op, uint64_t offset, uint64_t length,
                   const void *memory)
{
	const struct ob_block_hint hint = {op, offset, length, memory, length};

	ob_block_expect(block, &hint);
}

static void mem_is_sparse(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *block;
	size_t chunk = 4 << 20;
	uint8_t *buffer = malloc(chunk);
	int fd;

	wait_for_the_end_of_memory(); /* of an earlier test */
	block = open_block(loop, "mem,node-name=b0,size=256M");
	fd = find_memfd();
	assert_int_equal(allocated(fd), 0);
	for (uint64_t at = 0; at < 256 << 20; at += chunk) {
		/* Makes no pages; the last is past the end. */
		expect(block, OB_BLOCK_READ, at + chunk, chunk, NULL);
		memset(buffer, 1, chunk);
		assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, at, buffer, chunk), 0);
		assert_true(all_zero(buffer, chunk));
	}
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, 0, 0, 256 << 20), 0);
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, 0, 4096, 65536), 0);
	assert_int_equal(allocated(fd), 0);
	fill(buffer, chunk, 1);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 512, buffer, chunk), 0);
	assert_in_range(allocated(fd), chunk, chunk + 8192);
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, 0, 0, 65536), 0);
	assert_in_range(allocated(fd), chunk, chunk + 8192);
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, 0, 2 * chunk), 0);
	assert_int_equal(allocated(fd), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 512, buffer, chunk), 0);
	assert_true(all_zero(buffer, chunk));
	free(buffer);
	block_close(block);
	loop_free(loop);
}

static long faults(void)
{
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	return usage.ru_minflt;
}

/* A fault for each of them would hold up everybody else: a command may bring 128 pages. */
static void new_pages_take_no_faults(void **state)
{
	enum { PAGES = 2048, LENGTH = PAGES * 4096 };
	struct ob_loop *loop = new_loop();
	struct ob_block *block = open_block(loop, "mem,node-name=b0,size=16M");
	uint8_t *bytes = malloc(LENGTH), *found = malloc(LENGTH);
	long before;

	fill(bytes, LENGTH, 3);
	fill(found, LENGTH, 4);
	before = faults();
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 1536, bytes, LENGTH), 0);
	assert_true(faults() - before < PAGES / 8);
	/* Among pages that are there, and pages that are not. */
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, 1 << 20, 1 << 20), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 512, bytes, LENGTH), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 512, found, LENGTH), 0);
	assert_memory_equal(found, bytes, LENGTH);
	free(found);
	free(bytes);
	block_close(block);
	loop_free(loop);
}

/* A hint may be anything, and is forgotten when the storage moves. */
static void wrong_expectations_do_nothing(void **state)
{
	static const uint64_t wild[] = {
		0, 1, 512, (1 << 20) - 512, 1 << 20, UINT64_MAX - 511, UINT64_MAX};
	static const char *const nodes[] = {"mem,node-name=b0,size=1M",
	                                    "null,node-name=b0,size=1M"};
	struct ob_loop *loop = new_loop();
	struct ob_error err;
	uint8_t buffer[4096];

	for (unsigned n = 0; n < 2; n++) {
		struct ob_block *block = open_block(loop, "%s", nodes[n]);

		for (unsigned i = 0; i < 49; i++) {
			expect(block, OB_BLOCK_READ, wild[i / 7], wild[i % 7], NULL);
			assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 4096, buffer, 4096), 0);
			assert_true(all_zero(buffer, 4096));
			expect(block, OB_BLOCK_WRITE, wild[i / 7], wild[i % 7],
			       i & 1 ? buffer : NULL);
			assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 4096, buffer, 4096), 0);
			expect(block, OB_BLOCK_WRITE, 0, 4096, NULL);
			assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 4096, buffer, 4096), 0);
		}
		expect(block, OB_BLOCK_READ, (1 << 20) - 512, 512, NULL);
		if (!n)
			assert_int_equal(block_resize(block, 4096, &err), 0);
		assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 0, buffer, 4096), 0);
		block_close(block);
	}
	loop_free(loop);
}

static void null_reads_zeroes(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *block = open_block(loop, "null,node-name=b0");
	uint8_t buffer[4096];

	assert_int_equal(ob_block_info(block)->size, 1 << 30);
	fill(buffer, sizeof(buffer), 1);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 0, buffer, sizeof(buffer)), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 0, buffer, sizeof(buffer)), 0);
	assert_true(all_zero(buffer, sizeof(buffer)));
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, 0, 1 << 30), 0);
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, OB_BLOCK_UNMAP, 0, 1 << 30), 0);
	assert_int_equal(do_range(block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	block_close(block);
	block = open_block(loop, "null,node-name=b0,read-zeroes=off,size=8191P");
	buffer[7] = 42;
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 1 << 20, buffer, sizeof(buffer)), 0);
	assert_int_equal(buffer[7], 42);
	block_close(block);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_drivers),
		cmocka_unit_test(open_says_what_is_wrong),
		cmocka_unit_test(submit_checks),
		cmocka_unit_test(counts),
		cmocka_unit_test(mem_copies_exactly),
		cmocka_unit_test(mem_keeps_bytes),
		cmocka_unit_test(mem_is_sparse),
		cmocka_unit_test(mem_is_given_back_elsewhere),
		cmocka_unit_test(new_pages_take_no_faults),
		cmocka_unit_test(null_reads_zeroes),
		cmocka_unit_test(wrong_expectations_do_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Block nodes that grow and shrink while they are in use. */
#include "kit.h"

enum { MIB = 1 << 20 };

static void assert_reads(struct ob_block *block, uint64_t offset, uint8_t value)
{
	uint8_t buffer[512], expected[512];

	memset(expected, value, sizeof(expected));
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, offset, buffer, sizeof(buffer)), 0);
	assert_memory_equal(buffer, expected, sizeof(buffer));
}

static void write_at(struct ob_block *block, uint64_t offset, uint8_t value)
{
	uint8_t buffer[512];

	memset(buffer, value, sizeof(buffer));
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, offset, buffer, sizeof(buffer)), 0);
}

/* What was there stays, what is new reads as zeroes, what was cut off does not come back. */
static void grow_and_shrink(struct ob_block *block)
{
	struct ob_error err;

	write_at(block, 0, 1);
	write_at(block, MIB - 512, 2);
	assert_int_equal(block_resize(block, 3 * MIB, &err), 0);
	assert_int_equal(ob_block_info(block)->size, 3 * MIB);
	assert_reads(block, 0, 1);
	assert_reads(block, MIB - 512, 2);
	assert_reads(block, MIB, 0);
	write_at(block, 3 * MIB - 512, 3);
	write_at(block, 2 * MIB, 4);
	assert_int_equal(block_resize(block, 2 * MIB + 4096, &err), 0);
	assert_reads(block, 2 * MIB, 4);
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, 0, 3 * MIB - 512, 512), -ENOSPC);
	assert_int_equal(block_resize(block, MIB / 2, &err), 0);
	assert_int_equal(block_resize(block, 3 * MIB, &err), 0);
	assert_reads(block, 0, 1);
	assert_reads(block, MIB - 512, 0);
	assert_reads(block, 2 * MIB, 0);
	assert_reads(block, 3 * MIB - 512, 0);
	assert_int_equal(block_resize(block, 3 * MIB, &err), 0);
	assert_int_equal(block_resize(block, 1000, &err), -EINVAL);
	assert_int_equal(block_resize(block, 0, &err), -EINVAL);
	assert_int_equal(ob_block_info(block)->size, 3 * MIB);
}

static void memory_changes_its_size(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *block = open_block(loop, "mem,node-name=b0,size=1M");
	struct ob_error err;

	grow_and_shrink(block);
	assert_int_equal(block_resize(block, UINT64_C(1) << 60, &err), -ENOMEM);
	assert_reads(block, 0, 1);
	block_close(block);
	loop_free(loop);
}

static void sizes_that_are_no_pages(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *block = open_block(loop, "mem,node-name=b0,size=512");
	struct ob_error err;

	write_at(block, 0, 1);
	for (uint64_t size = 1024; size < 64 * 512; size += 512) {
		assert_int_equal(block_resize(block, size, &err), 0);
		assert_reads(block, size - 512, 0);
		write_at(block, size - 512, 9);
	}
	for (uint64_t size = 63 * 512; size >= 512; size -= 512) {
		assert_int_equal(block_resize(block, size, &err), 0);
		assert_int_equal(block_resize(block, size + 512, &err), 0);
		assert_reads(block, size, 0);
	}
	assert_reads(block, 0, 1);
	block_close(block);
	loop_free(loop);
}

static char *make_disk(void)
{
	char *path = strdup("/tmp/outboard-test-XXXXXX");
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, MIB), 0);
	close(fd);
	return path;
}

static void a_file_changes_its_size(void **state)
{
	struct ob_loop *loop = new_loop();
	char *path = make_disk();
	struct ob_block *block = open_block(loop, "file,node-name=b0,filename=%s", path);
	struct stat st;

	grow_and_shrink(block);
	block_close(block);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 3 * MIB);
	unlink(path);
	free(path);
	loop_free(loop);
}

static void some_cannot(void **state)
{
	struct ob_loop *loop = new_loop();
	char *path = make_disk();
	struct ob_block *block =
		open_block(loop, "file,node-name=b0,filename=%s,read-only=on", path);
	struct ob_error err;

	assert_int_equal(block_resize(block, 2 * MIB, &err), -EROFS);
	assert_string_equal(err.message, "block node 'b0': it is read-only");
	block_close(block);
	block = open_block(loop, "file,node-name=b0,filename=%s", path);
	assert_int_equal(block_resize(block, UINT64_MAX - 4095, &err), -EFBIG);
	/* A request under way might make longer what was cut off; growing does no harm. */
	block->in_flight++;
	assert_int_equal(block_resize(block, MIB / 2, &err), -EBUSY);
	assert_int_equal(block_resize(block, 2 * MIB, &err), 0);
	block->in_flight--;
	block_close(block);
	unlink(path);
	free(path);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_changes_its_size),
		cmocka_unit_test(sizes_that_are_no_pages),
		cmocka_unit_test(a_file_changes_its_size),
		cmocka_unit_test(some_cannot),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

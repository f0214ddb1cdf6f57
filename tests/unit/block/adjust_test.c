/* SPDX-License-Identifier: BSD-3-Clause */
/* What every node can be told (cache modes, zeroes), and nodes over nodes. */
#include "kit.h"

enum { MIB = 1 << 20 };

/* A node over another one. */
static struct ob_block *open_raw(struct ob_block *below, const char *text)
{
	struct opts opts = {0};
	struct ob_error err = {""};
	struct ob_block *block;

	assert_int_equal(opts_parse(&opts, text, "driver", &err), 0);
	block = block_open_filter(below, quiet_log(), &opts, &err);
	if (!block)
		fail_msg("open: %s", err.message);
	opts_free(&opts);
	return block;
}

static uint64_t requests(const struct ob_block *block, enum ob_block_op op)
{
	return block->stats.requests[op];
}

static void two_nodes_are_one_disk(void **state)
{
	struct ob_loop *loop = new_loop();
	int fd = new_file(8 * MIB);
	struct ob_block *below = open_block(loop, "file,node-name=s,filename=/proc/self/fd/%d", fd);
	struct ob_block *block = open_raw(below, "raw,node-name=f,discard=unmap");
	struct ob_error err;

	assert_string_equal(ob_block_name(block), "f");
	assert_ptr_equal(block_storage(block), below);
	assert_true(block->info.discard);
	random_requests(block, 8 * MIB, 300, 7);
	/* Both count what they do, and nothing is left. */
	for (int op = OB_BLOCK_READ; op <= OB_BLOCK_WRITE_ZEROES; op++)
		assert_int_equal(requests(block, op), requests(below, op));
	assert_int_equal(below->in_flight, 0);
	assert_int_equal(block_resize(block, 12 * MIB, &err), 0);
	assert_int_equal(ob_block_info(below)->size, 12 * MIB);
	assert_int_equal(ob_block_info(block)->size, 12 * MIB);
	block_inactivate(block);
	assert_false(block_is_active(below));
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, 0, 0, 512), -EPERM);
	assert_int_equal(block_activate(block, &err), 0);
	assert_true(block_is_active(below));
	assert_int_equal(do_range(block, OB_BLOCK_WRITE_ZEROES, 0, 0, 512), 0);
	block_close(block);
	assert_int_equal(do_range(below, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	block_close(below);
	close(fd);
	loop_free(loop);
}

static void the_upper_node_allows_less(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *below = open_block(loop, "mem,node-name=s,size=1M");
	struct ob_block *block = open_raw(below, "raw,node-name=f,read-only=on");
	uint8_t bytes[512] = {1}, read[512];

	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 0, bytes, 512), -EROFS);
	block_close(block);
	block = open_raw(below, "raw,node-name=f");
	assert_false(block->info.discard);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 0, bytes, 512), 0);
	/* Told to keep what is discarded, it does. */
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, 0, 512), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 0, read, 512), 0);
	assert_memory_equal(read, bytes, 512);
	assert_ptr_equal(block_migration(block), below->driver->migration);
	assert_non_null(block_migration(block));
	block_close(block);
	block_close(below);
	loop_free(loop);
}

static void a_read_only_node_stays_so(void **state)
{
	struct ob_loop *loop = new_loop();
	int fd = new_file(MIB);
	struct ob_block *below =
		open_block(loop, "file,node-name=s,read-only=on,filename=/proc/self/fd/%d", fd);
	struct opts opts = {0};
	struct ob_error err = {""};

	assert_int_equal(opts_parse(&opts, "driver=raw,node-name=f", NULL, &err), 0);
	assert_null(block_open_filter(below, quiet_log(), &opts, &err));
	assert_non_null(strstr(err.message, "'s', is read-only"));
	opts_free(&opts);
	block_close(below);
	close(fd);
	loop_free(loop);
}

/* Walks over them go as deep as there are nodes. */
static void a_stack_of_nodes_has_an_end(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *nodes[BLOCK_MAX_DEPTH] = {
		open_block(loop, "null,node-name=n0,size=1M%s", "")};
	struct opts opts = {0};
	struct ob_error err = {""};
	char text[64];

	for (int i = 1; i < BLOCK_MAX_DEPTH; i++) {
		snprintf(text, sizeof(text), "raw,node-name=n%d", i);
		nodes[i] = open_raw(nodes[i - 1], text);
	}
	assert_int_equal(opts_parse(&opts, "driver=raw,node-name=more", NULL, &err), 0);
	assert_null(block_open_filter(nodes[BLOCK_MAX_DEPTH - 1], quiet_log(), &opts, &err));
	assert_non_null(strstr(err.message, "'n7' is the top of 8 nodes"));
	assert_int_equal(do_range(nodes[BLOCK_MAX_DEPTH - 1], OB_BLOCK_FLUSH, 0, 0, 0), 0);
	opts_free(&opts);
	for (int i = BLOCK_MAX_DEPTH; i--;)
		block_close(nodes[i]);
	loop_free(loop);
}

static void zeroes_are_found(void **state)
{
	struct ob_loop *loop = new_loop();
	int fd = new_file(8 * MIB);
	struct ob_block *block = open_block(
		loop, "file,node-name=b,detect-zeroes=unmap,filename=/proc/self/fd/%d", fd);
	uint8_t *bytes = malloc(MIB), *read = malloc(MIB);
	uint64_t before;

	fill(bytes, MIB, 1);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, OB_BLOCK_FUA, 0, bytes, MIB), 0);
	assert_int_equal(requests(block, OB_BLOCK_WRITE), 1);
	before = allocated(fd);
	memset(bytes, 0, MIB);
	/* A single byte at either end, and everything in between. */
	for (unsigned i = 0; i < 3; i++) {
		size_t at = i ? (i == 1 ? MIB - 1 : 17) : 0;

		bytes[at] = 1;
		assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, MIB, bytes, MIB), 0);
		assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, MIB, read, MIB), 0);
		assert_memory_equal(read, bytes, MIB);
		bytes[at] = 0;
	}
	assert_int_equal(requests(block, OB_BLOCK_WRITE_ZEROES), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, MIB, bytes, MIB), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 0, bytes, MIB), 0);
	assert_int_equal(requests(block, OB_BLOCK_WRITE_ZEROES), 2);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 0, read, MIB), 0);
	assert_true(all_zero(read, MIB));
	if (block->info.discard)
		assert_true(allocated(fd) < before);
	block_close(block);
	refuse_block(
		loop, "needs a node that gives space back",
		"file,node-name=b,detect-zeroes=unmap,discard=ignore,filename=/proc/self/fd/%d",
		fd);
	free(bytes);
	free(read);
	close(fd);
	loop_free(loop);
}

/* What the driver is told, of all that a device may ask for. */
static unsigned flags_of(struct ob_block *block, unsigned flags)
{
	uint8_t bytes[512] = {1};
	struct iovec iov = {bytes, 512};
	struct call call = {.request = {.op = OB_BLOCK_WRITE,
	                                .flags = flags,
	                                .length = 512,
	                                .iov = &iov,
	                                .iovcnt = 1}};

	begin(block, &call);
	assert_int_equal(finish_call(block->loop, &call), 0);
	return call.request.flags;
}

static void cache_modes(void **state)
{
	struct ob_loop *loop = new_loop();
	int fd = new_file(MIB);
	struct ob_block *block;

	block = open_block(loop, "file,node-name=b,filename=/proc/self/fd/%d", fd);
	assert_true(block->info.volatile_cache);
	assert_int_equal(flags_of(block, 0), 0);
	assert_int_equal(flags_of(block, OB_BLOCK_FUA), OB_BLOCK_FUA);
	block_close(block);
	/* Writethrough: there is no cache that a guest would have to flush. */
	block = open_block(loop, "file,node-name=b,cache.writeback=off,filename=/proc/self/fd/%d",
	                   fd);
	assert_false(block->info.volatile_cache);
	assert_int_equal(flags_of(block, 0), OB_BLOCK_FUA);
	block_close(block);
	/* Unsafe: the guest is told of a cache, and its flushes do nothing. */
	block = open_block(loop, "file,node-name=b,cache.no-flush=on,filename=/proc/self/fd/%d",
	                   fd);
	assert_true(block->info.volatile_cache);
	assert_int_equal(flags_of(block, OB_BLOCK_FUA), 0);
	assert_int_equal(do_range(block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	assert_int_equal(requests(block, OB_BLOCK_FLUSH), 1);
	block_close(block);
	refuse_block(loop, "contradict",
	             "mem,node-name=b,size=1M,cache.no-flush=on,cache.writeback=off");
	close(fd);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_nodes_are_one_disk),
		cmocka_unit_test(the_upper_node_allows_less),
		cmocka_unit_test(a_read_only_node_stays_so),
		cmocka_unit_test(a_stack_of_nodes_has_an_end),
		cmocka_unit_test(zeroes_are_found),
		cmocka_unit_test(cache_modes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The file driver's requests, with each engine, with and without direct I/O. */
#include "kit.h"

static void keeps_bytes(void **state)
{
	static const char *const variants[] = {"aio=io_uring,direct=off", "aio=io_uring",
	                                       "aio=threads,direct=off", "aio=threads"};

	for (unsigned i = 0; i < ARRAY_SIZE(variants); i++) {
		struct ob_loop *loop = new_loop();
		char path[] = "block-test-XXXXXX";
		int fd = mkstemp(path);
		struct ob_block *block;

		assert_true(fd >= 0);
		assert_int_equal(ftruncate(fd, 4 << 20), 0);
		block = open_block(loop, "file,node-name=b0,filename=%s,%s", path, variants[i]);
		random_requests(block, 4 << 20, 1000, i);
		block_close(block);
		unlink(path);
		close(fd);
		loop_free(loop);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

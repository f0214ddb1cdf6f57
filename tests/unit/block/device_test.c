/* SPDX-License-Identifier: BSD-3-Clause */
/* The file driver on block devices: loop devices with sectors of 512 and 4096 bytes. Needs root. */
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include "block/file.h"
#include "kit.h"

enum { SIZE = 4 << 20 };

/* A loop device on file, or -1: none can be had here. name is where it is found. */
static int new_device(int file, uint32_t sector, char *name, size_t room)
{
	struct loop_config config = {
		.fd = (uint32_t)file,
		.block_size = sector,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR,
	};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	for (unsigned i = 0; control >= 0 && i < 5; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		int device;

		snprintf(name, room, "/dev/loop%d", number);
		device = number < 0 ? -1 : open(name, O_RDWR | O_CLOEXEC);
		if (device >= 0 && !ioctl(device, LOOP_CONFIGURE, &config)) {
			close(control);
			return device;
		}
		if (device >= 0)
			close(device);
	}
	if (control >= 0)
		close(control);
	fprintf(stderr, "# SKIPPED: no loop device can be had here\n");
	return -1;
}

static void on_device(void **state, uint32_t sector, const char *options)
{
	struct ob_loop *loop = new_loop();
	int file = new_file(SIZE);
	char name[32];
	int device = new_device(file, sector, name, sizeof(name));
	struct ob_block *block;
	struct file_node *node;

	if (device < 0) {
		close(file);
		loop_free(loop);
		skip();
	}
	block = open_block(loop, "file,node-name=b0,filename=%s,%s", name, options);
	node = container_of(block, struct file_node, block);
	assert_true(node->is_device);
	assert_int_equal(ob_block_info(block)->size, SIZE);
	assert_true(ob_block_info(block)->discard);
	assert_false(ob_block_info(block)->discard_zeroes);
	if (node->direct)
		assert_int_equal(node->io_align, sector);
	refuse_block(loop, "is in use by", "file,node-name=b1,filename=%s", name);
	random_requests(block, SIZE, 300, sector);
	/* Parts of sectors are left alone, which is no error. */
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, 512, 1024), 0);
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, 512, SIZE - 1024), 0);
	assert_int_equal(do_range(block, OB_BLOCK_DISCARD, 0, 0, SIZE), 0);
	assert_true(allocated(file) <= SIZE / 4);
	assert_int_equal(do_range(block, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	block_close(block);
	close(device);
	close(file);
	loop_free(loop);
}

static void sectors_of_512(void **state)
{
	on_device(state, 512, "aio=auto");
	on_device(state, 512, "aio=threads,direct=off");
}

static void sectors_of_4096(void **state)
{
	on_device(state, 4096, "aio=auto");
	on_device(state, 4096, "aio=threads");
	on_device(state, 4096, "aio=auto,direct=off");
}

static void a_device_that_grew(void **state)
{
	struct ob_loop *loop = new_loop();
	int file = new_file(SIZE);
	char name[32];
	int device = new_device(file, 512, name, sizeof(name));
	struct ob_block *block;
	struct ob_error err;
	uint8_t buffer[512];

	if (device < 0) {
		close(file);
		loop_free(loop);
		skip();
	}
	block = open_block(loop, "file,node-name=b0,filename=%s", name);
	assert_int_equal(block_resize(block, 2 * SIZE, &err), -EINVAL);
	assert_non_null(strstr(err.message, "make it larger first"));
	assert_int_equal(ftruncate(file, 2 * SIZE), 0);
	assert_int_equal(ioctl(device, LOOP_SET_CAPACITY, 0), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, SIZE, buffer, 512), -ENOSPC);
	assert_int_equal(block_resize(block, 2 * SIZE, &err), 0);
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 2 * SIZE - 512, buffer, 512), 0);
	block_close(block);
	close(device);
	close(file);
	loop_free(loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sectors_of_512),
		cmocka_unit_test(sectors_of_4096),
		cmocka_unit_test(a_device_that_grew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The file driver on block devices: loop devices with sectors of 512 and 4096 bytes. Needs root. */
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include "block/file.h"
#include "kit.h"
#include "loop_device.h"

enum { SIZE = 4 << 20 };

/* Flushes that the device has seen: Documentation/block/stat.rst. */
static unsigned long flushes_of(const char *name)
{
	unsigned long seen = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/block/%s/stat", name + strlen("/dev/"));
	file = fopen(path, "re");
	if (!file || fscanf(file, "%*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %lu",
	                    &seen) != 1)
		print_message("# no count of flushes here\n");
	if (file)
		fclose(file);
	return seen;
}

/* Each of them, and not by way of the loop's thread. */
static void flushes_reach_the_device(struct ob_block *block, const char *name)
{
	static uint8_t bytes[4096] __attribute__((aligned(4096)));
	unsigned long before = flushes_of(name);
	struct call call = {.iov = {bytes, sizeof(bytes)}};

	if (!before)
		return;
	call.request = (struct ob_block_request){.op = OB_BLOCK_WRITE,
	                                         .flags = OB_BLOCK_FUA,
	                                         .length = sizeof(bytes),
	                                         .iov = &call.iov,
	                                         .iovcnt = 1};
	begin(block, &call);
	assert_false(call.done);
	assert_int_equal(finish_call(block->loop, &call), 0);
	assert_true(flushes_of(name) > before);
	before = flushes_of(name);
	call.request = (struct ob_block_request){.op = OB_BLOCK_FLUSH};
	begin(block, &call);
	assert_false(call.done);
	assert_int_equal(finish_call(block->loop, &call), 0);
	assert_true(flushes_of(name) > before);
	/* What is in the page cache already may not be read on the spot either. */
	assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 0, bytes, sizeof(bytes)), 0);
	call.request = (struct ob_block_request){
		.op = OB_BLOCK_READ, .length = sizeof(bytes), .iov = &call.iov, .iovcnt = 1};
	call.iov = (struct iovec){bytes, sizeof(bytes)};
	begin(block, &call);
	assert_false(call.done);
	assert_int_equal(finish_call(block->loop, &call), 0);
}

static void on_device(void **state, uint32_t sector, const char *options)
{
	struct ob_loop *loop = new_loop();
	int file = new_file(SIZE);
	char name[32];
	int device = new_device(file, sector, false, name, sizeof(name));
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
	/* devtmpfs, where the name is, is a file system in memory. */
	assert_false(node->in_memory);
	assert_true(node->direct == !strstr(options, "direct=off"));
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
	flushes_reach_the_device(block, name);
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
	int device = new_device(file, 512, false, name, sizeof(name));
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

/* As for QEMU: what can't be written is not offered as if it could. */
static void a_read_only_device(void **state)
{
	static const uint32_t sectors[] = {512, 4096};

	for (unsigned i = 0; i < ARRAY_SIZE(sectors); i++) {
		struct ob_loop *loop = new_loop();
		int file = new_file(SIZE);
		char name[32];
		int device = new_device(file, sectors[i], true, name, sizeof(name));
		struct ob_block *block;
		static uint8_t bytes[4096];

		if (device < 0) {
			close(file);
			loop_free(loop);
			skip();
		}
		refuse_block(loop, "read-only=on", "file,node-name=b0,filename=%s", name);
		block = open_block(loop, "file,node-name=b0,filename=%s,read-only=on", name);
		assert_true(ob_block_info(block)->read_only);
		assert_false(ob_block_info(block)->volatile_cache);
		assert_int_equal(do_rw(block, OB_BLOCK_READ, 0, 512, bytes, 4096), 0);
		assert_int_equal(do_rw(block, OB_BLOCK_WRITE, 0, 0, bytes, 4096), -EROFS);
		block_close(block);
		close(device);
		close(file);
		loop_free(loop);
	}
}

/* A device that is made read-only can still be opened for writing. */
static void a_device_set_read_only(void **state)
{
	struct ob_loop *loop = new_loop();
	int file = new_file(SIZE), on = 1, off = 0;
	char name[32];
	int device = new_device(file, 512, false, name, sizeof(name));

	if (device < 0) {
		close(file);
		loop_free(loop);
		skip();
	}
	assert_int_equal(ioctl(device, BLKROSET, &on), 0);
	refuse_block(loop, "is a read-only device", "file,node-name=b0,filename=%s", name);
	block_close(open_block(loop, "file,node-name=b0,filename=%s,read-only=on", name));
	assert_int_equal(ioctl(device, BLKROSET, &off), 0);
	close(device);
	close(file);
	loop_free(loop);
}

static void make_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

/* With files in the places of those that the kernel shows of a device. */
static void zoned_devices(void **state)
{
	char folder[] = "block-device-test-XXXXXX", path[128];
	struct ob_error err = {""};
	struct {
		const char *text;
		int rc;
	} cases[] = {{"none\n", 0}, {"host-aware\n", 0}, {"host-managed\n", -EOPNOTSUPP}};

	assert_non_null(mkdtemp(folder));
	assert_int_equal(chdir(folder), 0);
	assert_int_equal(mkdir("sda", 0700), 0);
	assert_int_equal(mkdir("sda/queue", 0700), 0);
	assert_int_equal(mkdir("sda/sda1", 0700), 0);
	assert_int_equal(symlink("sda", "8:0"), 0);
	assert_int_equal(symlink("sda/sda1", "8:1"), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		make_text("sda/queue/zoned", cases[i].text);
		for (unsigned minor = 0; minor < 2; minor++)
			assert_int_equal(file_device_check_zones(".", makedev(8, minor), &err),
			                 cases[i].rc);
	}
	assert_non_null(strstr(err.message, "is a zoned device (host-managed)"));
	assert_int_equal(file_device_check_zones(".", makedev(9, 0), &err), 0);
	assert_int_equal(chdir(".."), 0);
	snprintf(path, sizeof(path), "rm -r %s", folder);
	assert_int_equal(system(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sectors_of_512),         cmocka_unit_test(sectors_of_4096),
		cmocka_unit_test(a_device_that_grew),     cmocka_unit_test(a_read_only_device),
		cmocka_unit_test(a_device_set_read_only), cmocka_unit_test(zoned_devices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

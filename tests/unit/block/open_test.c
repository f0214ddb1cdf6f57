/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening files: what is refused and how that is said, locks, and where io_uring is refused. */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "block/file.h"
#include "kit.h"

/* A folder of its own to make things in. */
static int enter_folder(void **state)
{
	static char folder[] = "block-open-test-XXXXXX";

	*state = mkdtemp(folder);
	return *state && !chdir(*state) ? 0 : -1;
}

static int leave_folder(void **state)
{
	static const char *const made[] = {"a", "odd", "empty", "fifo", "dir"};

	for (unsigned i = 0; i < ARRAY_SIZE(made); i++)
		remove(made[i]);
	return chdir("..") || rmdir(*state);
}

static void make_file(const char *name, uint64_t size)
{
	int fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
}

static void refusals(void **state)
{
	struct ob_loop *loop = new_loop();
	unsigned fds = count_entries("/proc/self/fd");

	make_file("a", 1 << 20);
	make_file("odd", 1000);
	make_file("empty", 0);
	assert_int_equal(mkdir("dir", 0700), 0);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	refuse_block(loop,
	             "block node 'b0': file 'none': does not exist: create it with "
	             "'truncate -s 1G none'",
	             "file,node-name=b0,filename=none");
	refuse_block(loop, "file 'dir': is a directory: expected a regular file or a block device",
	             "file,node-name=b0,filename=dir");
	refuse_block(loop, "file 'fifo': is a FIFO", "file,node-name=b0,filename=fifo");
	refuse_block(loop, "is a character device", "file,node-name=b0,filename=/dev/zero");
	refuse_block(loop,
	             "its size of 1000 bytes is not a multiple of 512: 'truncate -s %512 odd'",
	             "file,node-name=b0,filename=odd");
	refuse_block(loop, "is empty: 'truncate -s 1G empty'", "file,node-name=b0,filename=empty");
	refuse_block(loop, "direct=maybe: expected one of auto, on, off",
	             "file,node-name=b0,filename=a,direct=maybe");
	refuse_block(loop, "aio=native: expected one of auto, io_uring, threads",
	             "file,node-name=b0,filename=a,aio=native");
	refuse_block(loop, "read-only=perhaps: expected on or off",
	             "file,node-name=b0,filename=a,read-only=perhaps");
	refuse_block(loop, "has no property 'size'", "file,node-name=b0,filename=a,size=1M");
	assert_int_equal(count_entries("/proc/self/fd"), fds);
	block_close(open_block(loop, "file,node-name=b0,filename=a,cache.direct=off"));
	loop_free(loop);
}

/* As large as its file system has files: the first size that can't be had, less one sector. */
static uint64_t make_largest(const char *name)
{
	int fd = open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	uint64_t size = 0;

	assert_true(fd >= 0);
	for (uint64_t bit = UINT64_C(1) << 62; bit >= 512; bit >>= 1) {
		if (!ftruncate(fd, (off_t)(size | bit)))
			size |= bit;
	}
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	close(fd);
	return size;
}

/* There is no room behind its end to try whether holes can be punched. */
static void discard_of_the_largest_file(void **state)
{
	struct ob_loop *loop = new_loop();
	uint64_t size = make_largest("a");
	struct ob_block *block;
	struct stat before, after;
	uint8_t bytes[4096];
	int fd = open("a", O_RDWR | O_CLOEXEC);

	memset(bytes, 0xa5, sizeof(bytes));
	assert_int_equal(pwrite(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	assert_int_equal(fstat(fd, &before), 0);
	block = open_block(loop, "file,node-name=b0,filename=a,direct=off");
	assert_true(ob_block_info(block)->size == size);
	assert_true(ob_block_info(block)->discard);
	assert_true(ob_block_info(block)->discard_zeroes);
	assert_int_equal(fstat(fd, &after), 0);
	assert_int_equal(after.st_blocks, before.st_blocks);
	assert_int_equal(pread(fd, bytes, sizeof(bytes), 0), sizeof(bytes));
	for (unsigned i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], 0xa5);
	block_close(block);
	close(fd);
	loop_free(loop);
}

/* Root may open anything, so the test is another user where it has to. */
static void no_permission_child(void)
{
	struct ob_loop *loop = loop_new();
	struct ob_error err = {""};

	child_assert(!chmod("a", 0400));
	if (!geteuid())
		child_assert(!chown("a", 1, 1) && !seteuid(1));
	child_assert(!try_open(loop, &err, "file,node-name=b0,filename=a"));
	child_assert(strstr(err.message, "can't be opened for writing (Permission denied): "
	                                 "read-only=on opens it for reading"));
	if (geteuid() == 1)
		child_assert(!seteuid(0) && !chown("a", 0, 0) && !seteuid(1));
	else
		child_assert(!chmod("a", 0));
	child_assert(!try_open(loop, &err, "file,node-name=b0,filename=a,read-only=on"));
	child_assert(strstr(err.message, "can't be opened: Permission denied"));
}

static void no_permission(void **state)
{
	make_file("a", 1 << 20);
	chmod(".", 0755);
	in_child(no_permission_child);
	remove("a");
}

static void direct_and_size(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *block;

	/* Every size that disks may have is taken, whatever the file system thinks of it. */
	remove("a");
	make_file("a", 512 * 3);
	block = open_block(loop, "file,node-name=b0,filename=a");
	random_requests(block, 512 * 3, 50, 1);
	block_close(block);
	remove("a");
	loop_free(loop);
}

#define WRITER "file,node-name=w,filename=a"
#define READER "file,node-name=r,filename=a,read-only=on"

static void locked_in_child(void)
{
	struct ob_loop *loop = loop_new();
	struct ob_error err;

	child_assert(!try_open(loop, &err, WRITER));
	child_assert(strstr(err.message, "is in use by another reader or writer (locked)"));
}

static void locks(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *writer, *reader;

	make_file("a", 1 << 20);
	writer = open_block(loop, WRITER);
	refuse_block(loop, "is in use by another reader or writer (locked)", WRITER);
	refuse_block(loop, "is in use by another writer (locked)", READER);
	in_child(locked_in_child);
	block_close(open_block(loop, WRITER ",locking=off"));
	/* The ring knows the file too; that must not keep it locked. */
	assert_int_equal(do_range(writer, OB_BLOCK_FLUSH, 0, 0, 0), 0);
	block_close(writer);
	reader = open_block(loop, READER);
	refuse_block(loop, "is in use by another reader or writer (locked)", WRITER);
	in_child(locked_in_child);
	block_close(open_block(loop, READER));
	block_close(reader);
	for (unsigned i = 0; i < 20; i++) {
		writer = open_block(loop, WRITER);
		assert_int_equal(do_range(writer, OB_BLOCK_FLUSH, 0, 0, 0), 0);
		block_close(writer);
	}
	loop_free(loop);
	remove("a");
}

static int lock_byte(int fd, short type, off_t byte)
{
	struct flock lock = {.l_type = type, .l_start = byte, .l_len = 1};

	return fcntl(fd, F_OFD_SETLK, &lock);
}

/* The bytes that QEMU locks: 100 reads, 101 writes, 201 bears no other writer. */
static void locks_like_qemu(void **state)
{
	struct ob_loop *loop = new_loop();
	struct ob_block *block;
	int fd;

	make_file("a", 1 << 20);
	fd = open("a", O_RDWR | O_CLOEXEC);
	assert_int_equal(lock_byte(fd, F_RDLCK, 100), 0);
	assert_int_equal(lock_byte(fd, F_RDLCK, 201), 0);
	refuse_block(loop, "is in use by another reader or writer (locked)", WRITER);
	block_close(open_block(loop, READER));
	assert_int_equal(lock_byte(fd, F_RDLCK, 101), 0);
	refuse_block(loop, "is in use by another writer (locked)", READER);
	assert_int_equal(lock_byte(fd, F_UNLCK, 100), 0);
	assert_int_equal(lock_byte(fd, F_UNLCK, 101), 0);
	assert_int_equal(lock_byte(fd, F_UNLCK, 201), 0);
	block = open_block(loop, READER);
	assert_int_equal(lock_byte(fd, F_RDLCK, 100), 0);
	assert_int_equal(lock_byte(fd, F_WRLCK, 201), -1); /* a writer would see the reader */
	block_close(block);
	assert_int_equal(lock_byte(fd, F_UNLCK, 100), 0);
	block = open_block(loop, WRITER);
	assert_int_equal(lock_byte(fd, F_RDLCK, 101), -1);
	block_close(block);
	close(fd);
	loop_free(loop);
	remove("a");
}

/* From here on io_uring_setup fails with this error, as in many a container. */
static bool refuse_io_uring(unsigned error)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

static void refused_child(void)
{
	struct ob_loop *loop = loop_new();
	struct ob_error err = {""};
	struct ob_block *block;
	struct file_node *node;
	uint8_t bytes[4096], check[4096];

	if (!refuse_io_uring(EPERM))
		child_skip("no seccomp here\n");
	child_assert(!try_open(loop, &err, "file,node-name=b0,filename=a,aio=io_uring"));
	child_assert(strstr(err.message, "aio=io_uring can't be here (Operation not permitted): "
	                                 "aio=auto or aio=threads does without"));
	block = try_open(loop, &err, "file,node-name=b0,filename=a");
	child_assert(block);
	fill(bytes, sizeof(bytes), 1);
	child_assert(!do_rw(block, OB_BLOCK_WRITE, 0, 4096, bytes, sizeof(bytes)));
	child_assert(!do_rw(block, OB_BLOCK_READ, 0, 4096, check, sizeof(check)));
	child_assert(!memcmp(bytes, check, sizeof(bytes)));
	child_assert(!do_range(block, OB_BLOCK_FLUSH, 0, 0, 0));
	node = container_of(block, struct file_node, block);
	child_assert(node->shared->threads && !node->shared->uring[0]);
	block_close(block);
	loop_free(loop);
}

static void io_uring_refused(void **state)
{
	make_file("a", 1 << 20);
	in_child(refused_child);
	remove("a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals),
		cmocka_unit_test(no_permission),
		cmocka_unit_test(discard_of_the_largest_file),
		cmocka_unit_test(direct_and_size),
		cmocka_unit_test(locks),
		cmocka_unit_test(locks_like_qemu),
		cmocka_unit_test(io_uring_refused),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}

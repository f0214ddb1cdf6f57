/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor of a disk in a file: the same reads or writes of blocks at random, straight through
 * io_uring by one process, with what makes that cheap: a registered file, one system call that
 * submits all there is and waits for the next completion; registered buffers if asked for. Direct
 * I/O where the file system has it.
 */
#include <fcntl.h>
#include <liburing.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

enum { MAX_DEPTH = 1024 };

struct load {
	struct io_uring ring;
	uint8_t *buffers;
	uint64_t block, depth, blocks, write, busy, fixed, state;
};

static void submit(struct load *load, uint64_t slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&load->ring);
	uint8_t *buffer = load->buffers + slot * load->block;
	uint64_t offset = random_below(&load->state, load->blocks) * load->block;

	if (load->write)
		io_uring_prep_write(sqe, 0, buffer, (unsigned)load->block, offset);
	else
		io_uring_prep_read(sqe, 0, buffer, (unsigned)load->block, offset);
	if (load->fixed)
		sqe->opcode = load->write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data64(sqe, slot);
}

/* Until one is done: asleep, or asking again and again. */
static void await(struct load *load)
{
	if (!load->busy) {
		good("io_uring_submit_and_wait", io_uring_submit_and_wait(&load->ring, 1));
		return;
	}
	good("io_uring_submit", io_uring_submit(&load->ring));
	while (!io_uring_cq_ready(&load->ring))
		good("io_uring_get_events", io_uring_get_events(&load->ring));
}

/* Waits for one, takes all that are done, and puts others in their place. */
static uint64_t turn(struct load *load)
{
	struct io_uring_cqe *done[MAX_DEPTH];
	unsigned count;

	await(load);
	count = io_uring_peek_batch_cqe(&load->ring, done, (unsigned)load->depth);
	for (unsigned i = 0; i < count; i++) {
		if (done[i]->res != (int)load->block)
			fail("a block", done[i]->res < 0 ? done[i]->res : EIO);
		submit(load, io_uring_cqe_get_data64(done[i]));
	}
	io_uring_cq_advance(&load->ring, count);
	return count;
}

static void prepare(struct load *load, int fd)
{
	size_t size = load->block * load->depth;
	struct iovec iov = {.iov_len = size};

	load->buffers = mmap(NULL, size, PROT_READ | PROT_WRITE,
	                     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (load->buffers == MAP_FAILED)
		fail("mmap", errno);
	memset(load->buffers, 0x5a, size);
	if (io_uring_queue_init((unsigned)load->depth, &load->ring,
	                        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) < 0)
		good("io_uring", io_uring_queue_init((unsigned)load->depth, &load->ring, 0));
	iov.iov_base = load->buffers;
	if (load->fixed)
		good("registering buffers", io_uring_register_buffers(&load->ring, &iov, 1));
	good("registering the file", io_uring_register_files(&load->ring, &fd, 1));
}

static double cpu_seconds(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
	       (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static int open_file(const char *path, bool *direct)
{
	int fd = *direct ? open(path, O_RDWR | O_DIRECT | O_CLOEXEC) : -1;

	*direct = fd >= 0;
	return *direct ? fd : (int)check(path, open(path, O_RDWR | O_CLOEXEC));
}

int main(int argc, char **argv)
{
	struct load load = {.block = 4096, .depth = 32, .state = 88172645463325252};
	uint64_t milliseconds = 500, try_direct = 1, server_cpu = SERVER_CPU, count = 0, began,
		 ended;
	const struct option_spec options[] = {{"block", &load.block, NULL},
	                                      {"depth", &load.depth, NULL},
	                                      {"ms", &milliseconds, NULL},
	                                      {"write", &load.write, NULL},
	                                      {"direct", &try_direct, NULL},
	                                      {"busy", &load.busy, NULL},
	                                      {"fixed", &load.fixed, NULL},
	                                      {"server-cpu", &server_cpu, NULL},
	                                      {0}};
	const char *path = take_options(options, argc, argv);
	struct stat status;
	bool direct;
	double cpu;
	int fd;

	if (!path || !load.depth || load.depth > MAX_DEPTH || !load.block)
		fail("file, block and depth", EINVAL);
	pin(server_cpu);
	direct = try_direct;
	fd = open_file(path, &direct);
	check("fstat", fstat(fd, &status));
	load.blocks = (uint64_t)status.st_size / load.block;
	prepare(&load, fd);
	for (uint64_t slot = 0; slot < load.depth; slot++)
		submit(&load, slot);
	cpu = cpu_seconds();
	began = now();
	do {
		count += turn(&load);
		ended = now();
	} while (ended - began < milliseconds * 1000000);
	cpu = cpu_seconds() - cpu;
	printf("{\"iops\": %.1f, \"cpu_ns\": %.1f, \"direct\": %s}\n",
	       1e9 / each(began, ended, count), cpu * 1e9 / (double)count,
	       direct ? "true" : "false");
	io_uring_queue_exit(&load.ring);
	return 0;
}

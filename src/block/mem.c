/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mem driver: a disk in memory (a memfd that is mapped), gone when the node is closed. A
 * request is one memcpy for each iovec and done at once.
 *
 * Pages come when they are written and go when they are discarded. A map of written pages, one bit
 * each, keeps reads from making pages: a read fault on shared memory would allocate one, and a
 * guest that reads an empty disk from end to end would fill the host's memory with zeroes.
 *
 * What is written to pages that are not there yet goes through the descriptor: a fault for each of
 * them takes several times as long as the copy, and under some hypervisors fifty times. A page that
 * was never mapped is also given back in a fraction of the time.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "drivers.h"
#include "loop/offload.h"
#include "mem.h"

enum { PUNCH_FROM = 1 << 20, SLICE = 8 << 20 };

struct mem_props {
	uint64_t size;
};

static uint64_t page_rest(uint64_t offset)
{
	return MEM_PAGE - (offset & (MEM_PAGE - 1));
}

/* How much of [offset, offset + length) is of one kind, written or not; *written says which. */
static uint64_t run_length(const struct mem_node *mem, uint64_t offset, uint64_t length,
                           bool *written)
{
	uint64_t page = offset >> MEM_PAGE_SHIFT;
	uint64_t run = page_rest(offset);

	*written = mem_page_written(mem, page);
	while (run < length && mem_page_written(mem, ++page) == *written)
		run += MEM_PAGE;
	return run < length ? run : length;
}

static void read_out(const struct mem_node *mem, uint64_t offset, uint8_t *to, uint64_t length,
                     struct mem_next next)
{
	while (length) {
		bool written;
		uint64_t run = run_length(mem, offset, length, &written);

		if (written)
			mem_copy(to, mem->data + offset, run, next);
		else
			memset(to, 0, run);
		offset += run;
		to += run;
		length -= run;
	}
}

static void mark_written(struct mem_node *mem, uint64_t offset, uint64_t length)
{
	uint64_t page = offset >> MEM_PAGE_SHIFT;

	for (; page <= (offset + length - 1) >> MEM_PAGE_SHIFT; page++)
		mem->written[page / MEM_MAP_BITS] |= UINT64_C(1) << (page % MEM_MAP_BITS);
}

static void store(struct mem_node *mem, uint64_t offset, const uint8_t *from, uint64_t length,
                  struct mem_next next)
{
	uint8_t *to = mem->data + offset;

	/* What is less than a page is likely to be read again, or to be written to. */
	if (length < MEM_PAGE || (uintptr_t)to % MEM_LINE)
		mem_copy(to, from, length, next);
	else
		mem_store(to, from, length, next);
}

/*
 * How much of it could be written in one go. Nothing where memory is short, or where the client's
 * is gone: a copy finds out what that means, as anywhere else.
 */
static uint64_t make_pages(const struct mem_node *mem, uint64_t offset, const uint8_t *from,
                           uint64_t length)
{
	ssize_t n = pwrite(mem->fd, from, length, (off_t)offset);

	return n < 0 ? 0 : (uint64_t)n;
}

static void write_in(struct mem_node *mem, uint64_t offset, const uint8_t *from, uint64_t length,
                     struct mem_next next)
{
	mem_touch(mem, offset, length);
	while (length) {
		bool written;
		uint64_t run = run_length(mem, offset, length, &written);
		uint64_t made = written ? 0 : make_pages(mem, offset, from, run);

		if (made < run)
			store(mem, offset + made, from + made, run - made, next);
		if (!written)
			mark_written(mem, offset, run);
		offset += run;
		from += run;
		length -= run;
	}
}

void mem_write(struct mem_node *mem, uint64_t offset, const uint8_t *from, uint64_t length)
{
	write_in(mem, offset, from, length, (struct mem_next){0});
}

/* What is copied from when an iovec is done, at offset: for the next one or the next request. */
static struct mem_next next_after(const struct mem_node *mem,
                                  const struct ob_block_request *request, unsigned i,
                                  uint64_t offset)
{
	const struct iovec *iov = &request->iov[i + 1];

	if (i + 1 == request->iovcnt)
		return mem->expected;
	if (request->op == OB_BLOCK_READ)
		return (struct mem_next){mem->data + offset, iov->iov_len};
	return (struct mem_next){iov->iov_base, iov->iov_len};
}

static void transfer(struct mem_node *mem, const struct ob_block_request *request)
{
	uint64_t offset = request->offset;

	for (unsigned i = 0; i < request->iovcnt; i++) {
		const struct iovec *iov = &request->iov[i];
		struct mem_next next = next_after(mem, request, i, offset + iov->iov_len);

		if (request->op == OB_BLOCK_READ)
			read_out(mem, offset, iov->iov_base, iov->iov_len, next);
		else
			write_in(mem, offset, iov->iov_base, iov->iov_len, next);
		offset += iov->iov_len;
	}
	mem->expected = (struct mem_next){0};
}

/* Zeroes what was written, and leaves the pages where they are. */
static void clear(struct mem_node *mem, uint64_t offset, uint64_t length)
{
	mem_touch(mem, offset, length);
	while (length) {
		bool written;
		uint64_t run = run_length(mem, offset, length, &written);

		if (written)
			memset(mem->data + offset, 0, run);
		offset += run;
		length -= run;
	}
}

/* Gives whole pages back to the system; what sticks out of them at both ends is cleared. */
void mem_punch(struct mem_node *mem, uint64_t offset, uint64_t length)
{
	uint64_t end = offset + length;
	uint64_t first = (offset + MEM_PAGE - 1) & ~(uint64_t)(MEM_PAGE - 1);
	uint64_t last = end & ~(uint64_t)(MEM_PAGE - 1);

	if (first >= last || fallocate(mem->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	                               (off_t)first, (off_t)(last - first))) {
		clear(mem, offset, length);
		return;
	}
	mem_touch(mem, offset, length);
	clear(mem, offset, first - offset);
	clear(mem, last, end - last);
	for (uint64_t page = first >> MEM_PAGE_SHIFT; page < last >> MEM_PAGE_SHIFT;) {
		if (page % MEM_MAP_BITS == 0 && (last >> MEM_PAGE_SHIFT) - page >= MEM_MAP_BITS) {
			mem->written[page / MEM_MAP_BITS] = 0;
			page += MEM_MAP_BITS;
		} else {
			mem->written[page / MEM_MAP_BITS] &=
				~(UINT64_C(1) << (page % MEM_MAP_BITS));
			page++;
		}
	}
}

static void mem_expect(struct ob_block *block, const struct ob_block_hint *hint)
{
	struct mem_node *mem = (struct mem_node *)block;

	if (hint->op == OB_BLOCK_READ)
		mem->expected = (struct mem_next){mem->data + hint->offset, hint->length};
	else
		mem->expected =
			(struct mem_next){hint->memory, hint->memory ? hint->memory_length : 0};
}

static int mem_submit(struct ob_block *block, struct ob_block_request *request)
{
	struct mem_node *mem = (struct mem_node *)block;

	switch (request->op) {
	case OB_BLOCK_READ:
	case OB_BLOCK_WRITE:
		transfer(mem, request);
		break;
	case OB_BLOCK_WRITE_ZEROES:
		if (!(request->flags & OB_BLOCK_UNMAP) && request->length < PUNCH_FROM)
			clear(mem, request->offset, request->length);
		else
			mem_punch(mem, request->offset, request->length);
		break;
	case OB_BLOCK_DISCARD:
		mem_punch(mem, request->offset, request->length);
		break;
	case OB_BLOCK_FLUSH:
		break;
	}
	return 0;
}

/*
 * A disk that is larger than what the machine has would work until it is full, and then the kernel
 * would kill the process and every device in it.
 */
static int check_memory(uint64_t size, struct ob_error *err)
{
	struct sysinfo info;
	uint64_t have;

	if (sysinfo(&info))
		return 0;
	have = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
	if (size <= have)
		return 0;
	return ob_error_set(
		err, -ENOMEM,
		"size=%" PRIu64 ": more than the %" PRIu64
		" MiB of memory and swap of this machine; driver=file has no such bound",
		size, have >> 20);
}

static uint64_t map_words(uint64_t size)
{
	return (((size + MEM_PAGE - 1) >> MEM_PAGE_SHIFT) + MEM_MAP_BITS - 1) / MEM_MAP_BITS;
}

static int map_memory(struct mem_node *mem, uint64_t size)
{
	cleanup_fd int fd = memfd_create("outboard-disk", MFD_CLOEXEC);
	void *data;

	if (fd < 0 || ftruncate(fd, (off_t)size))
		return -errno;
	mem->written = calloc(map_words(size), sizeof(*mem->written));
	if (!mem->written)
		return -ENOMEM;
	data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (data == MAP_FAILED) {
		free(take_ptr(&mem->written));
		return -errno;
	}
	mem->data = data;
	mem->fd = take_fd(&fd);
	return 0;
}

static int refuse_size(uint64_t size, int error, struct ob_error *err)
{
	return ob_error_set(err, -error, "size=%" PRIu64 ": so much memory can't be had: %s", size,
	                    strerror(error));
}

static int mem_open(struct ob_block *block, struct ob_error *err)
{
	const struct mem_props *props = block->props;
	struct mem_node *mem = (struct mem_node *)block;
	int rc;

	rc = block_check_size(props->size, err);
	if (!rc)
		rc = check_memory(props->size, err);
	if (rc)
		return rc;
	rc = map_memory(mem, props->size);
	if (rc)
		return refuse_size(props->size, -rc, err);
	block->info = (struct ob_block_info){
		.size = props->size,
		.size_given = true,
		.block_size = BLOCK_SECTOR,
		.optimal_io = MEM_PAGE,
		.discard = true,
		.discard_zeroes = true,
		.copies = true,
	};
	return 0;
}

/* What lies behind the new end is gone, and not to come back when it grows again. */
static void forget_tail(struct mem_node *mem, uint64_t from, uint64_t to)
{
	uint64_t page = (from + MEM_PAGE - 1) & ~(uint64_t)(MEM_PAGE - 1);

	clear(mem, from, (page < to ? page : to) - from);
	for (page >>= MEM_PAGE_SHIFT; page < (to + MEM_PAGE - 1) >> MEM_PAGE_SHIFT; page++)
		mem->written[page / MEM_MAP_BITS] &= ~(UINT64_C(1) << (page % MEM_MAP_BITS));
}

static int mem_resize(struct ob_block *block, uint64_t size, struct ob_error *err)
{
	struct mem_node *mem = (struct mem_node *)block;
	uint64_t before = block->info.size;
	uint64_t *written;
	void *data;
	int rc = check_memory(size, err);

	if (rc)
		return rc;
	if (mem->dirty)
		return ob_error_set(err, -EBUSY, "its contents are on the move");
	if (size > before) {
		written = reallocarray(mem->written, map_words(size), sizeof(*written));
		if (!written)
			return ob_error_set(err, -ENOMEM, "out of memory");
		memset(written + map_words(before), 0,
		       (map_words(size) - map_words(before)) * sizeof(*written));
		mem->written = written;
	} else {
		forget_tail(mem, size, before);
	}
	if (ftruncate(mem->fd, (off_t)size))
		return refuse_size(size, errno, err);
	mem->expected = (struct mem_next){0};
	data = mremap(mem->data, before, size, MREMAP_MAYMOVE);
	if (data == MAP_FAILED) {
		rc = refuse_size(size, errno, err);
		return ftruncate(mem->fd, (off_t)before) ? -EIO : rc;
	}
	mem->data = data;
	return 0;
}

/* Its memory, which takes 150 ms for each GiB to give back: not on the loop. */
struct mem_rest {
	struct loop_job job;
	uint8_t *data;
	size_t size;
	int fd;
};

static void give_back(struct loop_job *job)
{
	struct mem_rest *rest = container_of(job, struct mem_rest, job);

	/* In slices, as mmap() and munmap() of other threads wait for each. */
	for (size_t piece; rest->size; rest->data += piece, rest->size -= piece) {
		piece = rest->size < SLICE ? rest->size : SLICE;
		(void)munmap(rest->data, piece);
	}
	close(rest->fd);
	free(rest);
}

static void mem_close(struct ob_block *block)
{
	struct mem_node *mem = (struct mem_node *)block;
	struct mem_rest *rest = block->info.size > SLICE ? malloc(sizeof(*rest)) : NULL;

	mem_migration.end(block);
	free(mem->written);
	if (!rest) {
		munmap(mem->data, block->info.size);
		close(mem->fd);
		return;
	}
	*rest = (struct mem_rest){
		.job = {.work = give_back, .lane = LOOP_LANE_MEMORY},
		.data = mem->data,
		.size = block->info.size,
		.fd = mem->fd,
	};
	loop_offload(block->loop, &rest->job);
}

static const struct ob_prop mem_table[] = {
	{"size", OB_PROP_SIZE, offsetof(struct mem_props, size), .min = BLOCK_SECTOR,
         .max = INT64_MAX, .help = "size in bytes, a multiple of 512; required"},
	{.name = NULL},
};

const struct block_driver block_mem = {
	.name = "mem",
	.summary = "a disk in memory, gone when it is closed",
	.node_size = sizeof(struct mem_node),
	.props_size = sizeof(struct mem_props),
	.props = mem_table,
	.open = mem_open,
	.close = mem_close,
	.submit = mem_submit,
	.expect = mem_expect,
	.resize = mem_resize,
	.migration = &mem_migration,
};

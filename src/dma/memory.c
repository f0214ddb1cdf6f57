/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client's files, mapped here: one mapping of all of a file, and every map of the space that lies
 * in that file points into it. So a guest whose IOMMU maps 65,535 pages of its memory one by one
 * takes one place in the process's table of mappings, which has 65,530 for all.
 *
 * Protection: what the descriptor allows. What a map allows is less, and is checked on each access.
 *
 * Unmapping frees the file's memory if nobody else has it any more, about 150 ms for each GiB, and
 * while it goes on the kernel holds a lock that mmap() and munmap() of other threads wait for. So a
 * helper thread does it, in slices.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

enum { FIRST_BUCKETS = 16 };

static const uint64_t WHOLE_MAX = UINT64_C(1) << 40; /* of a larger file, only what is needed */
static const size_t SLICE = 8 << 20;

/* The table, by file */

static unsigned bucket_of(const struct dma_space *space, const struct dma_file *file)
{
	uint64_t hash = (file->inode ^ file->device << 32) * UINT64_C(0x9e3779b97f4a7c15);

	return (unsigned)(hash >> 32) & (space->bucket_count - 1);
}

static void link_memory(struct dma_space *space, struct dma_memory *memory)
{
	struct dma_memory **bucket = &space->buckets[bucket_of(space, &memory->file)];

	memory->next = *bucket;
	*bucket = memory;
}

static void unlink_memory(struct dma_space *space, struct dma_memory *memory)
{
	struct dma_memory **at = &space->buckets[bucket_of(space, &memory->file)];

	while (*at != memory)
		at = &(*at)->next;
	*at = memory->next;
	space->memories--;
}

/* Twice as many buckets as long as that can be had; a few more in each do no harm. */
static int grow_table(struct dma_space *space)
{
	unsigned before = space->bucket_count, count = before ? 2 * before : FIRST_BUCKETS;
	struct dma_memory **old = space->buckets, **buckets;

	if (space->memories < before)
		return 0;
	buckets = calloc(count, sizeof(struct dma_memory *));
	if (!buckets)
		return before ? 0 : -ENOMEM;
	space->buckets = buckets;
	space->bucket_count = count;
	for (unsigned i = 0; i < before; i++) {
		for (struct dma_memory *memory = old[i], *next; memory; memory = next) {
			next = memory->next;
			link_memory(space, memory);
		}
	}
	free(old);
	return 0;
}

static struct dma_memory *find(const struct dma_space *space, const struct dma_file *file,
                               uint64_t begin, uint64_t end)
{
	struct dma_memory *memory;

	if (!space->bucket_count || file->alone)
		return NULL;
	for (memory = space->buckets[bucket_of(space, file)]; memory; memory = memory->next) {
		if (memory->file.inode == file->inode && memory->file.device == file->device &&
		    memory->file.writeable == file->writeable && !memory->lost &&
		    begin >= memory->offset && end <= memory->offset + memory->length)
			return memory;
	}
	return NULL;
}

/* Mapping */

/*
 * One, and where the file is large one more: a signal handler that puts empty memory in its place
 * has no time to unmap it, and moves it elsewhere (guard.c).
 */
static unsigned places_of(size_t length)
{
	return length > DMA_SMALL ? 2 : 1;
}

/* Maps [begin, end) of the file. 0, -EDQUOT, or -errno of mmap. */
static int map_range(struct dma_space *space, struct dma_memory *memory, int fd, uint64_t begin,
                     uint64_t end)
{
	const struct dma_file *file = &memory->file;
	int prot = PROT_READ | (file->writeable ? PROT_WRITE : 0);
	size_t length = end - begin;
	int rc;
	void *bytes;

	if (end > INT64_MAX)
		return -EINVAL;
	rc = dma_usage_take(space->usage, places_of(length), length);
	if (rc)
		return rc;
	bytes = mmap(NULL, length, prot, MAP_SHARED, fd, (off_t)begin);
	if (bytes == MAP_FAILED) {
		rc = -errno;
		dma_usage_give(space->usage, places_of(length), length);
		return rc;
	}
	/* The guest's memory is not for our core dumps. Best effort. */
	(void)madvise(bytes, length, MADV_DONTDUMP);
	memory->usage = space->usage;
	memory->bytes = bytes;
	memory->offset = begin;
	memory->length = length;
	return 0;
}

static uint64_t round_down(uint64_t at, uint64_t granule)
{
	return at & ~(granule - 1);
}

/*
 * All of the file where that can be had, or else the pages of [begin, end). (Of hugetlbfs it can if
 * the client has reserved its pages.)
 */
static int map_file(struct dma_space *space, struct dma_memory *memory, int fd, uint64_t begin,
                    uint64_t end)
{
	const struct dma_file *file = &memory->file;
	uint64_t whole = round_down(file->size + (file->granule - 1), file->granule);

	if (!file->alone && file->size <= WHOLE_MAX && end <= whole &&
	    !map_range(space, memory, fd, 0, whole))
		return 0;
	return map_range(space, memory, fd, begin, end);
}

static int make(struct dma_space *space, const struct dma_file *file, int fd, uint64_t begin,
                uint64_t end, struct dma_memory **out)
{
	struct dma_memory *memory;
	int rc = grow_table(space);

	if (rc)
		return rc;
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	memory->file = *file;
	memory->unshared = space->unshared;
	rc = map_file(space, memory, fd, begin, end);
	if (rc) {
		free(memory);
		return rc;
	}
	link_memory(space, memory);
	space->memories++;
	if (space->listener)
		space->listener->mapped(space->listener, memory->bytes, memory->length);
	*out = memory;
	return 0;
}

int dma_memory_get(struct dma_space *space, const struct dma_file *file, int fd, uint64_t offset,
                   uint64_t size, struct dma_memory **memory)
{
	uint64_t begin = round_down(offset, file->granule), end;
	int rc = 0;

	if (!checked_add(offset + size, file->granule - 1, &end))
		return -EINVAL;
	end = round_down(end, file->granule);
	*memory = find(space, file, begin, end);
	if (!*memory)
		rc = make(space, file, fd, begin, end, memory);
	if (!rc)
		(*memory)->maps++;
	return rc;
}

/* Pins go on with what they have; the mapping stays for them until its maps go. */
void dma_memory_give_up(struct dma_space *space)
{
	space->unshared = true;
	for (unsigned i = 0; i < space->count; i++) {
		struct dma_map *map = space->maps[i];

		if (!map->memory || map->memory->proven)
			continue;
		map->memory->unshared = true;
		map->kind = DMA_REMOTE;
		map->direct = 0;
	}
}

/* Unmapping */

/* From the front: what is left stays one mapping. */
static void unmap_slices(uint8_t *bytes, size_t length, size_t slice)
{
	for (size_t piece; length; bytes += piece, length -= piece) {
		piece = length < slice ? length : slice;
		/* Only a hole can be missed, and there is none. */
		(void)munmap(bytes, piece);
	}
}

/* On a helper thread; or on the loop, of a space that has none. */
static void release(struct dma_memory *memory)
{
	size_t slice = memory->file.granule > SLICE ? memory->file.granule : SLICE;

	unmap_slices(memory->bytes, memory->length, slice);
	if (memory->moved)
		unmap_slices(memory->moved, memory->length, slice);
	dma_usage_give(memory->usage, places_of(memory->length), memory->length);
	free(memory);
}

static void release_known(struct loop_job *job)
{
	release(container_of(job, struct dma_memory, job));
}

static void release_other(struct dma_waste_item *item)
{
	release(container_of(item, struct dma_memory, item));
}

void dma_memory_put(struct dma_space *space, struct dma_memory *memory)
{
	assert(memory->maps > 0);
	if (--memory->maps)
		return;
	if (space->listener)
		space->listener->unmapping(space->listener, memory->bytes);
	unlink_memory(space, memory);
	memory->job = (struct loop_job){.work = release_known, .lane = LOOP_LANE_MEMORY};
	memory->item = (struct dma_waste_item){.give_back = release_other};
	if (!space->loop)
		release(memory);
	else if (memory->file.known)
		loop_offload(space->loop, &memory->job);
	else
		dma_waste_add(space->waste, space->loop, &memory->item);
}

/* Descriptors */

struct closing {
	struct loop_job job;
	struct dma_waste_item item;
	int fd;
	struct dma_usage *usage;
};

static void close_it(struct closing *closing)
{
	close(closing->fd);
	dma_usage_end_close(closing->usage);
	free(closing);
}

static void close_known(struct loop_job *job)
{
	close_it(container_of(job, struct closing, job));
}

static void close_other(struct dma_waste_item *item)
{
	close_it(container_of(item, struct closing, item));
}

void dma_close(struct dma_space *space, int fd, bool known)
{
	struct closing *closing = space->loop ? malloc(sizeof(*closing)) : NULL;

	if (!closing) {
		close(fd);
		return;
	}
	*closing = (struct closing){
		.job = {.work = close_known, .lane = LOOP_LANE_MEMORY},
		.item = {.give_back = close_other},
		.fd = fd,
		.usage = space->usage,
	};
	dma_usage_begin_close(closing->usage);
	if (known)
		loop_offload(space->loop, &closing->job);
	else
		dma_waste_add(space->waste, space->loop, &closing->item);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The client's memory: made, mapped for the device, and served where the server asks by message. A
 * request is answered from the maps that cover it; what no map's memory covers goes to the
 * callbacks as a whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fd.h"
#include "client/internal.h"

/* Memory */

int ob_client_memory_new(size_t size, struct ob_client_memory **out)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct ob_client_memory *memory;
	cleanup_fd int fd = -1;
	void *data;

	if (!size || size > INT64_MAX - page)
		return -EINVAL;
	size = (size + page - 1) & ~(page - 1);
	fd = memfd_create("outboard-client", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)size))
		return -errno;
	data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		return -errno;
	memory = malloc(sizeof(*memory));
	if (!memory) {
		munmap(data, size);
		return -ENOMEM;
	}
	*memory = (struct ob_client_memory){.data = data, .size = size, .fd = take_fd(&fd)};
	*out = memory;
	return 0;
}

void ob_client_memory_free(struct ob_client_memory *memory)
{
	if (!memory)
		return;
	munmap(memory->data, memory->size);
	close(memory->fd);
	free(memory);
}

/* The table of maps */

/* The first map that ends behind address. */
static size_t find(const struct ob_client *client, uint64_t address)
{
	size_t low = 0, high = client->map_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct client_map *map = &client->maps[middle];

		if (map->address + (map->length - 1) < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int check_map(struct ob_client *client, const struct ob_client_map *map)
{
	uint64_t last;
	size_t at;

	if (!map->length || !checked_add(map->address, map->length - 1, &last))
		return client_fail(client, -EINVAL,
		                   "length: more than 0, and an end of at most 2^64 expected");
	if (map->flags & ~(unsigned)(OB_CLIENT_READ | OB_CLIENT_WRITE))
		return client_fail(client, -EINVAL,
		                   "flags: OB_CLIENT_READ, OB_CLIENT_WRITE expected");
	at = find(client, map->address);
	if (at < client->map_count &&
	    ranges_overlap(map->address, map->length, client->maps[at].address,
	                   client->maps[at].length))
		return client_fail(client, -EEXIST, "the range overlaps one that is mapped");
	return 0;
}

static int insert(struct ob_client *client, const struct ob_client_map *map)
{
	size_t at = find(client, map->address);
	struct client_map *maps = client->maps;

	if (client->map_count == client->map_room) {
		size_t room = client->map_room ? 2 * client->map_room : 16;

		maps = reallocarray(maps, room, sizeof(*maps));
		if (!maps)
			return client_fail(client, -ENOMEM, "out of memory");
		client->maps = maps;
		client->map_room = room;
	}
	memmove(maps + at + 1, maps + at, (client->map_count - at) * sizeof(*maps));
	maps[at] = (struct client_map){map->address, map->length, map->flags, map->data};
	client->map_count++;
	return 0;
}

static void drop(struct ob_client *client, size_t at, size_t count)
{
	client->map_count -= count;
	memmove(client->maps + at, client->maps + at + count,
	        (client->map_count - at) * sizeof(*client->maps));
}

int ob_client_map_raw(struct ob_client *client, const struct ob_client_map *map)
{
	const struct wire_dma_map request = {
		.argsz = sizeof(request),
		.flags = (map->flags & OB_CLIENT_READ ? WIRE_DMA_READABLE : 0) |
	                 (map->flags & OB_CLIENT_WRITE ? WIRE_DMA_WRITEABLE : 0),
		.offset = map->fd >= 0 ? map->file_offset : 0,
		.address = map->address,
		.size = map->length,
	};
	struct ob_client_op op = {0};
	int rc = check_map(client, map);

	/* Before the server knows of it: it may ask at once. */
	if (!rc)
		rc = insert(client, map);
	if (rc)
		return rc;
	rc = client_call(client, &op,
	                 &(struct client_request){.command = WIRE_DMA_MAP,
	                                          .fixed = &request,
	                                          .fixed_size = sizeof(request),
	                                          .fds = &map->fd,
	                                          .fd_count = map->fd >= 0});
	if (rc)
		drop(client, find(client, map->address), 1);
	return rc;
}

int ob_client_map(struct ob_client *client, uint64_t address, struct ob_client_memory *memory,
                  size_t offset, size_t length, unsigned flags)
{
	if (!range_within(offset, length, memory->size))
		return client_fail(client, -EINVAL, "offset, length: within the memory expected");
	return ob_client_map_raw(client, &(struct ob_client_map){
						 .address = address,
						 .length = length,
						 .flags = flags & ~(unsigned)OB_CLIENT_UNSHARED,
						 .fd = flags & OB_CLIENT_UNSHARED ? -1 : memory->fd,
						 .file_offset = offset,
						 .data = memory->data + offset,
					 });
}

static int unmap(struct ob_client *client, uint64_t address, uint64_t length, uint32_t flags)
{
	const struct wire_dma_unmap request = {
		.argsz = sizeof(request), .flags = flags, .address = address, .size = length};
	struct ob_client_op op = {0};

	return client_call(client, &op,
	                   &(struct client_request){.command = WIRE_DMA_UNMAP,
	                                            .fixed = &request,
	                                            .fixed_size = sizeof(request)});
}

int ob_client_unmap(struct ob_client *client, uint64_t address, uint64_t length)
{
	int rc = unmap(client, address, length, 0);
	size_t at = find(client, address), end = at;

	if (rc)
		return rc;
	while (end < client->map_count && client->maps[end].address >= address &&
	       range_within(client->maps[end].address - address, client->maps[end].length, length))
		end++;
	drop(client, at, end - at);
	return 0;
}

int ob_client_unmap_all(struct ob_client *client)
{
	int rc = unmap(client, 0, 0, WIRE_DMA_UNMAP_ALL);

	if (!rc)
		client->map_count = 0;
	return rc;
}

/* Serving */

/*
 * Where the byte at address is, and how many follow it there, at most length. NULL: in no memory of
 * ours, with *error EFAULT, or EACCES where it may not be accessed like that.
 */
static uint8_t *memory_at(const struct ob_client *client, uint64_t address, unsigned access,
                          size_t *length, int *error)
{
	size_t at = find(client, address);
	const struct client_map *map;
	uint64_t inside;

	*error = -EFAULT;
	if (at == client->map_count || client->maps[at].address > address)
		return NULL;
	map = &client->maps[at];
	if (!(map->flags & access)) {
		*error = -EACCES;
		return NULL;
	}
	if (!map->data)
		return NULL;
	inside = address - map->address;
	if (*length > map->length - inside)
		*length = map->length - inside;
	return map->data + inside;
}

/* All of a range, or none of it. 0, or -errno as memory_at() says. */
static int check_range(const struct ob_client *client, const struct wire_dma_access *access,
                       unsigned kind)
{
	uint64_t last;
	int error;

	if (access->count && !checked_add(access->address, access->count - 1, &last))
		return -EFAULT;
	for (uint64_t done = 0; done < access->count;) {
		size_t piece = access->count - done;

		if (!memory_at(client, access->address + done, kind, &piece, &error))
			return error;
		done += piece;
	}
	return 0;
}

static void copy(const struct ob_client *client, const struct wire_dma_access *access, bool write,
                 uint8_t *data)
{
	int error;

	for (uint64_t done = 0; done < access->count;) {
		size_t piece = access->count - done;
		uint8_t *memory =
			memory_at(client, access->address + done,
		                  write ? OB_CLIENT_WRITE : OB_CLIENT_READ, &piece, &error);

		if (write)
			memcpy(memory, data + done, piece);
		else
			memcpy(data + done, memory, piece);
		done += piece;
	}
}

static int answer(struct ob_client *client, struct stream *stream,
                  const struct wire_header *request, const struct wire_dma_access *access,
                  const void *data, size_t size)
{
	struct wire_header header;
	struct iovec iov[3] = {
		{&header, sizeof(header)}, {(void *)access, sizeof(*access)}, {(void *)data, size}};

	if (request->flags & WIRE_NO_REPLY)
		return 0;
	wire_encode_reply(&header, request, (uint32_t)(sizeof(header) + sizeof(*access) + size));
	return stream_queue(stream, iov, size ? 3 : 2, client_deadline(client));
}

static int answer_error(struct ob_client *client, struct stream *stream,
                        const struct wire_header *request, int error)
{
	struct wire_header header;
	struct iovec iov = {&header, sizeof(header)};

	if (request->flags & WIRE_NO_REPLY)
		return 0;
	wire_encode_error(&header, request, error);
	return stream_queue(stream, &iov, 1, client_deadline(client));
}

static int serve_read(struct ob_client *client, struct stream *stream,
                      const struct ob_client_message *message)
{
	const struct ob_client_dma_ops *ops = client->config.dma;
	struct wire_dma_access access;
	size_t piece;
	uint8_t *memory, *data;
	const char *why;
	int error;
	int rc = wire_decode_dma_read(message->payload, message->length,
	                              client->config.max_data_xfer_size, &access, &why);

	if (rc)
		return answer_error(client, stream, &message->header, rc);
	rc = check_range(client, &access, OB_CLIENT_READ);
	piece = access.count;
	memory = rc ? NULL : memory_at(client, access.address, OB_CLIENT_READ, &piece, &error);
	/* In one map as a rule: sent from where it is. */
	if (memory && piece == access.count)
		return answer(client, stream, &message->header, &access, memory, piece);
	data = malloc(access.count + 1);
	if (!data)
		rc = -ENOMEM;
	else if (!rc)
		copy(client, &access, false, data);
	else if (rc == -EFAULT && ops && ops->read)
		rc = ops->read(client->config.context, access.address, data, access.count);
	if (rc)
		rc = answer_error(client, stream, &message->header, rc);
	else
		rc = answer(client, stream, &message->header, &access, data, access.count);
	free(data);
	return rc;
}

static int serve_write(struct ob_client *client, struct stream *stream,
                       const struct ob_client_message *message)
{
	const struct ob_client_dma_ops *ops = client->config.dma;
	struct wire_dma_access access;
	const uint8_t *data;
	const char *why;
	int rc = wire_decode_dma_write(message->payload, message->length,
	                               client->config.max_data_xfer_size, &access, &data, &why);

	if (rc)
		return answer_error(client, stream, &message->header, rc);
	rc = check_range(client, &access, OB_CLIENT_WRITE);
	if (!rc)
		copy(client, &access, true, (uint8_t *)data);
	else if (rc == -EFAULT && ops && ops->write)
		rc = ops->write(client->config.context, access.address, data, access.count);
	if (rc)
		return answer_error(client, stream, &message->header, rc);
	return answer(client, stream, &message->header, &access, NULL, 0);
}

int client_serve(struct ob_client *client, struct stream *stream,
                 const struct ob_client_message *message)
{
	switch (message->header.command) {
	case WIRE_DMA_READ:
		return serve_read(client, stream, message);
	case WIRE_DMA_WRITE:
		return serve_write(client, stream, message);
	default:
		return answer_error(client, stream, &message->header, -ENOTSUP);
	}
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* What a device has: regions with what of them can be mapped, descriptors for I/O, interrupts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "client/internal.h"

/* What a reply may take: see CLIENT_HEADROOM. The first try is enough as a rule. */
enum { FIRST_ARGSZ = 4096, MAX_ARGSZ = 32768 };

static int take_device(struct ob_client *client, struct ob_client_op *op,
                       struct ob_client_message *reply)
{
	struct ob_client_device *out = op->data;
	struct wire_device_info info;
	const char *why;

	if (wire_decode_device_info_reply(reply->payload, reply->length, &info, &why))
		return client_bad_reply(client, reply, why);
	*out = (struct ob_client_device){
		.pci = info.flags & WIRE_DEVICE_PCI,
		.can_reset = info.flags & WIRE_DEVICE_RESET,
		.regions = info.num_regions,
		.irqs = info.num_irqs,
	};
	return 0;
}

int ob_client_device_info(struct ob_client *client, struct ob_client_device *out)
{
	const struct wire_device_info info = {.argsz = sizeof(info)};
	struct ob_client_op op = {.take = take_device, .data = out};

	return client_call(client, &op,
	                   &(struct client_request){.command = WIRE_GET_INFO,
	                                            .fixed = &info,
	                                            .fixed_size = sizeof(info)});
}

/* A list of descriptors that the caller will own. */
static int keep_fds(struct ob_client_message *reply, int **fds, unsigned *count)
{
	if (!reply->fd_count)
		return 0;
	*fds = malloc(reply->fd_count * sizeof(int));
	if (!*fds)
		return -ENOMEM;
	memcpy(*fds, reply->fds, reply->fd_count * sizeof(int));
	*count = reply->fd_count;
	reply->fd_count = 0;
	return 0;
}

/* Regions. op->count is the argsz that was sent, or becomes what the server needs. */

static int keep_areas(const struct wire_region_reply *reply, struct ob_client_region *out)
{
	unsigned count = reply->sparse ? reply->area_count : 1;

	if (!out->mappable || !count || !out->size)
		return 0;
	out->areas = calloc(count, sizeof(*out->areas));
	if (!out->areas)
		return -ENOMEM;
	out->area_count = count;
	for (unsigned i = 0; i < count; i++) {
		struct wire_sparse_area area = {0, out->size};
		int fd = out->fd_count ? out->fds[out->fd_count > i ? i : 0] : -1;

		if (reply->sparse)
			wire_area_at(reply, i, &area);
		out->areas[i] = (struct ob_client_area){area.offset, area.size, fd};
	}
	return 0;
}

static int take_region(struct ob_client *client, struct ob_client_op *op,
                       struct ob_client_message *message)
{
	struct ob_client_region region = {0};
	struct wire_region_reply reply;
	const char *why;
	int rc;

	if (wire_decode_region_info_reply(message->payload, message->length, &reply, &why))
		return client_bad_reply(client, message, why);
	if (reply.info.index != op->region)
		return client_bad_reply(client, message, "index: the request's expected");
	if (reply.incomplete) {
		op->count = reply.info.argsz;
		return -ENOSPC;
	}
	region = (struct ob_client_region){
		.index = reply.info.index,
		.readable = reply.info.flags & WIRE_REGION_READABLE,
		.writeable = reply.info.flags & WIRE_REGION_WRITEABLE,
		.mappable = reply.info.flags & WIRE_REGION_MMAP,
		.size = reply.info.size,
		.file_offset = reply.info.offset,
		.has_type = reply.has_type,
		.type = reply.type,
		.subtype = reply.subtype,
		.sparse = reply.sparse,
	};
	rc = keep_fds(message, &region.fds, &region.fd_count);
	if (!rc)
		rc = keep_areas(&reply, &region);
	if (rc) {
		ob_client_region_release(&region);
		return client_fail(client, rc, "out of memory");
	}
	*(struct ob_client_region *)op->data = region;
	return 0;
}

/* Asks once, and again with what the server needs if that is not outrageous. */
static int ask(struct ob_client *client, struct ob_client_op *op, struct client_request *request,
               uint32_t *argsz)
{
	int rc = client_call(client, op, request);

	if (rc != -ENOSPC || !op->count) /* the server's own error */
		return rc;
	if (op->count <= *argsz)
		return client_give_up(client, -EPROTO, "the server leaves out a part of its reply");
	if (op->count > MAX_ARGSZ)
		return client_fail(client, -EMSGSIZE,
		                   "the server has %u bytes of information; at most %d are taken",
		                   op->count, MAX_ARGSZ);
	*argsz = op->count;
	op->count = 0;
	rc = client_call(client, op, request);
	if (rc == -ENOSPC && op->count)
		return client_give_up(client, -EPROTO, "the server keeps asking for more room");
	return rc;
}

int ob_client_region_info(struct ob_client *client, uint32_t index, struct ob_client_region *out)
{
	struct wire_region_info info = {.argsz = FIRST_ARGSZ, .index = index};
	struct ob_client_op op = {.take = take_region, .data = out, .region = index};
	struct client_request request = {
		.command = WIRE_GET_REGION_INFO, .fixed = &info, .fixed_size = sizeof(info)};

	return ask(client, &op, &request, &info.argsz);
}

void ob_client_region_release(struct ob_client_region *region)
{
	for (unsigned i = 0; i < region->fd_count; i++)
		close(region->fds[i]);
	free(region->fds);
	free(region->areas);
	*region = (struct ob_client_region){0};
}

int ob_client_area_map(const struct ob_client_region *region, unsigned area, void **out)
{
	int prot = (region->readable ? PROT_READ : 0) | (region->writeable ? PROT_WRITE : 0);
	const struct ob_client_area *a;
	uint64_t offset, end;
	struct stat st;
	void *data;

	if (area >= region->area_count)
		return -EINVAL;
	a = &region->areas[area];
	if (a->fd < 0 || !a->size || !checked_add(region->file_offset, a->offset, &offset) ||
	    !checked_add(offset, a->size, &end) || end > INT64_MAX)
		return -EINVAL;
	if (fstat(a->fd, &st))
		return -errno;
	/* Beyond the end of a file the first access would be a SIGBUS. */
	if (S_ISREG(st.st_mode) && (uint64_t)st.st_size < end)
		return -ENXIO;
	data = mmap(NULL, a->size, prot, MAP_SHARED, a->fd, (off_t)offset);
	if (data == MAP_FAILED)
		return -errno;
	*out = data;
	return 0;
}

/* Descriptors for I/O */

static int take_io_fds(struct ob_client *client, struct ob_client_op *op,
                       struct ob_client_message *message)
{
	struct ob_client_io_fds out = {0};
	struct wire_region_io_fds info;
	struct wire_io_fd entry;
	bool incomplete;
	const char *why;

	if (wire_decode_io_fds_reply(message->payload, message->length, &info, &incomplete, &why))
		return client_bad_reply(client, message, why);
	if (incomplete) {
		op->count = info.argsz;
		return -ENOSPC;
	}
	for (uint32_t i = 0; i < info.count; i++) {
		wire_io_fd_at(message->payload, i, &entry);
		if (entry.fd_index >= message->fd_count)
			return client_bad_reply(client, message,
			                        "fd_index: one of the descriptors sent expected");
	}
	if (info.count) {
		out.entries = calloc(info.count, sizeof(*out.entries));
		if (!out.entries)
			return client_fail(client, -ENOMEM, "out of memory");
	}
	if (keep_fds(message, &out.fds, &out.fd_count)) {
		free(out.entries);
		return client_fail(client, -ENOMEM, "out of memory");
	}
	for (; out.count < info.count; out.count++) {
		wire_io_fd_at(message->payload, out.count, &entry);
		out.entries[out.count] = (struct ob_client_io_fd){
			.offset = entry.offset,
			.size = entry.size,
			.fd = out.fds[entry.fd_index],
			.type = entry.type,
			.flags = entry.flags,
			.datamatch = entry.datamatch,
		};
	}
	*(struct ob_client_io_fds *)op->data = out;
	return 0;
}

int ob_client_region_io_fds(struct ob_client *client, uint32_t index, struct ob_client_io_fds *out)
{
	struct wire_region_io_fds info = {.argsz = FIRST_ARGSZ, .index = index};
	struct ob_client_op op = {.take = take_io_fds, .data = out, .region = index};
	struct client_request request = {
		.command = WIRE_GET_REGION_IO_FDS, .fixed = &info, .fixed_size = sizeof(info)};

	return ask(client, &op, &request, &info.argsz);
}

void ob_client_io_fds_release(struct ob_client_io_fds *io_fds)
{
	for (unsigned i = 0; i < io_fds->fd_count; i++)
		close(io_fds->fds[i]);
	free(io_fds->fds);
	free(io_fds->entries);
	*io_fds = (struct ob_client_io_fds){0};
}

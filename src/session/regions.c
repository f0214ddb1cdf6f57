/* SPDX-License-Identifier: BSD-3-Clause */
/* Device and region information. */
#include <errno.h>
#include <string.h>

#include "internal.h"

int session_get_info(struct session *session, struct request *request)
{
	struct wire_device_info info;
	int rc = wire_decode_get_info(request->payload, request->length, &info, &request->why);

	if (rc)
		return rc;
	info = (struct wire_device_info){
		.argsz = sizeof(info),
		.flags = WIRE_DEVICE_RESET | WIRE_DEVICE_PCI,
		.num_regions = device_regions(session->dev),
		.num_irqs = PCI_IRQ_KINDS,
	};
	return session_reply(session, &request->header, &info, sizeof(info));
}

_Static_assert((int)DEVICE_AREAS <= (int)WIRE_MAX_AREAS, "areas");

/* The areas of a region, unless one of them is all of it. */
static struct wire_region_caps caps_of(const struct device_region_info *region)
{
	struct wire_region_caps caps = {
		.typed = region->typed,
		.type = region->type,
		.subtype = region->subtype,
	};

	if (region->areas == 1 && region->area[0].size == region->size)
		return caps;
	for (; caps.area_count < region->areas; caps.area_count++)
		caps.areas[caps.area_count] = (struct wire_sparse_area){
			.offset = region->area[caps.area_count].offset,
			.size = region->area[caps.area_count].size,
		};
	return caps;
}

/*
 * Where the client has not made room for capabilities, it is told how much they need, and gets
 * neither them nor a descriptor, as if there were none.
 */
int session_get_region_info(struct session *session, struct request *request)
{
	struct device_region_info region;
	struct wire_region_info info;
	struct wire_region_caps caps;
	uint8_t payload[WIRE_REGION_INFO_ROOM];
	int fd = -1;
	int rc = wire_decode_get_region_info(request->payload, request->length, &info,
	                                     &request->why);

	if (rc)
		return rc;
	if (info.index >= device_regions(session->dev))
		return refuse(request, -EINVAL, "index: below num_regions expected");
	device_region_info(session->dev, info.index, &region);
	if (!session->client.max_msg_fds)
		region.areas = 0;
	caps = caps_of(&region);
	info = (struct wire_region_info){
		.argsz = info.argsz,
		.flags = (region.readable ? WIRE_REGION_READABLE : 0) |
	                 (region.writeable ? WIRE_REGION_WRITEABLE : 0),
		.index = info.index,
		.size = region.size,
	};
	if (info.argsz < wire_region_info_size(&caps)) {
		info.argsz = (uint32_t)wire_region_info_size(&caps);
		return session_reply(session, &request->header, &info, sizeof(info));
	}
	if (region.areas && !(request->header.flags & WIRE_NO_REPLY)) {
		info.flags |= WIRE_REGION_MMAP;
		fd = device_region_fd(session->dev, info.index);
	}
	return session_reply_fds(session, &request->header, payload,
	                         wire_encode_region_info(payload, &info, &caps), &fd, fd >= 0);
}

enum { MAX_IO_FDS = 64 }; /* what one message can carry */

static int describe_doorbell(struct session *session, const struct device_doorbell *doorbell,
                             struct wire_io_fd *out, int *fd)
{
	const struct ob_bar *bar = &pci_layout(session->pci)->bars[doorbell->bar];

	*fd = device_doorbell_fd(session->dev, doorbell->index);
	if (*fd < 0)
		return *fd;
	*out = (struct wire_io_fd){
		.offset = doorbell->offset,
		.size = doorbell->size,
		.type = WIRE_IO_FD_IOEVENTFD,
		.flags = (doorbell->match ? WIRE_IOEVENTFD_DATAMATCH : 0) |
	                 (bar->flags & OB_BAR_IO ? WIRE_IOEVENTFD_PIO : 0),
		.datamatch = doorbell->value,
	};
	return 0;
}

/*
 * A region without doorbells has an empty list, which is no error. Of more than go with a message,
 * the first are given: the others' writes come by message.
 */
int session_get_region_io_fds(struct session *session, struct request *request)
{
	struct {
		struct wire_region_io_fds info;
		struct wire_io_fd list[MAX_IO_FDS];
	} reply;
	struct device_doorbell doorbells[MAX_IO_FDS];
	int fds[MAX_IO_FDS];
	unsigned count = session->client.max_msg_fds, room;
	int rc = wire_decode_get_region_io_fds(request->payload, request->length, &reply.info,
	                                       &request->why);

	if (rc)
		return rc;
	if (reply.info.index >= device_regions(session->dev))
		return refuse(request, -EINVAL, "index: below num_regions expected");
	count = device_doorbells(session->dev, reply.info.index, doorbells,
	                         count < MAX_IO_FDS ? count : MAX_IO_FDS);
	room = (unsigned)((reply.info.argsz - sizeof(reply.info)) / sizeof(reply.list[0]));
	reply.info.argsz = (uint32_t)(sizeof(reply.info) + count * sizeof(reply.list[0]));
	reply.info.count = count;
	/* Too little room: how much is needed, and nothing else. */
	if (room < count)
		return session_reply(session, &request->header, &reply.info, sizeof(reply.info));
	for (unsigned i = 0; i < count; i++) {
		rc = describe_doorbell(session, &doorbells[i], &reply.list[i], &fds[i]);
		if (rc)
			return refuse(request, rc, "an eventfd cannot be made");
		reply.list[i].fd_index = i;
	}
	return session_reply_fds(session, &request->header, &reply, reply.info.argsz, fds, count);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Device and region information, and access to regions. */
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
		.num_regions = DEVICE_REGIONS,
		.num_irqs = PCI_IRQ_KINDS,
	};
	return session_reply(session, &request->header, &info, sizeof(info));
}

int session_get_region_info(struct session *session, struct request *request)
{
	struct device_region_info region;
	struct wire_region_info info;
	int rc = wire_decode_get_region_info(request->payload, request->length, &info,
	                                     &request->why);

	if (rc)
		return rc;
	if (info.index >= DEVICE_REGIONS)
		return refuse(request, -EINVAL, "index: below 9 expected");
	device_region_info(session->dev, info.index, &region);
	info = (struct wire_region_info){
		.argsz = sizeof(info),
		.flags = (region.readable ? WIRE_REGION_READABLE : 0) |
	                 (region.writeable ? WIRE_REGION_WRITEABLE : 0),
		.index = info.index,
		.size = region.size,
	};
	return session_reply(session, &request->header, &info, sizeof(info));
}

/* No region has any: an empty list is the answer, not an error. */
int session_get_region_io_fds(struct session *session, struct request *request)
{
	struct wire_region_io_fds info;
	int rc = wire_decode_get_region_io_fds(request->payload, request->length, &info,
	                                       &request->why);

	if (rc)
		return rc;
	if (info.index >= DEVICE_REGIONS)
		return refuse(request, -EINVAL, "index: below 9 expected");
	info.argsz = sizeof(info);
	return session_reply(session, &request->header, &info, sizeof(info));
}

int session_region_read(struct session *session, struct request *request)
{
	struct wire_region_access access;
	size_t size;
	uint8_t *message;
	int rc =
		wire_decode_region_read(request->payload, request->length,
	                                session->limits.max_data_xfer_size, &access, &request->why);

	if (rc)
		return rc;
	/* Straight into the reply; if none is wanted, the read may still have effects. */
	size = sizeof(struct wire_header) + sizeof(access) + access.count;
	message = session->link->reserve(session->link, size);
	if (!message)
		return 0;
	rc = device_region_read(session->dev, access.region, access.offset,
	                        message + sizeof(struct wire_header) + sizeof(access),
	                        access.count);
	if (rc)
		return refuse(request, rc, "region, offset, count: not within a readable region");
	if (request->header.flags & WIRE_NO_REPLY)
		return 0;
	wire_encode_reply(message, &request->header, (uint32_t)size);
	memcpy(message + sizeof(struct wire_header), &access, sizeof(access));
	session->link->commit(session->link, size, NULL, 0);
	return 0;
}

int session_region_write(struct session *session, struct request *request)
{
	struct wire_region_access access;
	const uint8_t *data;
	int rc = wire_decode_region_write(request->payload, request->length,
	                                  session->limits.max_data_xfer_size, &access, &data,
	                                  &request->why);

	if (rc)
		return rc;
	rc = device_region_write(session->dev, access.region, access.offset, data, access.count);
	if (rc)
		return refuse(request, rc, "region, offset, count: not within a writeable region");
	return session_reply(session, &request->header, &access, sizeof(access));
}

/* Stops at the first write that fails; the reply says how many were done. */
int session_region_write_multi(struct session *session, struct request *request)
{
	struct wire_small_write write;
	uint64_t count, done;
	int rc;

	if (!session->client.write_multiple)
		return refuse(request, -ENOTSUP, "write_multiple was not negotiated");
	rc = wire_decode_region_write_multi(request->payload, request->length, &count,
	                                    &request->why);
	if (rc)
		return rc;
	for (done = 0; done < count; done++) {
		wire_small_write_at(request->payload, done, &write);
		rc = device_region_write(session->dev, write.region, write.offset, write.data,
		                         write.count);
		if (rc)
			break;
	}
	if (rc && !done)
		return refuse(request, rc, "region, offset, count: not within a writeable region");
	if (rc)
		log_warn(session->log, "%s: write %llu is not within a writeable region",
		         wire_command_name(request->header.command), (unsigned long long)done);
	return session_reply(session, &request->header, &done, sizeof(done));
}

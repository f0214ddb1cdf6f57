/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * REGION_READ, REGION_WRITE and REGION_WRITE_MULTI.
 *
 * A megabyte of registers is a quarter of a million calls of the model, and others wait for the
 * same loop. So what is long is done in slices, a slice in each turn, while the link is paused. A
 * slice ends where no register is cut: at a multiple of SLICE in the region; or after a write.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "internal.h"

enum {
	SLICE = 8192,       /* bytes of a read or write */
	SLICE_WRITES = 512, /* of REGION_WRITE_MULTI, at most, */
	CLOCK_WRITES = 16,  /* and so many between two looks at the clock */
};

/*
 * Keeps the request's payload, with room for more bytes behind it, and goes on from the loop. done
 * is what was done already.
 */
static int begin_long(struct session *session, const struct request *request, size_t more,
                      uint64_t done)
{
	struct session_access *long_one = &session->wait.access;

	long_one->payload = malloc(request->length + more);
	if (!long_one->payload)
		return -ENOMEM;
	memcpy(long_one->payload, request->payload, request->length);
	long_one->done = done;
	return session_wait_begin_later(session, SESSION_WAIT_ACCESS, &request->header);
}

static int read_at_once(struct session *session, struct request *request,
                        const struct wire_region_access *access)
{
	size_t size = sizeof(struct wire_header) + sizeof(*access) + access->count;
	uint8_t *message = session->link->reserve(session->link, size);

	/* Straight into the reply; if none is wanted, the read may still have effects. */
	if (!message)
		return 0;
	device_region_read(session->dev, access->region, access->offset,
	                   message + sizeof(struct wire_header) + sizeof(*access), access->count);
	if (request->header.flags & WIRE_NO_REPLY)
		return 0;
	session_stats_of(session, WIRE_REGION_READ)->bytes += size;
	wire_encode_reply(message, &request->header, (uint32_t)size);
	memcpy(message + sizeof(struct wire_header), access, sizeof(*access));
	session->link->commit(session->link, size, NULL, 0);
	return 0;
}

/* To write to a BAR is to use the device; see device_client_left(). */
static int write_region(struct session *session, unsigned region, uint64_t offset, const void *data,
                        size_t length)
{
	int rc = device_region_write(session->dev, region, offset, data, length);

	if (!rc && region != DEVICE_REGION_CONFIG)
		device_client_uses(session->dev);
	return rc;
}

int session_region_read(struct session *session, struct request *request)
{
	struct wire_region_access access;
	int rc =
		wire_decode_region_read(request->payload, request->length,
	                                session->limits.max_data_xfer_size, &access, &request->why);

	if (rc)
		return rc;
	rc = device_region_check(session->dev, access.region, access.offset, access.count, false);
	if (rc)
		return refuse(request, rc, "region, offset, count: not within a readable region");
	if (access.count > SLICE)
		return begin_long(session, request, access.count, 0);
	return read_at_once(session, request, &access);
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
	rc = device_region_check(session->dev, access.region, access.offset, access.count, true);
	if (rc)
		return refuse(request, rc, "region, offset, count: not within a writeable region");
	if (access.count > SLICE)
		return begin_long(session, request, 0, 0);
	write_region(session, access.region, access.offset, data, access.count);
	return session_reply(session, &request->header, &access, sizeof(access));
}

/*
 * Does writes from number *done on, SLICE_WRITES at most, as long as there is time. Stops at the
 * first one that fails. 0: all are done; -EAGAIN; or why the next one can't be done.
 */
static int write_some(struct session *session, const void *payload, uint64_t *done)
{
	struct wire_small_write write;
	uint64_t count, begun = *done, end = begun + SLICE_WRITES;
	int rc = 0;

	memcpy(&count, payload, sizeof(count));
	for (; !rc && *done < count && *done < end; *done += !rc) {
		if (*done != begun && *done % CLOCK_WRITES == 0 &&
		    ob_loop_spent(ob_dev_loop(session->dev)))
			return -EAGAIN;
		wire_small_write_at(payload, *done, &write);
		rc = write_region(session, write.region, write.offset, write.data, write.count);
	}
	return rc || *done == count ? rc : -EAGAIN;
}

/* The reply says how many were done. */
static int reply_written(struct session *session, const struct wire_header *request, uint64_t done,
                         int rc)
{
	if (rc)
		log_warn(session->log, "%s: write %llu is not within a writeable region",
		         wire_command_name(request->command), (unsigned long long)done);
	return session_reply(session, request, &done, sizeof(done));
}

int session_region_write_multi(struct session *session, struct request *request)
{
	uint64_t count, done = 0;
	int rc;

	if (!session->client.write_multiple)
		return refuse(request, -ENOTSUP, "write_multiple was not negotiated");
	rc = wire_decode_region_write_multi(request->payload, request->length, &count,
	                                    &request->why);
	if (rc)
		return rc;
	rc = write_some(session, request->payload, &done);
	if (rc == -EAGAIN)
		rc = begin_long(session, request, 0, done);
	if (rc == -EINPROGRESS)
		return rc;
	/* Some were done; the reply says how many, and the client sends the rest again. */
	if (rc == -ENOMEM && done)
		return reply_written(session, &request->header, done, 0);
	if (rc == -ENOMEM)
		return rc;
	if (rc && !done)
		return refuse(request, rc, "region, offset, count: not within a writeable region");
	return reply_written(session, &request->header, done, rc);
}

/* The rest of a read or write, up to the next multiple of SLICE. 0 (that was all) or -EAGAIN. */
static int access_some(struct session *session, bool write)
{
	struct session_access *long_one = &session->wait.access;
	struct wire_region_access access;
	uint64_t offset;
	uint8_t *data;
	uint32_t length;

	memcpy(&access, long_one->payload, sizeof(access));
	offset = access.offset + long_one->done;
	data = long_one->payload + sizeof(access) + long_one->done;
	length = SLICE - (uint32_t)(offset % SLICE);
	if (length > access.count - long_one->done)
		length = access.count - (uint32_t)long_one->done;
	if (write)
		write_region(session, access.region, offset, data, length);
	else
		device_region_read(session->dev, access.region, offset, data, length);
	long_one->done += length;
	return long_one->done < access.count ? -EAGAIN : 0;
}

static int access_step(struct session *session)
{
	struct session_access *long_one = &session->wait.access;
	unsigned command = session->wait.request.command;

	if (command != WIRE_REGION_WRITE_MULTI)
		return access_some(session, command == WIRE_REGION_WRITE);
	return write_some(session, long_one->payload, &long_one->done);
}

static void access_reply(struct session *session, int status)
{
	const struct session_access *long_one = &session->wait.access;
	const struct wire_header *request = &session->wait.request;
	struct wire_region_access access;

	if (request->command != WIRE_REGION_WRITE_MULTI) {
		memcpy(&access, long_one->payload, sizeof(access));
		session_reply(session, request, long_one->payload,
		              sizeof(access) +
		                      (request->command == WIRE_REGION_READ ? access.count : 0));
	} else if (status && !long_one->done) {
		session_reply_error(session, request, status);
	} else {
		reply_written(session, request, long_one->done, status);
	}
}

const struct session_wait_ops session_wait_access = {
	.name = "an access to a region",
	.slices = true,
	.step = access_step,
	.reply = access_reply,
};

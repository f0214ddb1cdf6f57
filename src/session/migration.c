/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration: the features that are about it (states, and the log of pages that the device writes),
 * and the commands that carry its data. What a migration is, is in src/migrate; the log in src/dma.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/fd.h"
#include "feature.h"

enum { WORD_BITS = 64 };

static int get_migration(struct session *session, struct feature_call *call)
{
	const struct wire_migration states = {WIRE_MIGRATION_STOP_COPY | WIRE_MIGRATION_PRE_COPY};
	uint8_t *reply = feature_reply(session, call, sizeof(states));

	if (reply)
		memcpy(reply, &states, sizeof(states));
	return 0;
}

static int get_state(struct session *session, struct feature_call *call)
{
	const struct wire_mig_device_state state = {migrate_state(session->migration), UINT32_MAX};
	uint8_t *reply = feature_reply(session, call, sizeof(state));

	if (reply)
		memcpy(reply, &state, sizeof(state));
	return 0;
}

/* A way that took time has come to its end. */
static void migrated(struct migrate_waiter *waiter, int status)
{
	struct session *session = container_of(waiter, struct session, migrate_waiter);

	session->migrate_status = status;
	session_wait_step(session);
}

/* What the migration said, or will say. */
static int asked_migration(struct session *session, int rc)
{
	session->asked = rc == -EINPROGRESS;
	return rc;
}

int session_migrate_reset(struct session *session)
{
	session->migrate_waiter.done = migrated;
	return asked_migration(session,
	                       migrate_reset(session->migration, &session->migrate_waiter));
}

static int state_step(struct session *session)
{
	int rc = session->migrate_status;

	if (!session->asked) {
		session->migrate_waiter.done = migrated;
		rc = asked_migration(session,
		                     migrate_set_state(session->migration,
		                                       session->wait.set_state.state.device_state,
		                                       &session->migrate_waiter));
	}
	return rc == -EAGAIN ? -EBUSY : rc; /* of a file's lock: that is no wait */
}

static void state_reply(struct session *session, int status)
{
	if (!status) {
		session_reply(session, &session->wait.request, &session->wait.set_state,
		              sizeof(session->wait.set_state));
		return;
	}
	log_warn(session->log, "DEVICE_FEATURE (%u) fails: %s", WIRE_DEVICE_FEATURE,
	         migrate_why(session->migration));
	session_reply_error(session, &session->wait.request, status);
}

const struct session_wait_ops session_wait_device_state = {
	.name = "the migration",
	.step = state_step,
	.reply = state_reply,
	.cancel = session_wait_stays,
};

/* The rest of a SET has replied, or will. */
static int answered(int rc)
{
	return rc ? rc : -EINPROGRESS;
}

static int set_state(struct session *session, struct feature_call *call)
{
	struct session_wait *wait = &session->wait;
	int rc;

	if (call->length != sizeof(wait->set_state.state)) {
		call->why = "message size: 16 + 16 bytes expected";
		return -EINVAL;
	}
	wait->set_state.header = call->header;
	memcpy(&wait->set_state.state, call->data, sizeof(wait->set_state.state));
	session->moves = true;
	rc = session_wait_begin(session, SESSION_WAIT_DEVICE_STATE, &call->request->header);
	call->why = migrate_why(session->migration);
	return answered(rc);
}

static int start_logging(struct session *session, struct feature_call *call)
{
	struct wire_dma_logging start;
	cleanup_free struct dma_log_range *ranges = NULL;
	size_t size = call->length - sizeof(start);
	uint64_t page_size;
	int rc;

	_Static_assert(sizeof(*ranges) == sizeof(struct wire_dma_range), "the same");
	memcpy(&start, call->data, sizeof(start));
	call->why = "ranges: num_ranges of 16 bytes each expected";
	if (size / sizeof(*ranges) != start.num_ranges || size % sizeof(*ranges))
		return -EINVAL;
	ranges = malloc(size + 1);
	if (!ranges)
		return -ENOMEM;
	memcpy(ranges, call->data + sizeof(start), size);
	page_size = start.page_size;
	rc = dma_log_start(session->dma, &page_size, ranges, start.num_ranges);
	call->first = page_size;
	call->renew = true;
	call->why = rc == -EBUSY ? "logging is on already"
	                         : "ranges: whole pages that do not overlap, within bounds";
	return rc;
}

bool session_reap_log(struct session *session)
{
	while (!dma_log_reap(session->dma)) {
		if (ob_loop_spent(ob_dev_loop(session->dev)))
			return false;
	}
	return true;
}

static int log_stop_step(struct session *session)
{
	return session_reap_log(session) ? 0 : -EAGAIN;
}

static void log_stop_reply(struct session *session, int status)
{
	const struct wire_device_feature *header = &session->wait.report.header;

	session_reply(session, &session->wait.request, header, sizeof(*header));
}

const struct session_wait_ops session_wait_log_stop = {
	.name = "DMA_LOGGING_STOP",
	.slices = true,
	.step = log_stop_step,
	.reply = log_stop_reply,
};

static int stop_logging(struct session *session, struct feature_call *call)
{
	dma_log_stop(session->dma);
	if (session_reap_log(session))
		return 0;
	session->wait.report.header = call->header;
	return session_wait_begin_later(session, SESSION_WAIT_LOG_STOP, &call->request->header);
}

uint32_t session_max_bitmap(const struct session_limits *limits)
{
	uint32_t front = sizeof(struct wire_device_feature) + sizeof(struct wire_dma_report);
	uint32_t room = limits->max_data_xfer_size;

	return room > front ? (room - front) & ~(uint32_t)7 : 0;
}

static int check_report(const struct session *session, const struct wire_dma_report *report,
                        uint64_t *bitmap, struct feature_call *call)
{
	uint64_t pages;

	call->why = "page_size: a power of 2 expected";
	if (!is_power_of_2(report->page_size))
		return -EINVAL;
	call->why = "length: more than 0 expected";
	if (!report->length)
		return -EINVAL;
	call->why = "iova + length: at most 2^64 expected";
	if (report->length - 1 > UINT64_MAX - report->iova)
		return -EOVERFLOW;
	call->why = "logging is off";
	if (!dma_log_active(session->dma))
		return -EINVAL;
	pages = (report->length - 1) / report->page_size + 1;
	*bitmap = ((pages - 1) / WORD_BITS + 1) * sizeof(uint64_t);
	call->why = "length: the bitmap would be longer than max_bitmap_size";
	return *bitmap > session_max_bitmap(&session->limits) ? -E2BIG : 0;
}

/* A part of the bitmap. */
static int report_step(struct session *session)
{
	while (dma_log_report(session->dma, &session->wait.report.log) == -EAGAIN) {
		if (ob_loop_spent(ob_dev_loop(session->dev)))
			return -EAGAIN;
	}
	return 0;
}

static void report_reply(struct session *session, int status)
{
	struct session_report *report = &session->wait.report;
	const struct iovec parts[] = {{&report->asked, sizeof(report->asked)},
	                              {report->log.bits, report->size}};

	feature_reply_later(session, &report->header, parts);
}

const struct session_wait_ops session_wait_log_report = {
	.name = "DMA_LOGGING_REPORT",
	.slices = true,
	.step = report_step,
	.reply = report_reply,
};

static int report_logging(struct session *session, struct feature_call *call)
{
	struct session_report *report = &session->wait.report;
	uint64_t bitmap;
	int rc;

	memcpy(&report->asked, call->data, sizeof(report->asked));
	rc = check_report(session, &report->asked, &bitmap, call);
	if (rc)
		return rc;
	/* Without room for it, it is not made: pages that it has are forgotten. */
	if (!feature_has_room(call, sizeof(report->asked) + bitmap))
		return 0;
	report->log = (struct dma_log_report){
		.address = report->asked.iova,
		.length = report->asked.length,
		.page_size = report->asked.page_size,
		.bits = calloc(1, bitmap),
	};
	if (!report->log.bits)
		return -ENOMEM;
	report->header = call->header;
	report->size = bitmap;
	return answered(
		session_wait_begin(session, SESSION_WAIT_LOG_REPORT, &call->request->header));
}

/* Not in vfio-user's list, but the same as VFIO's: how much would come in STOP_COPY. */
static int get_data_size(struct session *session, struct feature_call *call)
{
	uint64_t size = migrate_pending(session->migration);
	uint8_t *reply = feature_reply(session, call, sizeof(size));

	if (reply)
		memcpy(reply, &size, sizeof(size));
	return 0;
}

const struct feature session_features[] = {
	{.index = WIRE_FEATURE_MIGRATION, .get = get_migration},
	{.index = WIRE_FEATURE_MIG_DEVICE_STATE,
         .set_length = sizeof(struct wire_mig_device_state),
         .get = get_state,
         .set = set_state},
	{.index = WIRE_FEATURE_DMA_LOGGING_START,
         .set_length = sizeof(struct wire_dma_logging),
         .set = start_logging},
	{.index = WIRE_FEATURE_DMA_LOGGING_STOP, .set = stop_logging},
	{.index = WIRE_FEATURE_DMA_LOGGING_REPORT,
         .get_length = sizeof(struct wire_dma_report),
         .get = report_logging},
	{.index = WIRE_FEATURE_MIG_DATA_SIZE, .get = get_data_size},
	{0},
};

/* The commands that carry data */

static int refuse_migration(struct request *request)
{
	return refuse(request, -ENOTSUP, "the device does not migrate");
}

int session_mig_data_read(struct session *session, struct request *request)
{
	struct wire_mig_data read;
	uint8_t *message;
	size_t front = sizeof(struct wire_header) + sizeof(read);
	ssize_t got;
	int rc =
		wire_decode_mig_data_read(request->payload, request->length,
	                                  session->limits.max_data_xfer_size, &read, &request->why);

	if (rc)
		return rc;
	if (!session->migration)
		return refuse_migration(request);
	message = session->link->reserve(session->link, front + read.size);
	/* Nobody would get it. */
	if (!message || request->header.flags & WIRE_NO_REPLY)
		return 0;
	got = migrate_read(session->migration, message + front, read.size);
	if (got < 0)
		return refuse(request, (int)got, migrate_why(session->migration));
	read.size = (uint32_t)got;
	read.argsz = (uint32_t)(sizeof(read) + (size_t)got);
	wire_encode_reply(message, &request->header, (uint32_t)(front + (size_t)got));
	memcpy(message + sizeof(struct wire_header), &read, sizeof(read));
	session->link->commit(session->link, front + (size_t)got, NULL, 0);
	return 0;
}

int session_mig_data_write(struct session *session, struct request *request)
{
	struct wire_mig_data write;
	const uint8_t *data;
	int rc = wire_decode_mig_data_write(request->payload, request->length,
	                                    session->limits.max_data_xfer_size, &write, &data,
	                                    &request->why);

	if (rc)
		return rc;
	if (!session->migration)
		return refuse_migration(request);
	rc = migrate_write(session->migration, data, write.size);
	if (rc)
		return refuse(request, rc, migrate_why(session->migration));
	return session_reply(session, &request->header, NULL, 0);
}

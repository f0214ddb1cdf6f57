/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client's session: negotiation, and the table of commands.
 *
 * Commands are handled in the order in which they come, one at a time. Some of them may have to
 * wait (wait.h): DMA_UNMAP for pins, RESET for the device to be quiet, a change of the migration's
 * state for that and for its drives, a long access to a region for its next turn of the loop.
 * Meanwhile the link is paused, so that nothing is taken from the client, its replies to our
 * requests included. That cannot deadlock, because no such wait needs the client: a pin is held
 * only between ob_xfer_begin() and ob_xfer_end(), with nothing in between that waits for the
 * client, and a model that is told to be quiet drops what waits for the client instead of waiting
 * for it.
 */
#include "session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "feature.h"
#include "internal.h"

enum { MIN_MAX_MESSAGE = 32768 }; /* VERSION with much JSON, SET_IRQS with many vectors */

/*
 * QEMU's client refuses a server that offers more than 16 descriptors in a message, or a
 * transfer size above 64 MiB.
 */
const struct session_limits session_default_limits = {
	.max_data_xfer_size = WIRE_DEFAULT_DATA_XFER_SIZE,
	.max_msg_fds = 16,
	.max_dma_maps = WIRE_DEFAULT_DMA_MAPS,
	.max_fds = 1024,
	.twin_socket = true,
	.slow_ns = 1000000000,
};

size_t session_max_message(const struct session_limits *limits)
{
	size_t size = sizeof(struct wire_header) + sizeof(struct wire_dma_access) +
	              limits->max_data_xfer_size;

	return size < MIN_MAX_MESSAGE ? MIN_MAX_MESSAGE : size;
}

/* The client has cut a file that it shared; see dma/guard.h. */
static void memory_lost(struct dma_watcher *watcher, uint64_t address, uint64_t size)
{
	struct session *session = container_of(watcher, struct session, watcher);

	log_fact(
		session->log, LOG_ERROR,
		"the client's memory at 0x%llx (0x%llx bytes) is gone: the file that it shared was "
		"cut, or has no pages",
		(unsigned long long)address, (unsigned long long)size);
	session_give_up(session, -EFAULT);
}

/* As of memory-backend-file and memory-backend-memfd with share=off: the guest has a copy. */
static void memory_unshared(struct dma_watcher *watcher, uint64_t address, uint64_t size)
{
	struct session *session = container_of(watcher, struct session, watcher);

	if (!session->warned_of_memory)
		log_warn(session->log,
		         "guest memory is not shared (0x%llx bytes at 0x%llx): what the guest "
		         "writes "
		         "does not appear in the descriptor that the client gave. Reached by "
		         "messages "
		         "from now on, slowly: add share=on",
		         (unsigned long long)size, (unsigned long long)address);
	session->warned_of_memory = true;
}

/* Negotiation */

/* A twin socket's client end if one is proposed, wanted and can be had; else -1. */
static int make_twin(struct session *session, const struct wire_capabilities *client)
{
	struct session_link *link = session->link;
	int fd;

	if (!client->twin_socket || !client->max_msg_fds || !session->limits.twin_socket ||
	    !link->make_twin)
		return -1;
	fd = link->make_twin(link, &session->twin);
	if (fd >= 0)
		return fd;
	log_fact(session->log, LOG_WARN, "no twin socket: %s", strerror(-fd));
	return -1;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int negotiate(struct session *session, struct request *request)
{
	uint8_t payload[WIRE_VERSION_REPLY_ROOM];
	struct wire_version version;
	struct wire_capabilities *client = &version.capabilities;
	cleanup_fd int twin = -1;
	uint64_t pgsizes;
	int rc;

	if (session->state != SESSION_NEGOTIATING)
		return refuse(request, -EINVAL, "the version was negotiated already");
	rc = wire_decode_version(request->payload, request->length, &version, &request->why);
	if (rc)
		return rc;
	if (version.major != WIRE_MAJOR)
		return refuse(request, -EINVAL, "version major: 0 expected");
	session->client = *client;
	twin = make_twin(session, client);
	if (version.minor > WIRE_MINOR)
		version.minor = WIRE_MINOR;
	session->minor = version.minor;
	/* Maps may have any size from the smallest page size on. */
	pgsizes = client->pgsizes & ~(uint64_t)(WIRE_DEFAULT_PGSIZES - 1);
	version.capabilities = (struct wire_capabilities){
		.max_msg_fds = session->limits.max_msg_fds,
		.max_data_xfer_size = session->limits.max_data_xfer_size,
		.max_dma_maps = session->limits.max_dma_maps,
		.pgsizes = pgsizes ? pgsizes : WIRE_DEFAULT_PGSIZES,
		.write_multiple = client->write_multiple,
		.twin_socket = twin >= 0,
		.migration = session->migration && client->migration,
		.max_bitmap_size =
			smaller(client->max_bitmap_size, session_max_bitmap(&session->limits)),
		.migration_pgsize = WIRE_DEFAULT_PGSIZES,
	};
	session_move(session, SESSION_RUNNING);
	return session_reply_fds(session, &request->header, payload,
	                         wire_encode_version(payload, &version), &twin, twin >= 0);
}

/* Dispatch */

static session_handler *const handlers[WIRE_COMMANDS] = {
	[WIRE_VERSION] = negotiate,
	[WIRE_DMA_MAP] = session_dma_map,
	[WIRE_DMA_UNMAP] = session_dma_unmap,
	[WIRE_GET_INFO] = session_get_info,
	[WIRE_GET_REGION_INFO] = session_get_region_info,
	[WIRE_GET_REGION_IO_FDS] = session_get_region_io_fds,
	[WIRE_GET_IRQ_INFO] = session_get_irq_info,
	[WIRE_SET_IRQS] = session_set_irqs,
	[WIRE_REGION_READ] = session_region_read,
	[WIRE_REGION_WRITE] = session_region_write,
	[WIRE_RESET] = session_reset,
	[WIRE_REGION_WRITE_MULTI] = session_region_write_multi,
	[WIRE_DEVICE_FEATURE] = session_device_feature,
	[WIRE_MIG_DATA_READ] = session_mig_data_read,
	[WIRE_MIG_DATA_WRITE] = session_mig_data_write,
};

static int handle(struct session *session, struct request *request)
{
	unsigned command = request->header.command;

	if (session->state == SESSION_NEGOTIATING && command != WIRE_VERSION)
		return refuse(request, -EINVAL, "VERSION expected first");
	if (session->lost_fds)
		return refuse(request, -EMFILE,
		              "its descriptors are lost: the process has no room for more");
	if (request->fd_count > session->limits.max_msg_fds)
		return refuse(request, -EINVAL, "descriptors: at most max_msg_fds expected");
	if (command >= WIRE_COMMANDS || !handlers[command])
		return refuse(request, -ENOTSUP, "not supported");
	return handlers[command](session, request);
}

static void take_command(struct session *session, struct request *request)
{
	bool negotiating = session->state == SESSION_NEGOTIATING;
	int rc;

	log_trace(session->log, "%s (%u): %zu bytes, %u descriptors",
	          wire_command_name(request->header.command), request->header.command,
	          request->length, request->fd_count);
	session_stats_begin(session, request->header.command,
	                    sizeof(struct wire_header) + request->length);
	rc = handle(session, request);
	session_count_fds(session);
	if (session->state != SESSION_WAITING)
		session_stats_end(session);

	if (!rc || rc == -EINPROGRESS)
		return;
	log_warn(session->log, "%s (%u) fails: %s", wire_command_name(request->header.command),
	         request->header.command, request->why ? request->why : strerror(-rc));
	session_reply_error(session, &request->header, rc);
	/* Without an agreement there is nothing to go on with. */
	if (negotiating)
		session_give_up(session, -EPROTO);
}

void session_message(struct session *session, uint8_t *message, size_t length, int *fds,
                     unsigned fd_count)
{
	struct request request = {
		.payload = message + sizeof(struct wire_header),
		.length = length - sizeof(struct wire_header),
		.fds = fds,
		.fd_count = fd_count,
	};
	unsigned type;

	assert(length >= sizeof(struct wire_header) && !session->busy);
	if (session->state == SESSION_CLOSED)
		return;
	assert(session->state == SESSION_NEGOTIATING || session->state == SESSION_RUNNING);
	session->busy = true;
	wire_decode_header(message, &request.header);
	type = request.header.flags & WIRE_TYPE_MASK;
	if (type == WIRE_TYPE_COMMAND)
		take_command(session, &request);
	else if (type == WIRE_TYPE_REPLY && session->twin)
		session_violation(session, "a reply on the main socket: expected on the twin");
	else if (type == WIRE_TYPE_REPLY)
		session_remote_reply(session, &request);
	else
		session_violation(session, "message type %u: 0 (command) or 1 (reply) expected",
		                  type);
	session->busy = session->lost_fds = false;
	session_remote_send(session);
}

void session_lost_fds(struct session *session)
{
	session->lost_fds = true;
}

/* Also while a command of the main socket waits: this socket is never paused. */
void session_twin_message(struct session *session, uint8_t *message, size_t length)
{
	struct request request = {
		.payload = message + sizeof(struct wire_header),
		.length = length - sizeof(struct wire_header),
	};

	assert(length >= sizeof(struct wire_header) && !session->busy);
	if (session->state == SESSION_CLOSED)
		return;
	session->busy = true;
	wire_decode_header(message, &request.header);
	if ((request.header.flags & WIRE_TYPE_MASK) == WIRE_TYPE_REPLY)
		session_remote_reply(session, &request);
	else
		session_violation(session, "a command on the twin socket: only replies expected");
	session->busy = false;
	session_remote_send(session);
}

struct session *session_new(struct ob_dev *dev, const struct session_limits *limits,
                            struct session_link *link, struct log *log)
{
	struct session *session = calloc(1, sizeof(*session));

	if (!session)
		return NULL;
	session->irqs.notifier = notifier_get(ob_dev_loop(dev));
	if (!session->irqs.notifier) {
		free(session);
		return NULL;
	}
	session->dev = dev;
	session->pci = device_pci(dev);
	session->dma = device_dma(dev);
	session->migration = migrate_of(dev);
	session->link = link;
	session->log = log;
	session->limits = *limits;
	session->owner = limits->client;
	session->minor = -1;
	session->watcher.lost = memory_lost;
	session->watcher.unshared = memory_unshared;
	dma_set_watcher(session->dma, &session->watcher);
	dma_set_limits(session->dma, limits->max_dma_maps, limits->max_fds);
	session_irqs_init(session);
	session_memory_init(session);
	session_wait_init(session);
	session_slow_init(session);
	session_remote_init(session);
	device_client_came(dev);
	return session;
}

int session_hold_shared(struct ob_loop *loop)
{
	return notifier_get(loop) ? 0 : -ENOMEM;
}

void session_drop_shared(struct ob_loop *loop)
{
	notifier_put(loop);
}

void session_free(struct session *session)
{
	if (!session)
		return;
	assert(session->state == SESSION_ENDED);
	session_remote_free(session);
	free(session);
}

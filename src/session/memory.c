/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA_MAP, DMA_UNMAP and RESET: the commands that touch what is in flight, the latter two by
 * waiting. */
#include <errno.h>
#include <sys/stat.h>

#include "internal.h"

/*
 * The map's descriptor; -1: there is none, or it is not used, since whatever is done with it may
 * sleep, and with it all devices of the process. Then the memory is reached by messages.
 */
static int usable_fd(struct session *session, const struct request *request)
{
	int fd = request->fd_count ? request->fds[0] : -1;

	if (fd < 0 || session->limits.any_memory || dma_fd_is_memory(fd))
		return fd;
	if (!session->warned_of_fd)
		log_warn(session->log,
		         "DMA_MAP: the descriptor is not a file in memory (memfd, tmpfs, "
		         "hugetlbfs): what it stands for is reached by messages, slowly. Have the "
		         "client use memory-backend-memfd, or say dma-fds=any");
	session->warned_of_fd = true;
	return -1;
}

/*
 * Whose memory it is
 *
 * A client that left has a controller behind that knows addresses in its memory. If another one
 * maps its own there and does not reset the device (some never do), the controller would write into
 * that. So the device is reset before, unless who comes is who left: the same process, with the
 * same memory, as far as that can be told: the first file that it maps is one that was mapped.
 */

enum { LOOKED_AT = 64 }; /* maps of a session whose file is asked for */

static bool has_file(const struct device_owner *owner, const struct stat *st)
{
	for (unsigned i = 0; i < owner->files; i++) {
		if (owner->file[i].device == st->st_dev && owner->file[i].inode == st->st_ino)
			return true;
	}
	return false;
}

/* fd is memory that this client is about to map, which nobody can make us wait for; or -1. */
static void note_file(struct session *session, int fd)
{
	struct device_owner *owner = &session->owner;
	struct stat st;

	if (session->maps == LOOKED_AT)
		return;
	session->maps++;
	if (fd < 0 || owner->files == DEVICE_OWNER_FILES || fstat(fd, &st) || has_file(owner, &st))
		return;
	owner->file[owner->files].device = st.st_dev;
	owner->file[owner->files++].inode = st.st_ino;
}

static bool is_same_client(const struct session *session, const struct device_owner *left, int fd)
{
	const struct device_owner *here = &session->limits.client;
	struct stat st;

	if (!here->pid || !here->started || here->pid != left->pid ||
	    here->started != left->started)
		return false;
	return fd < 0 || !left->files || fstat(fd, &st) || has_file(left, &st);
}

/* Before the first map. Why the device is to be reset, or NULL. */
static const char *why_reset(const struct session *session, int fd)
{
	const struct device_owner *left = device_owner(session->dev);

	if (session->maps || !left || session->limits.reset_on_connect == SESSION_RESET_OFF)
		return NULL;
	if (session->limits.reset_on_connect == SESSION_RESET_ON)
		return "reset-on-connect=on";
	return is_same_client(session, left, fd) ? NULL
	                                         : "another client than the one that left it";
}

void session_leave_memory(struct session *session)
{
	if (session->maps)
		device_set_owner(session->dev, &session->owner);
}

void session_forget_maps(struct session *session)
{
	session->maps = 0;
	session->owner = session->limits.client;
}

static int map_memory(struct session *session, struct request *request,
                      const struct wire_dma_map *map, int fd)
{
	unsigned prot = 0;
	int rc;

	if (map->flags & WIRE_DMA_READABLE)
		prot |= DMA_READABLE;
	if (map->flags & WIRE_DMA_WRITEABLE)
		prot |= DMA_WRITEABLE;
	note_file(session, fd); /* which dma_map() may close */
	/* The offset means nothing without a descriptor, whatever the client left there. */
	rc = dma_map(session->dma, map->address, map->size, prot, fd, fd >= 0 ? map->offset : 0);
	if (rc == -ENOSPC)
		return refuse(request, rc, "the client has max-dma-maps maps already");
	if (rc == -EMFILE)
		return refuse(
			request, rc,
			"the server holds max-fds descriptors, or the client's share of those "
			"that the process has, already");
	if (rc == -EDQUOT)
		return refuse(request, -ENOSPC,
		              "the client has its share of what the process can map "
		              "(vm.max_map_count) already");
	if (!rc && fd >= 0)
		request->fds[0] = -1;
	return rc;
}

/* Quiet */

static void became_quiet(struct device_hold *hold)
{
	session_wait_step(container_of(hold, struct session, hold));
}

int session_make_quiet(struct session *session, enum device_hold_reason reason)
{
	if (!session->hold.held)
		return device_hold(session->dev, &session->hold, reason);
	return session->hold.waiting ? -EINPROGRESS : 0;
}

/* What was left is forgotten; where the device is on its way to another process, it stays there. */
static void reset_left(struct session *session)
{
	device_reset(session->dev);
	device_release(session->dev, &session->hold);
}

/*
 * The device begins nothing from here on, and nothing is in flight that knows of the new map: so
 * that can be there before the device is quiet. The reply comes then.
 */
static int map_after_reset(struct session *session, struct request *request,
                           const struct wire_dma_map *map, int fd, const char *why)
{
	int quiet = session_make_quiet(session, DEVICE_HOLD_RESET);
	int rc;

	log_info(session->log, "the device is reset: %s", why);
	if (!quiet)
		reset_left(session);
	rc = map_memory(session, request, map, fd);
	if (quiet && rc) {
		device_release(session->dev, &session->hold);
		session_forget_maps(session);
		return rc;
	}
	if (rc || !quiet)
		return rc ? rc : session_reply(session, &request->header, NULL, 0);
	return session_wait_begin(session, SESSION_WAIT_FIRST_MAP, &request->header);
}

static int first_map_step(struct session *session)
{
	int rc = session_make_quiet(session, DEVICE_HOLD_RESET);

	if (!rc)
		reset_left(session);
	return rc;
}

static void reply_empty(struct session *session, int status)
{
	session_reply(session, &session->wait.request, NULL, 0);
}

/* The hold is kept for the end of the session. */
static bool first_map_cancel(struct session *session)
{
	session_forget_maps(session);
	return true;
}

const struct session_wait_ops session_wait_first_map = {
	.name = "DMA_MAP",
	.step = first_map_step,
	.reply = reply_empty,
	.cancel = first_map_cancel,
};

int session_dma_map(struct session *session, struct request *request)
{
	struct wire_dma_map map;
	const char *why;
	int fd;
	int rc = wire_decode_dma_map(request->payload, request->length, &map, &request->why);

	if (rc)
		return rc;
	if (request->fd_count > 1)
		return refuse(request, -EINVAL, "descriptors: one or none expected");
	dma_set_limits(session->dma, session->limits.max_dma_maps,
	               dma_fd_count(session->dma) + session_may_hold(session, 1));
	fd = usable_fd(session, request);
	why = why_reset(session, fd);
	if (why)
		return map_after_reset(session, request, &map, fd, why);
	rc = map_memory(session, request, &map, fd);
	return rc ? rc : session_reply(session, &request->header, NULL, 0);
}

/* The reply says how much was unmapped, as VFIO does. */
int session_dma_unmap(struct session *session, struct request *request)
{
	struct dma_waiter *waiter = &session->unmap_waiter;
	struct wire_dma_unmap unmap;
	int rc = wire_decode_dma_unmap(request->payload, request->length, &unmap, &request->why);

	if (rc)
		return rc;
	if (unmap.flags & WIRE_DMA_UNMAP_ALL)
		rc = dma_unmap_all(session->dma, waiter);
	else
		rc = dma_unmap(session->dma, unmap.address, unmap.size, waiter);
	if (rc == -EINVAL)
		return refuse(request, rc, "address, size: a range that cuts no map expected");
	unmap.size = waiter->bytes; /* so far; the waiter has all of it in the end */
	if (!rc)
		return session_reply(session, &request->header, &unmap, sizeof(unmap));
	session->wait.unmap = unmap;
	if (rc == -EAGAIN)
		return session_wait_begin_later(session, SESSION_WAIT_UNMAP, &request->header);
	return session_wait_begin_asked(session, SESSION_WAIT_UNMAP, &request->header);
}

static int unmap_step(struct session *session)
{
	return dma_unmap_rest(session->dma, &session->unmap_waiter);
}

static void unmap_reply(struct session *session, int status)
{
	struct wire_dma_unmap *unmap = &session->wait.unmap;

	unmap->size = session->unmap_waiter.bytes;
	session_reply(session, &session->wait.request, unmap, sizeof(*unmap));
}

const struct session_wait_ops session_wait_unmap = {
	.name = "DMA_UNMAP",
	.step = unmap_step,
	.reply = unmap_reply,
	.cancel = session_wait_stays,
};

/* Perhaps from within whatever gave the last pin back: what comes next waits for the loop. */
static void unmapped(struct dma_waiter *waiter)
{
	session_wait_step_later(container_of(waiter, struct session, unmap_waiter));
}

/* Reset */

/* The device is quiet. It runs when its drives have been taken back. */
static int reset_now(struct session *session)
{
	int rc = 0;

	device_reset(session->dev);
	if (session->migration)
		rc = session_migrate_reset(session);
	device_release(session->dev, &session->hold);
	device_client_uses(session->dev);
	return rc;
}

static int reset_step(struct session *session)
{
	int rc;

	/* The device was reset. Whether it runs is to be asked for, and in the log. */
	if (session->asked)
		return 0;
	rc = session_make_quiet(session, DEVICE_HOLD_RESET);
	return rc ? rc : reset_now(session);
}

static bool reset_cancel(struct session *session)
{
	return !session->asked;
}

const struct session_wait_ops session_wait_reset = {
	.name = "DEVICE_RESET",
	.step = reset_step,
	.reply = reply_empty,
	.cancel = reset_cancel,
};

int session_reset(struct session *session, struct request *request)
{
	int rc = wire_decode_reset(request->length, &request->why);

	return rc ? rc : session_wait_begin(session, SESSION_WAIT_RESET, &request->header);
}

void session_memory_init(struct session *session)
{
	session->unmap_waiter.done = unmapped;
	session->hold.done = became_quiet;
}

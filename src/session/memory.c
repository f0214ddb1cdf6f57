/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA_MAP, DMA_UNMAP and RESET: the commands that touch what is in flight, the latter two by
 * waiting. */
#include <errno.h>

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

static int map_memory(struct session *session, struct request *request,
                      const struct wire_dma_map *map)
{
	int fd = usable_fd(session, request);
	unsigned prot = 0;
	int rc;

	if (map->flags & WIRE_DMA_READABLE)
		prot |= DMA_READABLE;
	if (map->flags & WIRE_DMA_WRITEABLE)
		prot |= DMA_WRITEABLE;
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

int session_dma_map(struct session *session, struct request *request)
{
	struct wire_dma_map map;
	int rc = wire_decode_dma_map(request->payload, request->length, &map, &request->why);

	if (rc)
		return rc;
	if (request->fd_count > 1)
		return refuse(request, -EINVAL, "descriptors: one or none expected");
	dma_set_limits(session->dma, session->limits.max_dma_maps,
	               dma_fd_count(session->dma) + session_may_hold(session, 1));
	rc = map_memory(session, request, &map);
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
	unmap.size = waiter->bytes;
	rc = session_unmapping(session, rc);
	if (rc == -EINPROGRESS) {
		session->waiting = request->header;
		session->unmap = unmap;
		session_move(session, SESSION_UNMAPPING);
	}
	return rc ? rc : session_reply(session, &request->header, &unmap, sizeof(unmap));
}

void session_reset_now(struct session *session)
{
	device_reset(session->dev);
	if (session->migration)
		migrate_reset(session->migration);
	device_resume(session->dev);
	device_client_uses(session->dev);
}

int session_reset(struct session *session, struct request *request)
{
	int rc = wire_decode_reset(request->length, &request->why);

	if (rc)
		return rc;
	rc = device_quiesce(session->dev, &session->quiesce_waiter);
	if (rc == -EINPROGRESS) {
		session->waiting = request->header;
		session_move(session, SESSION_RESETTING);
		return rc;
	}
	session_reset_now(session);
	return session_reply(session, &request->header, NULL, 0);
}

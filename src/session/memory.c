/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA_MAP, DMA_UNMAP and RESET: the commands that touch what is in flight, the latter two by
 * waiting. */
#include <errno.h>

#include "internal.h"

int session_dma_map(struct session *session, struct request *request)
{
	struct wire_dma_map map;
	unsigned prot = 0;
	int fd = -1;
	int rc = wire_decode_dma_map(request->payload, request->length, &map, &request->why);

	if (rc)
		return rc;
	if (request->fd_count > 1)
		return refuse(request, -EINVAL, "descriptors: one or none expected");
	if (request->fd_count)
		fd = request->fds[0];
	if (map.flags & WIRE_DMA_READABLE)
		prot |= DMA_READABLE;
	if (map.flags & WIRE_DMA_WRITEABLE)
		prot |= DMA_WRITEABLE;
	dma_set_limits(session->dma, session->limits.max_dma_maps,
	               session->limits.max_fds > session->irqs.held
	                       ? session->limits.max_fds - session->irqs.held
	                       : 0);
	/* The offset means nothing without a descriptor, whatever the client left there. */
	rc = dma_map(session->dma, map.address, map.size, prot, fd, fd >= 0 ? map.offset : 0);
	if (rc == -ENOSPC)
		return refuse(request, rc, "the client has max-dma-maps maps already");
	if (rc == -EMFILE)
		return refuse(request, rc, "the server holds max-fds descriptors already");
	if (rc)
		return rc;
	if (fd >= 0)
		request->fds[0] = -1;
	return session_reply(session, &request->header, NULL, 0);
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

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA by message: what the device reads and writes in memory that the client did not share becomes
 * DMA_READ and DMA_WRITE requests to the client.
 *
 * The bytes asked for at a time are bounded, whatever the number of operations; the others queue.
 * So neither a client that does not read its socket nor one that does not answer makes us hold more
 * than the bound. A request takes a slot, of which there are at most 65536, as message ids have
 * 16 bits.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum {
	FIRST_SLOTS = 16,
	MAX_SLOTS = 65536,
	MAX_SENT = 64,            /* requests */
	MAX_SENT_BYTES = 1 << 20, /* asked for in all of them, unless a single one is larger */
	/*
	 * Of one DMA_READ. QEMU (10.1 to 11.1) sends each message by one call that does not wait,
	 * and forgets what did not fit into the socket. The kernel takes up to 32 KiB and a page
	 * whole or not at all, and a message that was not taken is sent later.
	 */
	MAX_READ_BYTES = 32 << 10,
};

static const uint32_t SLOT_NONE = UINT32_MAX;

static int make_slots(struct session_remote *remote)
{
	uint32_t count = remote->slot_count ? 2 * remote->slot_count : FIRST_SLOTS;
	struct session_slot *slots;

	if (count > MAX_SLOTS)
		return -EAGAIN;
	slots = reallocarray(remote->slots, count, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (uint32_t i = remote->slot_count; i < count; i++)
		slots[i] = (struct session_slot){.next = i + 1 < count ? i + 1 : SLOT_NONE};
	remote->free = remote->slot_count;
	remote->slots = slots;
	remote->slot_count = count;
	return 0;
}

static void free_slot(struct session_remote *remote, uint32_t index)
{
	remote->slots[index] = (struct session_slot){.next = remote->free};
	remote->free = index;
}

static void enqueue(struct session_remote *remote, uint32_t index)
{
	remote->slots[index].next = SLOT_NONE;
	remote->slots[index].queued = true;
	if (remote->queue == SLOT_NONE)
		remote->queue = index;
	else
		remote->slots[remote->queue_last].next = index;
	remote->queue_last = index;
}

static uint32_t dequeue(struct session_remote *remote)
{
	uint32_t index = remote->queue;

	remote->queue = remote->slots[index].next;
	remote->slots[index].queued = false;
	return index;
}

/* Writes the request of a slot and sends it. False if the link is over. */
static bool send_slot(struct session *session, uint32_t index)
{
	struct session_slot *slot = &session->remote.slots[index];
	struct session_link *link = session->twin ? session->twin : session->link;
	struct wire_dma_access access = {slot->address, slot->count};
	size_t size = sizeof(struct wire_header) + sizeof(access);
	const uint8_t *data;
	uint8_t *message;

	if (slot->write)
		size += slot->count;
	message = link->reserve(link, size);
	if (!message)
		return false;
	wire_encode_command(message, (uint16_t)index, slot->write ? WIRE_DMA_WRITE : WIRE_DMA_READ,
	                    (uint32_t)size);
	memcpy(message + sizeof(struct wire_header), &access, sizeof(access));
	if (slot->write) {
		data = (const uint8_t *)slot->op->buffer + slot->op->transferred;
		memcpy(message + sizeof(struct wire_header) + sizeof(access), data, slot->count);
	}
	link->commit(link, size, NULL, 0);
	if (slot->write) {
		session->stats.dma.writes++;
		session->stats.dma.write_bytes += slot->count;
	} else {
		session->stats.dma.reads++;
		session->stats.dma.read_bytes += slot->count;
	}
	return true;
}

static bool may_send(const struct session_remote *remote)
{
	const struct session_slot *slot;

	if (remote->queue == SLOT_NONE)
		return false;
	slot = &remote->slots[remote->queue];
	return !remote->sent_count || (remote->sent_count < MAX_SENT &&
	                               remote->sent_bytes + slot->count <= MAX_SENT_BYTES);
}

static bool serving(const struct session *session)
{
	return session->state == SESSION_RUNNING ||
	       (session->state == SESSION_WAITING &&
	        session->wait.kind != SESSION_WAIT_DEVICE_STATE);
}

void session_remote_send(struct session *session)
{
	struct session_remote *remote = &session->remote;
	uint32_t index;

	/* A reply may be half written; session_message() comes back here when it is done. */
	if (session->busy || !session->link || !serving(session))
		return;
	while (may_send(remote)) {
		index = dequeue(remote);
		if (!remote->slots[index].op) { /* cancelled while it waited */
			free_slot(remote, index);
			continue;
		}
		if (!send_slot(session, index))
			return;
		remote->slots[index].sent = true;
		remote->sent_count++;
		remote->sent_bytes += remote->slots[index].count;
	}
}

static int start(struct dma_remote *dma_remote, struct ob_dma_op *op)
{
	struct session *session = container_of(dma_remote, struct session, remote.remote);
	struct session_remote *remote = &session->remote;
	uint32_t most = session->client.max_data_xfer_size;
	struct session_slot *slot;
	uint32_t index;

	if (!serving(session))
		return -ENOTCONN;
	if (remote->free == SLOT_NONE && make_slots(remote))
		return -EIO;
	/* The reply must not be longer than what we take either. */
	if (most > session->limits.max_data_xfer_size)
		most = session->limits.max_data_xfer_size;
	if (!op->write && most > MAX_READ_BYTES)
		most = MAX_READ_BYTES;
	if (op->piece > most)
		op->piece = most;
	index = remote->free;
	slot = &remote->slots[index];
	remote->free = slot->next;
	*slot = (struct session_slot){
		.op = op,
		.address = op->address + op->transferred,
		.count = (uint32_t)op->piece,
		.write = op->write,
	};
	op->message_id = (uint16_t)index;
	enqueue(remote, index);
	session_remote_send(session);
	return -EINPROGRESS;
}

/* What was sent keeps its slot until the reply comes, what was not until its turn in the queue. */
static void cancel(struct dma_remote *dma_remote, struct ob_dma_op *op)
{
	struct session *session = container_of(dma_remote, struct session, remote.remote);

	session->remote.slots[op->message_id].op = NULL;
}

/* Compares a reply with its request: 0, -EIO (the client could not do it), -EPROTO (nonsense). */
static int check_reply(const struct session_slot *slot, const struct request *reply,
                       const uint8_t **data, const char **why)
{
	struct wire_dma_access access;
	int rc;

	if (reply->header.flags & WIRE_ERROR)
		return -EIO;
	if (slot->write)
		rc = wire_decode_dma_write_reply(reply->payload, reply->length, &access, why);
	else
		rc = wire_decode_dma_read_reply(reply->payload, reply->length, &access, data, why);
	if (rc)
		return -EPROTO;
	if (access.address != slot->address) {
		*why = "address: the request's expected";
		return -EPROTO;
	}
	if (access.count > slot->count) {
		*why = "count: at most the request's expected";
		return -EPROTO;
	}
	return access.count < slot->count ? -EIO : 0;
}

void session_remote_reply(struct session *session, const struct request *reply)
{
	struct session_remote *remote = &session->remote;
	uint16_t command = reply->header.command;
	struct session_slot slot;
	const char *why = NULL;
	const uint8_t *data = NULL;
	int rc;

	if (reply->header.id >= remote->slot_count || !remote->slots[reply->header.id].sent ||
	    command != (remote->slots[reply->header.id].write ? WIRE_DMA_WRITE : WIRE_DMA_READ)) {
		session_violation(session, "a reply (%s, message id %u) to nothing that was asked",
		                  wire_command_name(command), reply->header.id);
		return;
	}
	slot = remote->slots[reply->header.id];
	free_slot(remote, reply->header.id);
	remote->sent_count--;
	remote->sent_bytes -= slot.count;
	rc = check_reply(&slot, reply, &data, &why);
	session->stats.dma.errors += rc != 0;
	if (rc == -EIO)
		log_warn(session->log,
		         "%s: the client failed to serve %u bytes at 0x%llx (error %u)",
		         wire_command_name(command), slot.count, (unsigned long long)slot.address,
		         reply->header.error);
	if (rc == -EPROTO)
		session_violation(session, "%s: %s", wire_command_name(command), why);
	if (!slot.op)
		return;
	if (!rc && !slot.write)
		memcpy((uint8_t *)slot.op->buffer + slot.op->transferred, data, slot.count);
	dma_op_finish(session->dma, slot.op, rc ? -EIO : 0);
}

void session_remote_init(struct session *session)
{
	struct session_remote *remote = &session->remote;

	remote->remote = (struct dma_remote){.start = start, .cancel = cancel};
	remote->free = remote->queue = remote->queue_last = SLOT_NONE;
	dma_set_remote(session->dma, &remote->remote);
}

void session_remote_free(struct session *session)
{
	free(session->remote.slots);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* The fast path of the NVMe driver: doorbells, completions, interrupts. */
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "client/nvme_internal.h"
#include "client/stream.h"

/*
 * How often an empty queue looks at the socket: rarely where nothing but the end of the connection
 * can come from there, since a look costs as much as many commands.
 */
enum { SPINS_BETWEEN_LOOKS = 4096 };

/*
 * Whether the controller asked to be told when the number passes event (NVMe 1.4, 7.13): it did if
 * event lies in [old, new), modulo 2^16.
 */
static bool wants_event(uint32_t event, uint32_t now, uint32_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* A bell in memory says its number at once. */
static void say(struct nvme *nvme, struct nvme_bell *bell, uint32_t value)
{
	if (bell->shadow) {
		nvme_wrote(nvme, bell->shadow, sizeof(*bell->shadow));
		*bell->shadow = value;
	} else if (bell->mapped) {
		*bell->mapped = value;
	}
}

/* What is left to do once it was said: a shadow's register too if the controller asks for that. */
static int ring(struct nvme_queue *queue, struct nvme_bell *bell, uint32_t value)
{
	const uint64_t one = 1;
	uint32_t old = bell->last;
	uint8_t bytes[4] = {(uint8_t)value, (uint8_t)(value >> 8)};

	bell->last = value;
	if (bell->shadow ? !wants_event(*bell->event, value, old) : bell->mapped != NULL)
		return 0;
	if (bell->mapped) {
		*bell->mapped = value;
		return 0;
	}
	if (bell->eventfd >= 0)
		return write(bell->eventfd, &one, sizeof(one)) < 0 && errno != EAGAIN ? -errno : 0;
	return ob_client_post(queue->nvme->client, OB_REGION_BAR0, bell->offset, bytes,
	                      sizeof(bytes));
}

void nvme_submit_part(struct nvme_queue *queue, unsigned slot, uint8_t opcode, uint64_t lba,
                      uint32_t blocks)
{
	struct nvme_sqe *sqe = &queue->sq[queue->tail];
	size_t bytes = (size_t)blocks * queue->nvme->block_size;

	nvme_submit(queue, slot, opcode, lba, blocks);
	if (bytes <= NVME_PAGE)
		sqe->prp2 = 0;
	else if (bytes <= 2 * NVME_PAGE)
		sqe->prp2 = sqe->prp1 + NVME_PAGE;
}

/*
 * The two bells of a queue stand in one cache line, which travels once if they are written
 * together; so what was taken is said when something is submitted, or there is nothing else to do.
 * The controller does not wait for it: it has room for all that is under way.
 */
int nvme_ring(struct nvme_queue *queue)
{
	bool tail = queue->unrung, head = queue->head != queue->cq_bell.last;
	int rc = 0;

	if (!tail && !head)
		return 0;
	queue->unrung = 0;
	/* What the controller will read is there before it is told. */
	__atomic_thread_fence(__ATOMIC_RELEASE);
	if (head)
		say(queue->nvme, &queue->cq_bell, queue->head);
	if (tail)
		say(queue->nvme, &queue->sq_bell, queue->tail);
	if (queue->sq_bell.shadow)
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (head)
		rc = ring(queue, &queue->cq_bell, queue->head);
	if (!rc && tail)
		rc = ring(queue, &queue->sq_bell, queue->tail);
	if (rc || queue->sq_bell.mapped)
		return rc;
	return ob_client_flush(queue->nvme->client);
}

static int look_at_socket(struct nvme *nvme)
{
	if (!nvme->config.unshared && ++nvme->spins < SPINS_BETWEEN_LOOKS)
		return 0;
	nvme->spins = 0;
	return ob_client_poll(nvme->client);
}

int nvme_reap(struct nvme_queue *queue, struct nvme_done *done, unsigned max)
{
	unsigned count = 0;
	int rc;

	while (count < max) {
		struct nvme_cqe *cqe = &queue->cq[queue->head];
		uint16_t status = __atomic_load_n(&cqe->status, __ATOMIC_ACQUIRE);
		uint16_t slot;

		if ((status & 1) != queue->phase)
			break;
		slot = __atomic_load_n(&cqe->cid, __ATOMIC_RELAXED);
		if (slot >= queue->depth || !queue->busy[slot])
			return -EPROTO;
		queue->busy[slot] = false;
		queue->busy_count--;
		done[count++] = (struct nvme_done){slot, status >> 1};
		if (++queue->head == queue->entries) {
			queue->head = 0;
			queue->phase ^= 1;
		}
	}
	if (count)
		return (int)count;
	rc = queue->head != queue->cq_bell.last ? nvme_ring(queue) : 0;
	return rc ? rc : look_at_socket(queue->nvme);
}

unsigned nvme_waiting(const struct nvme_queue *queue)
{
	unsigned count = 0, at = queue->head;
	uint16_t phase = queue->phase;

	while (count < queue->entries &&
	       (__atomic_load_n(&queue->cq[at].status, __ATOMIC_ACQUIRE) & 1) == phase) {
		count++;
		if (++at == queue->entries) {
			at = 0;
			phase ^= 1;
		}
	}
	return count;
}

static bool any_ready(const struct nvme *nvme)
{
	for (unsigned i = 0; i < nvme->config.queues; i++) {
		if (nvme_waiting(&nvme->queues[i]))
			return true;
	}
	return false;
}

/* Interrupts are counted in eventfds, so one that came before we sleep wakes us at once. */
int nvme_sleep(struct nvme *nvme, unsigned timeout_ms)
{
	struct pollfd watch[NVME_MAX_QUEUES + 2];
	unsigned queues = nvme->config.queues;
	uint64_t deadline, count;
	int fds[2], rc = 0;

	if (!nvme->config.msix)
		return 0;
	deadline = clock_now() + timeout_ms * UINT64_C(1000000);
	ob_client_fds(nvme->client, fds);
	while (!rc && !any_ready(nvme)) {
		rc = ob_client_flush(nvme->client);
		if (rc)
			break;
		for (unsigned i = 0; i < queues; i++)
			watch[i] = (struct pollfd){.fd = nvme->queues[i].eventfd, .events = POLLIN};
		watch[queues] = (struct pollfd){.fd = fds[0], .events = POLLIN};
		watch[queues + 1] = (struct pollfd){.fd = fds[1], .events = POLLIN};
		rc = clock_poll(watch, queues + 2, deadline);
		if (rc)
			break;
		for (unsigned i = 0; i < queues; i++) {
			if ((watch[i].revents & POLLIN) &&
			    read(watch[i].fd, &count, sizeof(count)) < 0)
				rc = errno == EAGAIN ? 0 : -errno;
		}
		if (!rc && (watch[queues].revents || watch[queues + 1].revents))
			rc = ob_client_poll(nvme->client);
	}
	return rc;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Indices that guests publish in memory, and the event indices by which they are asked to kick
 * (NVMe 1.4, 5.7 and B.5; virtio 1.2, 2.7.10 and 2.8.10). What they mean, and what else stands in
 * these words, is the model's.
 */
#include <errno.h>
#include <string.h>

#include "outboard/endian.h"
#include "queue/queue.h"

static uint32_t get(const struct ob_queue_index *index)
{
	return index->width == 4 ? ob_get_le32(index->bytes) : ob_get_le16(index->bytes);
}

static void put(struct ob_queue_index *index, uint32_t value)
{
	if (index->width == 4)
		ob_put_le32(index->bytes, value);
	else
		ob_put_le16(index->bytes, (uint16_t)value);
}

/*
 * A value that the guest changes at any time is read, and written, in one piece where it is aligned
 * here: where it lies in our memory is up to the client.
 */
static void *word_at(struct ob_queue_index *index, uint64_t address, enum ob_dma_dir dir)
{
	void *direct = ob_dma_direct(index->dev, address, index->width, dir);

	return (uintptr_t)direct & (index->width - 1u) ? NULL : direct;
}

static int load(struct ob_queue_index *index)
{
	const void *word = word_at(index, index->address, OB_DMA_FROM_CLIENT);

	if (!word)
		return ob_dma_read(index->dev, index->address, index->bytes, index->width,
		                   &index->op);
	if (index->width == 4)
		put(index, le32toh(__atomic_load_n((const uint32_t *)word, __ATOMIC_ACQUIRE)));
	else
		put(index, le16toh(__atomic_load_n((const uint16_t *)word, __ATOMIC_ACQUIRE)));
	return 0;
}

static void store_word(const struct ob_queue_index *index, void *word, uint32_t value)
{
	if (index->width == 4)
		__atomic_store_n((uint32_t *)word, htole32(value), __ATOMIC_RELAXED);
	else
		__atomic_store_n((uint16_t *)word, htole16((uint16_t)value), __ATOMIC_RELAXED);
}

static int store_event(struct ob_queue_index *index, uint32_t value)
{
	void *word = word_at(index, index->event_address, OB_DMA_TO_CLIENT);
	int error = 0;

	put(index, value);
	if (word)
		store_word(index, word, value);
	else
		error = ob_dma_write(index->dev, index->event_address, index->bytes, index->width,
		                     &index->op);
	/* The event index before the next read of the index; the guest does it the other way. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return error;
}

/* The steps of a poll. Each returns whether there is another one to do at once. */

static bool step_began(struct ob_queue_index *index, enum ob_queue_index_state state, int error,
                       uint64_t address)
{
	index->state = (uint8_t)state;
	if (error == -EINPROGRESS)
		return false;
	if (!error)
		return true;
	index->state = OB_QUEUE_INDEX_IDLE;
	index->ops->failed(index, error, address);
	return false;
}

static bool begin_read(struct ob_queue_index *index)
{
	return step_began(index, OB_QUEUE_INDEX_READING, load(index), index->address);
}

static bool begin_arm(struct ob_queue_index *index)
{
	uint32_t value = index->ops->event(index);
	int error = store_event(index, value);

	index->armed = true;
	index->event = (uint16_t)value;
	return step_began(index, OB_QUEUE_INDEX_ARMING, error, index->event_address);
}

static bool read_ended(struct ob_queue_index *index)
{
	index->state = OB_QUEUE_INDEX_IDLE;
	index->ops->read(index, get(index));
	if (!index->armed && index->ops->wants_kick(index))
		return begin_arm(index);
	if (!index->again)
		return false;
	index->again = false;
	return begin_read(index);
}

static bool arm_ended(struct ob_queue_index *index)
{
	index->state = OB_QUEUE_INDEX_IDLE;
	return !index->fresh && begin_read(index);
}

static void run_steps(struct ob_queue_index *index)
{
	bool more = true;

	while (more && index->ops->running(index))
		more = index->state == OB_QUEUE_INDEX_READING ? read_ended(index)
		                                              : arm_ended(index);
	if (more)
		index->state = OB_QUEUE_INDEX_IDLE;
}

static void step_ended(struct ob_dma_op *op, int error)
{
	struct ob_queue_index *index = ob_container_of(op, struct ob_queue_index, op);

	if (error) {
		uint64_t address = index->state == OB_QUEUE_INDEX_ARMING ? index->event_address
		                                                         : index->address;

		index->state = OB_QUEUE_INDEX_IDLE;
		index->ops->failed(index, error, address);
		return;
	}
	run_steps(index);
}

void ob_queue_index_init(struct ob_queue_index *index, struct ob_dev *dev,
                         const struct ob_queue_index_ops *ops, uint8_t width)
{
	*index = (struct ob_queue_index){
		.dev = dev, .ops = ops, .width = width, .op.done = step_ended};
}

void ob_queue_index_poll(struct ob_queue_index *index)
{
	if (index->fresh || !index->ops->running(index))
		return;
	if (index->state != OB_QUEUE_INDEX_IDLE)
		index->again = true;
	else if (begin_read(index))
		run_steps(index);
}

void ob_queue_index_open(struct ob_queue_index *index)
{
	ob_queue_index_stop(index);
	index->fresh = true;
	if (begin_arm(index))
		run_steps(index);
}

void ob_queue_index_resume(struct ob_queue_index *index)
{
	if (index->fresh)
		ob_queue_index_open(index);
	else
		ob_queue_index_poll(index);
}

void ob_queue_index_stop(struct ob_queue_index *index)
{
	if (index->state != OB_QUEUE_INDEX_IDLE)
		ob_dma_cancel(index->dev, &index->op);
	index->state = OB_QUEUE_INDEX_IDLE;
	index->again = false;
	index->armed = false;
}

void ob_queue_index_suppress(struct ob_queue_index *index, uint16_t passed)
{
	void *word = word_at(index, index->event_address, OB_DMA_TO_CLIENT);

	if (!word)
		return;
	store_word(index, word, passed);
	index->event = passed;
	index->armed = false;
}

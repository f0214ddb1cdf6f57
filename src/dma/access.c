/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Access to the client's memory.
 *
 * The fast path is one piece of mapped memory that the last look-up hit: compare, copy, done.
 * Everything else is an operation that goes from piece to piece (a piece lies in one map) and stops
 * where it has to wait for the client. Maps may change while it waits, so each piece is looked up
 * when its turn comes; that the range as a whole is there is checked once, before the first.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "base/checked.h"
#include "internal.h"

/*
 * Whether the memory was there for all of a copy, which the client can take away meanwhile: the
 * handler in guard.c then finished the copy with empty memory. 0 or -EFAULT.
 */
static inline int check_lost(const struct dma_map *map)
{
	atomic_signal_fence(memory_order_seq_cst);
	return __builtin_expect(map->memory->lost, 0) ? -EFAULT : 0;
}

static inline int copy_from_map(const struct dma_map *map, uint64_t address, void *to, size_t n)
{
	memcpy(to, map->bytes + (address - map->address), n);
	return check_lost(map);
}

static inline int copy_to_map(struct dma_map *map, uint64_t address, const void *from, size_t n)
{
	memcpy(map->bytes + (address - map->address), from, n);
	return check_lost(map);
}

static void ring_add(struct ob_dma_op *ring, struct ob_dma_op *op)
{
	op->prev = ring->prev;
	op->next = ring;
	ring->prev->next = op;
	ring->prev = op;
}

static void ring_remove(struct ob_dma_op *op)
{
	op->prev->next = op->next;
	op->next->prev = op->prev;
	op->next = op->prev = NULL;
}

/* Bytes from address on that lie on the bus, up to the next map; 0: none. The rare way. */
static uint64_t find_on_bus(const struct dma_space *space, uint64_t address, uint64_t length,
                            unsigned want)
{
	unsigned before, next;
	uint64_t piece;

	if (!space->bus)
		return 0;
	piece = space->bus->find(space->bus, address, length, want);
	before = dma_search(space, address);
	next = before == space->count ? 0 : before + 1;
	if (piece && next < space->count && space->starts[next] - address < piece)
		piece = space->starts[next] - address;
	return piece;
}

int dma_survey(struct dma_space *space, uint64_t address, uint64_t length, unsigned want,
               bool *direct)
{
	*direct = true;
	if (length > 0 && length - 1 > UINT64_MAX - address)
		return -EFAULT;
	while (length > 0) {
		const struct dma_map *map = dma_find(space, address);
		uint64_t piece = map ? dma_piece(map, address, length)
		                     : find_on_bus(space, address, length, want);

		if (!piece || (map && !(map->prot & want)))
			return -EFAULT;
		if (map && map->kind == DMA_REMOTE && !space->remote)
			return -EFAULT;
		if (!map || map->kind != DMA_DIRECT)
			*direct = false;
		address += piece;
		length -= piece;
	}
	return 0;
}

static int start_piece(struct dma_remote *remote, struct ob_dma_op *op, enum dma_op_state state)
{
	__attribute__((unused)) size_t whole = op->piece; /* by NDEBUG */
	int rc = remote->start(remote, op);

	assert(op->piece > 0 && op->piece <= whole);
	if (rc == -EINPROGRESS)
		op->state = (uint8_t)state;
	return rc;
}

/* Moves op->piece bytes, all of them in map (NULL: on the bus). 0, -EINPROGRESS or -errno. */
static int move_piece(struct dma_space *space, struct dma_map *map, struct ob_dma_op *op)
{
	uint64_t address = op->address + op->transferred;
	uint8_t *buffer = (uint8_t *)op->buffer + op->transferred;

	if (!map)
		return start_piece(&space->bus->at, op, DMA_OP_ON_BUS);

	switch (map->kind) {
	case DMA_DIRECT:
		return op->write ? copy_to_map(map, address, buffer, op->piece)
		                 : copy_from_map(map, address, buffer, op->piece);
	case DMA_FILE:
		return op->write ? dma_file_write(map, address, buffer, op->piece)
		                 : dma_file_read(map, address, buffer, op->piece);
	default:
		if (!space->remote)
			return -EFAULT;
		return start_piece(space->remote, op, DMA_OP_UNDER_WAY);
	}
}

static void piece_moved(struct dma_space *space, struct ob_dma_op *op, bool on_bus)
{
	if (op->write && !on_bus)
		dma_wrote(space, op->address + op->transferred, op->piece);
	op->transferred += op->piece;
}

/* Goes on with an operation as far as it gets. 0 (all done), -EINPROGRESS or -errno. */
static int advance(struct dma_space *space, struct ob_dma_op *op)
{
	unsigned want = op->write ? DMA_WRITEABLE : DMA_READABLE;

	while (op->transferred < op->length) {
		uint64_t address = op->address + op->transferred;
		struct dma_map *map = dma_find(space, address);
		size_t rest = op->length - op->transferred;
		int rc;

		op->piece = map ? (size_t)dma_piece(map, address, rest)
		                : (size_t)find_on_bus(space, address, rest, want);
		if (!op->piece || (map && !(map->prot & want)))
			return -EFAULT;
		rc = move_piece(space, map, op);
		if (rc != 0)
			return rc;
		piece_moved(space, op, !map);
	}
	return 0;
}

/* What the client said it has, with what stands in the memory that it gave. */
static void compare(struct dma_space *space, const struct ob_dma_op *op)
{
	struct dma_map *map = dma_find(space, op->address);
	struct dma_memory *memory = map ? map->memory : NULL;

	if (!memory || !(map->direct & DMA_READABLE) || memory->lost ||
	    dma_piece(map, op->address, op->length) < op->length)
		return;
	if (!memcmp(map->bytes + (op->address - map->address), op->buffer, op->length)) {
		memory->proven = true;
		return;
	}
	dma_memory_give_up(space);
	if (space->watcher && space->watcher->unshared)
		space->watcher->unshared(space->watcher, map->address, map->size);
}

static int transfer(struct dma_space *space, uint64_t address, void *buffer, size_t length,
                    bool write, struct ob_dma_op *op)
{
	bool direct;
	int rc;

	if (length == 0)
		return 0;
	rc = dma_survey(space, address, length, write ? DMA_WRITEABLE : DMA_READABLE, &direct);
	if (rc < 0)
		return rc;
	assert(op->state == DMA_OP_IDLE);
	op->address = address;
	op->buffer = buffer;
	op->length = length;
	op->transferred = 0;
	op->write = write;
	op->doubt = false;
	rc = advance(space, op);
	if (rc == -EINPROGRESS)
		ring_add(&space->under_way, op);
	return rc;
}

int dma_read(struct dma_space *space, uint64_t address, void *buffer, size_t length,
             struct ob_dma_op *op)
{
	struct dma_map *map = dma_hit(space, address, length, DMA_READABLE);

	if (!map)
		return transfer(space, address, buffer, length, false, op);
	return copy_from_map(map, address, buffer, length);
}

int dma_write(struct dma_space *space, uint64_t address, const void *buffer, size_t length,
              struct ob_dma_op *op)
{
	struct dma_map *map = dma_hit(space, address, length, DMA_WRITEABLE);

	if (!map) /* not written through: op->write says so */
		return transfer(space, address, (void *)buffer, length, true, op);
	dma_wrote(space, address, length);
	return copy_to_map(map, address, buffer, length);
}

/*
 * The piece goes to the remote though the map is direct: -EINPROGRESS as a rule. A client that does
 * not serve it says nothing about its memory.
 */
int dma_doubt(struct dma_space *space, uint64_t address, void *buffer, size_t length,
              struct ob_dma_op *op)
{
	struct dma_map *map = NULL;
	int rc;

	if (dma_find(space, address)) /* makes it the last hit */
		map = dma_hit(space, address, length, DMA_READABLE);
	if (!map || !space->remote || map->memory->asked)
		return 0;
	map->memory->asked = true;
	assert(op->state == DMA_OP_IDLE);
	op->address = address;
	op->buffer = buffer;
	op->length = op->piece = length;
	op->transferred = 0;
	op->write = false;
	op->doubt = true;
	rc = start_piece(space->remote, op, DMA_OP_UNDER_WAY);
	if (rc == -EINPROGRESS && op->piece == length) {
		ring_add(&space->under_way, op);
		return rc;
	}
	/* Done at once, or not at all. (Nobody cuts a piece as small as that.) */
	assert(rc != -EINPROGRESS);
	op->doubt = false;
	if (!rc)
		compare(space, op);
	return 0;
}

void *dma_direct(struct dma_space *space, uint64_t address, size_t length, enum ob_dma_dir dir)
{
	unsigned want = dma_prot_for(dir);
	struct dma_map *map = dma_hit(space, address, length, want);

	if (!map) {
		if (!dma_find_slow(space, address))
			return NULL;
		map = dma_hit(space, address, length, want); /* that made it the last hit */
		if (!map)
			return NULL;
	}
	if (dir == OB_DMA_TO_CLIENT)
		dma_wrote(space, address, length);
	return map->bytes + (address - map->address);
}

/* The piece under way failed, or nobody waits for it: it may be there, or get there, all the same.
 */
static void note_abandoned(struct dma_space *space, const struct ob_dma_op *op)
{
	if (op->write && op->state == DMA_OP_UNDER_WAY)
		dma_wrote(space, op->address + op->transferred, op->piece);
}

void dma_op_finish(struct dma_space *space, struct ob_dma_op *op, int status)
{
	if (op->state != DMA_OP_UNDER_WAY && op->state != DMA_OP_ON_BUS)
		return;
	if (op->doubt) {
		op->doubt = false;
		if (!status)
			compare(space, op);
	} else if (status == 0) {
		piece_moved(space, op, op->state == DMA_OP_ON_BUS);
		status = advance(space, op);
		if (status == -EINPROGRESS)
			return;
	} else {
		note_abandoned(space, op);
	}
	ring_remove(op);
	op->state = DMA_OP_IDLE;
	op->done(op, status);
}

/* Who has the piece under way; NULL: nobody any more. */
static struct dma_remote *holder_of(const struct dma_space *space, const struct ob_dma_op *op)
{
	if (op->state == DMA_OP_ON_BUS)
		return &space->bus->at;
	return op->state == DMA_OP_UNDER_WAY ? space->remote : NULL;
}

void dma_cancel(struct dma_space *space, struct ob_dma_op *op)
{
	struct dma_remote *holder = holder_of(space, op);

	if (op->state == DMA_OP_IDLE)
		return;
	note_abandoned(space, op);
	ring_remove(op);
	op->state = DMA_OP_IDLE;
	if (holder)
		holder->cancel(holder, op);
}

/*
 * Operations end in two steps: first all that are concerned leave the remote, then their callbacks
 * are called, one by one, each of which may cancel others or begin new ones.
 */
static void leave_remote(struct dma_space *space, struct dma_remote *remote, struct ob_dma_op *op,
                         enum dma_op_state state)
{
	note_abandoned(space, op);
	ring_remove(op);
	op->state = (uint8_t)state;
	ring_add(&space->ending, op);
	remote->cancel(remote, op);
}

static void call_ending(struct dma_space *space)
{
	while (space->ending.next != &space->ending) {
		struct ob_dma_op *op = space->ending.next;
		int status = op->state == DMA_OP_FAULTED ? -EFAULT : -ECANCELED;

		ring_remove(op);
		op->state = DMA_OP_IDLE;
		op->done(op, status);
	}
}

void dma_fault_ops(struct dma_space *space, uint64_t address, uint64_t last)
{
	struct ob_dma_op *op, *next;

	for (op = space->under_way.next; op != &space->under_way; op = next) {
		uint64_t begin = op->address + op->transferred;
		uint64_t end = op->address + (op->length - 1);

		next = op->next;
		if (begin <= last && end >= address)
			leave_remote(space, holder_of(space, op), op, DMA_OP_FAULTED);
	}
	call_ending(space);
}

void dma_set_remote(struct dma_space *space, struct dma_remote *remote)
{
	struct dma_remote *old = space->remote;
	struct ob_dma_op *op, *next;

	if (remote == old)
		return;
	/* First, so that what the callbacks begin does not go to the old one. */
	space->remote = remote;
	space->unshared = false; /* another client, other memory */
	for (op = space->under_way.next; op != &space->under_way; op = next) {
		next = op->next;
		if (op->state == DMA_OP_UNDER_WAY)
			leave_remote(space, old, op, DMA_OP_CANCELED);
	}
	call_ending(space);
}

bool dma_has_remote(const struct dma_space *space)
{
	return space->remote;
}

void dma_set_bus(struct dma_space *space, struct dma_bus *bus)
{
	space->bus = bus;
}

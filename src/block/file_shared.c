/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the file nodes of one loop share: the engines, made when the first request needs one, and
 * the places for requests under way. A thousand nodes cost one ring and, while idle, no places.
 * Since nothing is made before the first request, nodes may be opened before the program forks
 * into the background; after that, the ring belongs to the thread that made it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "file.h"

static const char shared_kind;

struct file_shared *file_shared_find(const struct ob_loop *loop)
{
	struct loop_shared *link = loop_shared_find(loop, &shared_kind);

	return link ? container_of(link, struct file_shared, link) : NULL;
}

struct file_shared *file_shared_get(struct ob_loop *loop)
{
	struct file_shared *shared = file_shared_find(loop);

	if (!shared) {
		shared = calloc(1, sizeof(*shared));
		if (!shared)
			return NULL;
		shared->link.kind = &shared_kind;
		shared->loop = loop;
		list_init(&shared->waiting);
		loop_shared_add(loop, &shared->link);
	}
	shared->nodes++;
	return shared;
}

void file_shared_put(struct file_shared *shared)
{
	if (--shared->nodes)
		return;
	loop_shared_remove(shared->loop, &shared->link);
	for (unsigned i = 0; i < URING_KINDS; i++) {
		if (shared->uring[i])
			shared->uring[i]->free(shared->uring[i]);
	}
	if (shared->threads)
		shared->threads->free(shared->threads);
	for (unsigned i = 0; i < shared->chunk_count; i++)
		free(shared->chunks[i]);
	file_fixed_free(shared);
	free(shared);
}

static void add_chunk(struct file_shared *shared)
{
	struct file_io *chunk;

	if (shared->chunk_count == ARRAY_SIZE(shared->chunks))
		return;
	chunk = calloc(FILE_JOB_CHUNK, sizeof(*chunk));
	if (!chunk)
		return;
	shared->chunks[shared->chunk_count++] = chunk;
	for (unsigned i = FILE_JOB_CHUNK; i--;)
		file_io_put(shared, &chunk[i]);
}

struct file_io *file_io_get(struct file_shared *shared)
{
	struct file_io *io;

	if (!shared->free_io)
		add_chunk(shared);
	io = shared->free_io;
	if (io) {
		shared->free_io = io->next;
		list_init(&io->sync);
	}
	return io;
}

void file_io_put(struct file_shared *shared, struct file_io *io)
{
	io->next = shared->free_io;
	shared->free_io = io;
}

static void ring_failed(struct engine *engine, int code)
{
	struct file_shared *shared = engine->owner;

	for (unsigned i = 0; i < URING_KINDS; i++)
		shared->uring_refused[i] |= shared->uring[i] == engine;
	log_warn(&shared->log, "io_uring can't be used any more (%s): using threads",
	         strerror(-code));
}

static struct engine *threads_of(struct file_shared *shared, struct log *log)
{
	if (!shared->threads) {
		int rc = threads_new(shared->loop, &shared->threads);

		if (rc)
			log_fact(log, LOG_ERROR, "no thread for I/O: %s", strerror(-rc));
	}
	return shared->threads;
}

/* A sync that was begun may have been told what a second one would not be. */
static void do_again(struct engine *engine, struct engine_job *job)
{
	struct file_shared *shared = engine->owner;
	struct engine *threads = threads_of(shared, &shared->log);

	if (!threads || (engine_syncs(job) && !job->untouched))
		job->done(job, -EIO);
	else
		threads->start(threads, job);
}

static struct engine *uring_of(struct file_node *node, unsigned which)
{
	struct file_shared *shared = node->shared;
	int rc;

	if (shared->uring_refused[which])
		return NULL;
	if (shared->uring[which])
		return shared->uring[which];
	rc = uring_new(shared->loop, which, &shared->uring[which]);
	if (!rc) {
		shared->log = log_copy(&node->block.log);
		shared->uring[which]->owner = shared;
		shared->uring[which]->failed = ring_failed;
		shared->uring[which]->give_back = do_again;
	} else {
		/* Asked once for a loop: what refused us will do so again. */
		shared->uring_refused[which] = true;
		log_fact(&node->block.log, LOG_INFO, "no io_uring here (%s): using threads",
		         strerror(-rc));
	}
	return shared->uring[which];
}

/* Devices can be polled only for the end of plain reads and writes. */
static unsigned kind_for(const struct file_node *node, enum engine_op op, int flags)
{
	const struct file_props *props = node->block.props;
	bool plain = (op == ENGINE_READ || op == ENGINE_WRITE) && !flags;

	return (props->sqpoll ? URING_SQPOLL : 0) | (node->iopoll && plain ? URING_IOPOLL : 0);
}

struct engine *file_engine(struct file_node *node, enum engine_op op, int flags, unsigned *kind)
{
	const struct file_props *props = node->block.props;
	struct engine *engine = NULL;

	*kind = kind_for(node, op, flags);
	if (props->aio != FILE_AIO_THREADS && op != ENGINE_DISCARD && op != ENGINE_LOOK)
		engine = uring_of(node, *kind);
	return engine ? engine : threads_of(node->shared, &node->block.log);
}

static bool uses_threads(const struct file_node *node, const struct ob_block_request *request)
{
	const struct file_props *props = node->block.props;

	return props->aio == FILE_AIO_THREADS ||
	       node->shared->uring_refused[kind_for(node, ENGINE_READ, 0)] ||
	       (request->op == OB_BLOCK_DISCARD && node->is_device) ||
	       file_range_looks(node, request);
}

/* Not so direct reads and writes: their pages and places in the device's queue are asked for. */
static bool sleeps(const struct file_node *node, const struct ob_block_request *request)
{
	switch (request->op) {
	case OB_BLOCK_READ:
		return !node->direct;
	case OB_BLOCK_WRITE:
		return !node->direct || request->flags & OB_BLOCK_FUA;
	default:
		return true;
	}
}

unsigned file_shares_of(const struct file_node *node, const struct ob_block_request *request)
{
	if (uses_threads(node, request))
		return 1u << FILE_SHARE_JOBS | 1u << FILE_SHARE_THREADS;
	return 1u << FILE_SHARE_JOBS | (unsigned)sleeps(node, request) << FILE_SHARE_SLEEPS;
}

/* The engine that is first asked is the one that gets nearly all jobs. */
int file_registered(struct file_node *node, struct engine *engine)
{
	if (!node->knows_file && engine != node->shared->threads) {
		node->knows_file = engine;
		node->file = engine->add_file(engine, node->fd);
	}
	return engine == node->knows_file ? node->file : -1;
}

/* The engine has the open file that was, and would keep it open. */
void file_forget(struct file_node *node)
{
	if (node->file >= 0)
		node->knows_file->remove_file(node->knows_file, node->file);
	node->file = -1;
	node->knows_file = NULL;
}

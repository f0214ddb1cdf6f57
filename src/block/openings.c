/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which nodes of a loop are being opened. An open may never end, and keeps a thread then, also when
 * nobody wants the node any more. So there is a bound, for those in one folder (whose storage is
 * the same, as a rule) and for all: who asks for more is refused at once, and others' files are
 * opened meanwhile. Which file system a name is in can't be asked without waiting for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "block.h"
#include "drivers.h"

enum { OPENINGS_OF_A_FOLDER = 16 };

static const char openings_kind;

struct openings {
	struct loop_shared link;
	struct list nodes;
};

static struct openings *openings_of(const struct ob_loop *loop)
{
	struct loop_shared *link = loop_shared_find(loop, &openings_kind);

	return link ? container_of(link, struct openings, link) : NULL;
}

static const char *place_of(const struct ob_block *block)
{
	const char *place = block->driver->place ? block->driver->place(block) : NULL;

	return place ? place : "";
}

static size_t folder_length(const char *name)
{
	const char *slash = strrchr(name, '/');

	return slash ? (size_t)(slash - name) : 0;
}

static bool in_same_folder(const char *one, const char *other)
{
	size_t length = folder_length(one);

	return folder_length(other) == length && !strncmp(one, other, length);
}

static int refuse_stalled(const struct openings *openings, const struct ob_block *block,
                          struct ob_error *err)
{
	const char *place = place_of(block);
	const struct ob_block *other;
	unsigned same = 0;

	list_for_each (other, &openings->nodes, const struct ob_block, opening)
		same += in_same_folder(place, place_of(other));
	if (same >= OPENINGS_OF_A_FOLDER)
		return ob_error_set(err, -EBUSY,
		                    "'%s': %u files of that folder are being opened and do not "
		                    "answer: its storage seems to have stalled",
		                    place, same);
	same = loop_offload_count(block->loop, LOOP_LANE_STORAGE);
	if (same >= LOOP_STORAGE_OPENINGS)
		return ob_error_set(err, -EBUSY,
		                    "'%s': %u calls to storage do not answer, and no more are made "
		                    "before some do",
		                    place, same);
	return 0;
}

int openings_begin(struct ob_block *block, struct ob_error *err)
{
	struct openings *openings = openings_of(block->loop);

	if (!openings) {
		openings = calloc(1, sizeof(*openings));
		if (!openings)
			return ob_error_set(err, -ENOMEM, "out of memory");
		openings->link.kind = &openings_kind;
		list_init(&openings->nodes);
		loop_shared_add(block->loop, &openings->link);
	}
	if (refuse_stalled(openings, block, err)) {
		if (list_empty(&openings->nodes))
			block_forget_openings(block->loop);
		return -EBUSY;
	}
	list_append(&openings->nodes, &block->opening);
	return 0;
}

void openings_end(struct ob_block *block)
{
	struct openings *openings = openings_of(block->loop);

	list_remove(&block->opening);
	if (openings && list_empty(&openings->nodes))
		block_forget_openings(block->loop);
}

void block_forget_openings(struct ob_loop *loop)
{
	struct openings *openings = openings_of(loop);

	if (!openings)
		return;
	while (!list_empty(&openings->nodes))
		list_remove(openings->nodes.next);
	loop_shared_remove(loop, &openings->link);
	free(openings);
}

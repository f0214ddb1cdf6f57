/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a space has to give back of files that are not known to be memory: descriptors to close,
 * mappings to undo. Either may sleep for as long as whoever serves the file likes. So it is done by
 * helper threads, one at a time for a space: what is stuck holds up nothing but what the same
 * client gave. Lives until the space and the thread are done with it.
 */
#include <pthread.h>
#include <stdlib.h>

#include "base/list.h"
#include "internal.h"

struct dma_waste {
	struct loop_job job;
	pthread_mutex_t lock; /* guards what follows */
	unsigned users;       /* the space, and the job while it runs */
	struct dma_waste_item *first, **end;
	bool running;
};

struct dma_waste *dma_waste_new(void)
{
	struct dma_waste *waste = calloc(1, sizeof(*waste));

	if (!waste)
		return NULL;
	pthread_mutex_init(&waste->lock, NULL);
	waste->users = 1;
	waste->end = &waste->first;
	return waste;
}

/* Locked; unlocks. */
static void let_go(struct dma_waste *waste)
{
	bool last = --waste->users == 0;

	pthread_mutex_unlock(&waste->lock);
	if (!last)
		return;
	pthread_mutex_destroy(&waste->lock);
	free(waste);
}

void dma_waste_drop(struct dma_waste *waste)
{
	if (!waste)
		return;
	pthread_mutex_lock(&waste->lock);
	let_go(waste);
}

static void give_back_all(struct loop_job *job)
{
	struct dma_waste *waste = container_of(job, struct dma_waste, job);
	struct dma_waste_item *item;

	pthread_mutex_lock(&waste->lock);
	while ((item = waste->first)) {
		waste->first = item->next;
		if (!waste->first)
			waste->end = &waste->first;
		pthread_mutex_unlock(&waste->lock);
		item->give_back(item);
		pthread_mutex_lock(&waste->lock);
	}
	waste->running = false;
	let_go(waste);
}

void dma_waste_add(struct dma_waste *waste, struct ob_loop *loop, struct dma_waste_item *item)
{
	bool begin;

	item->next = NULL;
	pthread_mutex_lock(&waste->lock);
	*waste->end = item;
	waste->end = &item->next;
	begin = !waste->running;
	waste->running = true;
	waste->users += begin;
	pthread_mutex_unlock(&waste->lock);
	if (!begin)
		return;
	waste->job = (struct loop_job){.work = give_back_all, .lane = LOOP_LANE_CLIENT};
	loop_offload(loop, &waste->job);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the queue engine know of each other: turns call the poller at their ends, the
 * poller calls turns; interrupts are below both.
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "outboard/device.h"
#include "outboard/queue.h"

/* turn.c */
/* Whether a turn has something to do. */
bool queue_has_work(const struct ob_queues *queues);
/* Does it. Whether entries were fetched. */
bool queue_work(struct ob_queues *queues);
/* Has a turn begin for what the last one left. */
void queue_schedule_rest(struct ob_queues *queues);
/* Asks for kicks of a set of queues, which is emptied if it is that of this turn's. */
void queue_arm(struct ob_queues *queues, const uint64_t *set);

/* poll.c */
void queue_poll_init(struct ob_queues *queues);
/* At the beginning of a turn that will post completions, or not. */
void queue_poll_turn_begins(struct ob_queues *queues, bool posts);
/* At its end, with entries fetched or not: what wakes us for the next ones. */
void queue_poll_turn_ended(struct ob_queues *queues, bool found);
void queue_poll_stop(struct ob_queues *queues, bool interrupt);

/* interrupt.c */
void queue_interrupt_init(struct ob_queues *queues);
void queue_interrupt_held(struct ob_queues *queues);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The queue engine: what every device does whose guest gives it work by queues in memory (NVMe,
 * virtio). It decides when queues are fetched from, and when the guest is notified; what entries
 * look like, where they are and what they mean is the model's.
 *
 * - A queue with new entries is *kicked*: by a register, by an eventfd, or because a poll of the
 *   memory that the guest publishes to found something. Kicked queues are fetched from in turns,
 *   one after the other, a batch from each, until the turn's share of the loop's time is used up.
 *   So no queue starves another, nor another device.
 * - A queue that can't be fetched from for lack of something of the device's (memory) is *parked*,
 *   and kicked again when somebody gives that back.
 * - While kicks come often, the engine *polls* instead: kicks are suppressed meanwhile. Whether
 *   that pays is learnt (adaptive polling: src/queue/poll.c). Before it stops, kicks are asked for
 *   again (*re-armed*) and the queues polled once more, so that no entry is missed.
 * - Completions are posted in batches at the end of a turn or earlier, and the guest is *notified*
 *   once for all that a queue got in a turn. Notifications are held while polling, so that several
 *   completions share one, and coalesced by count and time where the guest asked for that.
 *
 * Everything runs on the loop; a model calls the engine from any callback. The structs are part of
 * a model's runtime (never of its state), and zero before ob_queues_init().
 */
#ifndef OUTBOARD_QUEUE_H
#define OUTBOARD_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outboard/dma.h"
#include "outboard/loop.h"

struct ob_dev;
struct ob_queues;

enum {
	OB_QUEUE_WORDS = 3,
	OB_QUEUE_MAX = 64 * OB_QUEUE_WORDS, /* queues, and vectors, of a device */
	OB_QUEUE_BATCH = 32,                /* entries fetched from a queue before others */
	OB_QUEUE_BUDGET = 256,              /* entries fetched in a turn */
	OB_QUEUE_POST_BATCH = 16,           /* completions that are posted before the turn ends, */
	OB_QUEUE_POST_EARLY = 4,            /* while somebody polls for them */
	OB_QUEUE_WORK_UNITS = 16,           /* work between two readings of the clock */
};

/* Of a property "poll". */
enum ob_queue_polling { OB_QUEUE_POLL_OFF, OB_QUEUE_POLL_ON, OB_QUEUE_POLL_ADAPTIVE };

/* What the model does. All of them get the engine, which is a member of the model's runtime. */
struct ob_queue_ops {
	/* Whether queues are fetched from and completions posted: not while reset or quiesced. */
	bool (*running)(const struct ob_queues *queues);
	/*
	 * Takes at most max entries from a queue and begins them. Returns how many; after 0 the
	 * queue was not kicked from within. The device may fail: it calls ob_queues_stop().
	 */
	unsigned (*fetch)(struct ob_queues *queues, unsigned id, unsigned max);
	/* Writes completions of a queue that had ob_queue_complete(); says so by ob_queue_posted().
	 */
	void (*post)(struct ob_queues *queues, unsigned id);
	/* So many completions were posted: notify the guest, or not if it suppressed that. */
	void (*notify)(struct ob_queues *queues, unsigned id, unsigned count);
	/* Interrupts the guest by a vector: for what was held or coalesced. */
	void (*interrupt)(struct ob_queues *queues, unsigned vector);
	/* Optional: entries that let others have their turn go on (see ob_queues_yielded()). */
	void (*resume)(struct ob_queues *queues);
	/* Whether what guests publish can be polled without a message to the client. */
	bool (*can_poll)(struct ob_queues *queues);
	/* Polls all queues, and kicks those with new entries. Whether there were any. */
	bool (*poll)(struct ob_queues *queues);
	/* Polling begins: no kick is needed from now on, even where one was asked for. */
	void (*suppress)(struct ob_queues *queues);
	/* Asks for the next kick of a queue, and polls it once more. */
	void (*arm)(struct ob_queues *queues, unsigned id);
};

struct ob_queue_options {
	unsigned count;        /* queues: their ids are less. At most OB_QUEUE_MAX */
	uint32_t polling;      /* enum ob_queue_polling */
	uint32_t poll_max_us;  /* how long to poll for more before sleeping */
	uint32_t idle_poll_us; /* how often to poll meanwhile, where nobody kicks; 0: not */
	bool kicks_are_silent; /* clients write to mapped memory instead of kicking */
};

typedef uint64_t ob_queue_set[OB_QUEUE_WORDS];

/* What is awaited when a turn has ended: src/queue/poll.c. */
enum ob_queue_awaited {
	OB_QUEUE_AWAIT_OWED, /* entries, after completions */
	OB_QUEUE_AWAIT_MORE, /* entries, after entries */
};

/* Adaptive polling, and the notifications held meanwhile. */
struct ob_queue_poll {
	struct ob_poller poller; /* added while active */
	struct ob_timer idle;
	bool active;
	unsigned empty;        /* polls that found nothing */
	uint64_t since;        /* when they began, or 0 */
	unsigned owed;         /* completions that the guest has not answered with entries */
	int balance[2];        /* by what is awaited */
	uint8_t before;        /* what was awaited when the turn began, */
	uint8_t asleep_for;    /* and when the device went to sleep: */
	uint64_t asleep_since; /* then */
	unsigned declined;
	unsigned hold; /* how many may be held: see hold_limit() */
	unsigned held; /* completions that wait for an interrupt of these vectors */
	ob_queue_set vectors;
};

/* Interrupts of a vector that wait for more completions. */
struct ob_queue_coalescing {
	struct ob_queues *queues;
	struct ob_timer timer;
	unsigned count; /* completions since the last interrupt */
};

struct ob_queues {
	struct ob_loop *loop;
	const struct ob_queue_ops *ops;
	struct ob_queue_options options;
	struct ob_task task;
	struct ob_queue_poll poll;
	/* Queues that exist, were kicked, were emptied by this turn (to be re-armed), */
	ob_queue_set live, kicked, emptied;
	/* with completions to post, and to be notified of. */
	ob_queue_set posting, notifying;
	unsigned count[OB_QUEUE_MAX]; /* completions to be notified of */
	unsigned next;                /* whose turn is next */
	unsigned unposted;            /* completions since the last posting */
	uint64_t work;                /* since the clock was read, in units of a microsecond */
	bool spent;                   /* the turn's time is used up */
	bool in_turn;
	bool yielded;
	bool parked; /* some queue is */
	struct ob_queue_coalescing coalescing[OB_QUEUE_MAX];
};

void ob_queues_init(struct ob_queues *queues, struct ob_loop *loop, const struct ob_queue_ops *ops,
                    const struct ob_queue_options *options);
/* Has a turn begin soon. */
void ob_queues_schedule(struct ob_queues *queues);
/*
 * Ends polling, and takes back the turn that was scheduled. What was posted and not notified of is
 * notified of first, unless the device is reset (notify is false).
 */
void ob_queues_stop(struct ob_queues *queues, bool notify);

/* A queue exists from now on, or no longer. */
void ob_queue_add(struct ob_queues *queues, unsigned id);
void ob_queue_remove(struct ob_queues *queues, unsigned id);
/* Completions of a queue that were not posted, or not notified of, are of no interest any more. */
void ob_queue_completions_drop(struct ob_queues *queues, unsigned id);
/* For ops->poll(): asks for kicks of the queues that this turn has emptied, all the same. */
void ob_queues_arm(struct ob_queues *queues);

static inline bool ob_queue_set_has(const uint64_t *set, unsigned id)
{
	return set[id / 64] >> (id % 64) & 1;
}
static inline void ob_queue_set_add(uint64_t *set, unsigned id)
{
	set[id / 64] |= UINT64_C(1) << (id % 64);
}

static inline void ob_queues_wake(struct ob_queues *queues)
{
	if (!queues->in_turn && !queues->task.prev)
		ob_queues_schedule(queues);
}

/* A queue has entries. */
static inline void ob_queue_kick(struct ob_queues *queues, unsigned id)
{
	ob_queue_set_add(queues->kicked, id);
	ob_queues_wake(queues);
}

/* All entries of a queue were taken: the guest is asked to kick for the next one, or polled. */
static inline void ob_queue_emptied(struct ob_queues *queues, unsigned id)
{
	ob_queue_set_add(queues->emptied, id);
}

/* An entry was fetched that may be the answer to a completion. */
static inline void ob_queue_answered(struct ob_queues *queues)
{
	queues->poll.owed -= queues->poll.owed > 0;
}

/* A queue has a completion to post. */
static inline void ob_queue_complete(struct ob_queues *queues, unsigned id)
{
	queues->unposted++;
	ob_queue_set_add(queues->posting, id);
	ob_queues_wake(queues);
}

/* Posts now what completed, if that is enough for a batch: between entries of a turn. */
void ob_queues_post(struct ob_queues *queues);
static inline void ob_queues_post_batch(struct ob_queues *queues)
{
	/* A guest that keeps us busy is likely to poll for completions as well. */
	if (queues->unposted >=
	    (unsigned)(queues->poll.active ? OB_QUEUE_POST_EARLY : OB_QUEUE_POST_BATCH))
		ob_queues_post(queues);
}

/*
 * Completions of a queue were written. The guest is notified at the end of the turn. answers: it
 * is likely to send an entry for each.
 */
void ob_queue_posted(struct ob_queues *queues, unsigned id, unsigned count, bool answers);
/* Notifies the guest now of all that was posted: for a device that stops. */
void ob_queues_notify(struct ob_queues *queues);

/* Some queue found no memory. Whoever gives memory back unparks them: all are kicked. */
static inline void ob_queues_park(struct ob_queues *queues)
{
	queues->parked = true;
}
void ob_queues_unpark_all(struct ob_queues *queues);
static inline void ob_queues_unpark(struct ob_queues *queues)
{
	if (queues->parked)
		ob_queues_unpark_all(queues);
}

/* Something is to go on with the next turn: ops->resume() is called then. */
static inline void ob_queues_yielded(struct ob_queues *queues)
{
	queues->yielded = true;
	ob_queues_wake(queues);
}

/*
 * Work is counted in units of about a microsecond, and the clock is read once for several of them.
 * Whatever an entry can ask for adds to it, so that a turn is a share of time and not a number of
 * entries.
 */
static inline void ob_queues_work(struct ob_queues *queues, uint64_t units)
{
	queues->work += units;
}
void ob_queues_turn_began(struct ob_queues *queues); /* entries are begun outside of a turn */
static inline bool ob_queues_spent(struct ob_queues *queues)
{
	if (queues->work >= OB_QUEUE_WORK_UNITS) {
		queues->work = 0;
		queues->spent = ob_loop_spent(queues->loop);
	}
	return queues->spent;
}

/*
 * For ops->notify(): interrupts by a vector for count completions: now, or later, because more are
 * expected (polling), or because the guest wants them coalesced: until there are threshold of them,
 * for at most delay_ns. A threshold of 0 or 1, or no delay, is no coalescing.
 */
void ob_queue_interrupt(struct ob_queues *queues, unsigned vector, unsigned count,
                        unsigned threshold, uint64_t delay_ns, bool may_hold);
/* Interrupts that are held or coalesced are sent now, or dropped. */
void ob_queue_interrupts_flush(struct ob_queues *queues);
void ob_queue_interrupts_drop(struct ob_queues *queues);

/*
 * An index that the guest publishes in its memory (NVMe's shadow doorbells, virtio's available
 * index), and the event index that says for which value it is to kick. A poll reads the index; if
 * there is nothing new, it arms the event index and reads once more, since the guest may have
 * written in between. Each may take a message to the client; an index has one poll under way at a
 * time.
 */
struct ob_queue_index;
struct ob_queue_index_ops {
	bool (*running)(const struct ob_queue_index *index);
	/* The guest's index as it was read. */
	void (*read)(struct ob_queue_index *index, uint32_t value);
	/* Whether a kick is wanted for what comes next, */
	bool (*wants_kick)(const struct ob_queue_index *index);
	/* and what the event index has to be for that. */
	uint32_t (*event)(const struct ob_queue_index *index);
	/* The client's memory can't be reached. */
	void (*failed)(struct ob_queue_index *index, int error, uint64_t address);
};

enum ob_queue_index_state {
	OB_QUEUE_INDEX_IDLE,
	OB_QUEUE_INDEX_READING, /* the guest's index */
	OB_QUEUE_INDEX_ARMING,  /* writing the event index */
};

struct ob_queue_index {
	const struct ob_queue_index_ops *ops;
	struct ob_dev *dev;
	uint64_t address, event_address; /* set these before the first use */
	struct ob_dma_op op;
	uint8_t bytes[4];
	uint8_t width;  /* bytes of each: 2 or 4 */
	uint8_t state;  /* enum ob_queue_index_state */
	bool again;     /* a poll was asked for meanwhile */
	bool armed;     /* the guest will kick for what comes next */
	bool fresh;     /* not kicked yet: what stands there may be an older queue's */
	uint16_t event; /* the event index as it was written last */
};

void ob_queue_index_init(struct ob_queue_index *index, struct ob_dev *dev,
                         const struct ob_queue_index_ops *ops, uint8_t width);
/* Polls until there is nothing new, and the guest will kick for what comes next. */
void ob_queue_index_poll(struct ob_queue_index *index);
/* Of a new queue: arms, and does not read before the first kick. */
void ob_queue_index_open(struct ob_queue_index *index);
/* After a quiesce, or with a state that was loaded. */
void ob_queue_index_resume(struct ob_queue_index *index);
void ob_queue_index_stop(struct ob_queue_index *index);
/*
 * Suppresses kicks: an event index that stays where it is would be passed once in each lap of the
 * queue, so it is moved to a place that the guest has passed already. It has to be true only when
 * polling ends.
 */
void ob_queue_index_suppress(struct ob_queue_index *index, uint16_t passed);

#endif

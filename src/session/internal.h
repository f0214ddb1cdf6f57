/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the session share: its struct, requests and replies. */
#ifndef SESSION_INTERNAL_H
#define SESSION_INTERNAL_H

#include "base/list.h"
#include "loop/loop.h"
#include "migrate/migrate.h"
#include "notify.h"
#include "session.h"
#include "stats.h"
#include "wait.h"
#include "wire/version.h"
#include "wire/wire.h"

/* See the table of moves in reply.c. */
enum session_state {
	SESSION_NEGOTIATING, /* nothing but VERSION is taken */
	SESSION_RUNNING,
	SESSION_WAITING, /* a command waits: see wait.h; the link is paused */
	SESSION_CLOSED,  /* given up; the owner will end it */
	SESSION_LEAVING, /* the owner has ended it */
	SESSION_ENDED,
	SESSION_STATES,
};

/* A descriptor for what: place in session_irqs.fds. */
enum session_irq_event { IRQ_ON_TRIGGER, IRQ_ON_MASK, IRQ_ON_UNMASK, IRQ_EVENTS };

struct session_irqs {
	struct pci_irq_sink sink;
	struct notifier *notifier; /* shared by all sessions of the loop */
	struct ob_timer hold;      /* of the pin's next signal: see unmask_pin() */
	struct ob_timer retry;     /* of signals that could not be given: see signal_irq() */
	struct ob_task retry_soon; /* the same */
	/* One descriptor for each vector, -1 where there is none; NULL until the first is set. */
	int *fds[PCI_IRQ_KINDS][IRQ_EVENTS];
	unsigned held; /* descriptors in them */
};

/*
 * Requests to the client, by slot; the slot's number is the message id. A slot stays in use until
 * the reply is there, even if the operation was cancelled meanwhile, so that a late reply is known
 * for what it is.
 */
struct session_slot {
	struct ob_dma_op *op; /* NULL: free, or cancelled */
	uint64_t address;
	uint32_t count;
	uint32_t next; /* in the list of free ones, or in the queue */
	bool write, queued, sent;
};

struct session_remote {
	struct dma_remote remote;
	struct session_slot *slots;
	uint32_t slot_count;
	uint32_t free;              /* SLOT_NONE: none */
	uint32_t queue, queue_last; /* not sent yet, oldest first */
	uint32_t sent_count;
	uint64_t sent_bytes; /* asked for and not answered yet */
};

/* A long access to a region: its request's payload, and behind it what a read has read. */
struct session_access {
	uint8_t *payload;
	uint64_t done; /* bytes, or writes */
};

/* A DMA_LOGGING_REPORT that goes on in slices: its request, and what was found so far. */
struct session_report {
	struct wire_device_feature header;
	struct wire_dma_report asked;
	struct dma_log_report log;
	uint64_t size; /* of the bitmap, in bytes */
};

/* A SET_IRQS that acts on many vectors, and goes on in slices. */
struct session_irq_acts {
	struct wire_set_irqs set;
	uint8_t *bools; /* a copy, of one that goes on */
	unsigned done;
};

/* The command that waits, and how far it is. */
struct session_wait {
	enum session_wait_kind kind;
	struct wire_header request;
	struct wire_dma_unmap unmap;
	struct session_access access;
	struct session_report report;
	struct session_irq_acts irq_acts;
	struct {
		struct wire_device_feature header;
		struct wire_mig_device_state state;
	} set_state; /* the payload of a MIG_DEVICE_STATE */
};

/* slow.c */
struct session_slow {
	struct ob_timer timer;
	uint64_t since;
	bool on;
	const char *waiter; /* what the log said that it waits; NULL: nothing */
};

struct session {
	struct ob_dev *dev;
	struct pci *pci;
	struct dma_space *dma;
	struct session_link *link;
	struct session_link *twin; /* where our commands go; NULL: with everything else */
	struct log *log;
	struct session_limits limits;
	enum session_state state;
	struct wire_capabilities client; /* from VERSION */
	int minor;                       /* of the version agreed on; -1: none yet */
	bool busy; /* a message is being handled: a reply may be half written */

	struct session_wait wait;
	struct ob_task step;
	struct dma_waiter unmap_waiter;
	/* The device is kept quiet for this session: see session_make_quiet(). */
	struct device_hold hold;
	struct migrate_waiter migrate_waiter;
	bool asked;         /* by the wait at hand: the waiter is told when it is over */
	int migrate_status; /* what it was told */
	struct session_slow slow;

	bool warned_of_fd;     /* the client gave one that is not used */
	bool warned_of_memory; /* that it is not shared */
	bool lost_fds;         /* of the next message */
	unsigned counted;      /* descriptors, in limits.fds */

	struct migration *migration; /* NULL: the device does not migrate */
	bool moves;                  /* the client has asked for a state */
	struct device_owner owner;   /* this client, as the device will remember it */
	unsigned maps;               /* DMA_MAPs so far, up to a bound: see memory.c */
	struct session_irqs irqs;
	struct session_remote remote;
	struct dma_watcher watcher;

	void (*ended)(void *context);
	void *ended_context;

	struct session_stats stats;
	struct session_command_stats *timed; /* of the command at hand; NULL: not timed */
	uint64_t timed_from;
};

struct request {
	struct wire_header header;
	const uint8_t *payload;
	size_t length;
	int *fds;
	unsigned fd_count;
	const char *why; /* what was wrong with it, for the log; NULL: just the error */
};

/*
 * A command. Returns 0 when it has replied, -EINPROGRESS when it will, or -errno, which becomes
 * the error reply.
 */
typedef int session_handler(struct session *session, struct request *request);

session_handler session_get_info, session_get_region_info, session_get_region_io_fds,
	session_get_irq_info, session_set_irqs, session_region_read, session_region_write,
	session_region_write_multi, session_dma_map, session_dma_unmap, session_reset,
	session_device_feature, session_mig_data_read, session_mig_data_write;

/* Notes what is wrong, and returns error. */
static inline int refuse(struct request *request, int error, const char *why)
{
	request->why = why;
	return error;
}

/* Sends a reply with size bytes of payload, unless none is wanted. Returns 0. */
int session_reply(struct session *session, const struct wire_header *request, const void *payload,
                  size_t size);

/* The same with descriptors, which stay the caller's. */
int session_reply_fds(struct session *session, const struct wire_header *request,
                      const void *payload, size_t size, const int *fds, unsigned fd_count);

void session_reply_error(struct session *session, const struct wire_header *request, int error);

/* Brings the count of held descriptors up to date. */
void session_count_fds(struct session *session);

/* Whether so many more descriptors may be held. */
bool session_may_hold(const struct session *session, unsigned more);

/* memory.c: waiters. */
void session_memory_init(struct session *session);

/*
 * memory.c: has the device begin nothing from now on, and be quiet. 0 or -EINPROGRESS: the wait's
 * next step is when it is. Whoever resets, or takes the device over, has the hold from then on.
 */
int session_make_quiet(struct session *session, enum device_hold_reason reason);

/* memory.c: the client goes, and the device's state speaks of its memory from now on. */
void session_leave_memory(struct session *session);

/* memory.c: the reset before the first map was dropped: who comes next finds who left before. */
void session_forget_maps(struct session *session);

/* migration.c: as migrate_reset(); the wait's next step has the answer in migrate_status. */
int session_migrate_reset(struct session *session);

/* migration.c: gives back the memory of a log that was stopped. False: there is more of it. */
bool session_reap_log(struct session *session);

/* stats.c: the command at hand has been dealt with. */
void session_stats_end(struct session *session);

static inline struct session_command_stats *session_stats_of(struct session *session,
                                                             unsigned command)
{
	return &session->stats.command[command < SESSION_STAT_COMMANDS ? command : 0];
}

/* A command has come. */
static inline void session_stats_begin(struct session *session, unsigned command, size_t length)
{
	struct session_command_stats *stats = session_stats_of(session, command);
	bool many = command == WIRE_REGION_READ || command == WIRE_REGION_WRITE ||
	            command == WIRE_REGION_WRITE_MULTI;

	stats->bytes += length;
	if (stats->messages++ % SESSION_TIMED_EVERY && many)
		return;
	session->timed = stats;
	session->timed_from = ob_loop_now();
}

/* Logs a violation of the protocol that cannot be answered, and gives the client up. */
void session_violation(struct session *session, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Gives the client up, with a reason (-errno) that the owner sees. Whoever calls has logged why. */
void session_give_up(struct session *session, int reason);

void session_move(struct session *session, enum session_state to);

/* irqs.c */
void session_irqs_init(struct session *session);
/* Closes all descriptors and takes the sink back. */
void session_irqs_end(struct session *session);

/* slow.c: to be called whenever the state has changed. */
void session_slow_init(struct session *session);
void session_slow_update(struct session *session);

/* remote.c */
void session_remote_init(struct session *session);
void session_remote_free(struct session *session);
/* A reply to one of our requests. */
void session_remote_reply(struct session *session, const struct request *reply);
/* Sends queued requests, as many as the bounds let. */
void session_remote_send(struct session *session);

#endif

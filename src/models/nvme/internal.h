/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller at run time: commands in flight, queues' transfers, timers. All of it can be made
 * again from properties and state (state.h).
 *
 * A command is fetched (fetch.c), goes through its phases (command.c) and is completed (complete.c,
 * cq.c). Every phase that reaches for guest memory or a drive may be over at once or later; what
 * ends its wait (wait.c) has the command advance again. Queues are the queue engine's
 * (outboard/queue.h).
 *
 * The declarations are in the order of who calls whom: what is declared later may be called only by
 * pointer from what is declared earlier.
 */
#ifndef NVME_INTERNAL_H
#define NVME_INTERNAL_H

#include "outboard/queue.h"
#include "state.h"

extern const struct ob_model nvme_model;
extern const struct ob_migration nvme_migration;

struct nvme;
struct nvme_cmd;

enum {
	NVME_MAX_COMMANDS = 1024,  /* in flight on one controller */
	NVME_ADMIN_RESERVE = 16,   /* of these, for the admin queue only */
	NVME_COMMAND_CHUNK = 16,   /* allocated at a time */
	NVME_WORK_BYTES = 8 << 10, /* moved in about a microsecond: a unit of work, */
	NVME_WORK_ENTRIES = 64,    /* as are so many entries or descriptors that are read */
	NVME_POST_BATCH = 16,      /* completions written at a time */
	NVME_INLINE_RANGES = OB_XFER_INLINE_IOV,
	NVME_MAX_RANGES = 1024, /* what an ob_xfer takes */
	NVME_PAGE = 4096,       /* the buffers of the page pool */
	NVME_SPARE_PAGES = 64,
	NVME_TEMPERATURE = 310, /* K; nothing here gets warm */
	NVME_TEMPERATURE_WARNING = 343,
	NVME_TEMPERATURE_CRITICAL = 353,
	/*
	 * What Write Zeroes takes, 32 MiB: as many blocks of 512 bytes as its field can say. Linux
	 * cuts a longer command's count of blocks to the field's 16 bits without a word.
	 */
	NVME_ZEROES_PAGES_SHIFT = 13,
	NVME_ZEROES_MAX = NVME_PAGE << NVME_ZEROES_PAGES_SHIFT,
	NVME_WORK_CHUNK = 1 << 26, /* bytes of a Format between two looks at everything else, */
	NVME_FREE_CHUNK = 1 << 17, /* also where the drive is memory, which is freed on the spot */
};

/* Of a paced sweep: times of a request, in ns, and how many there are at least. */
enum {
	NVME_SWEEP_QUICK = 5 * 1000 * 1000,
	NVME_SWEEP_SLOW = 50 * 1000 * 1000,
	NVME_SWEEP_PIECES = 256,
};

/*
 * What a phase of a command returns: 0 (the next phase follows), a status of the specification's,
 * with which the command completes, or one of these.
 */
enum {
	NVME_PENDING = -1, /* it waits, and is advanced again when that has ended */
	NVME_FETCH = -2,   /* from a walk of PRPs or SGLs: it wants more of the guest's list */
	NVME_YIELD = -3,   /* others have their turn first */
	NVME_SUSPEND = -4, /* it begins again when the device resumes */
	NVME_KEPT = -5,    /* what is left of it is in the controller's state */
};

/* What a read gets for an error of its drive that is ignored: there is no data, and it succeeds. */
enum { NVME_IGNORED = 1 };

/* A ring of commands. */
struct nvme_link {
	struct nvme_link *next, *prev;
};

/* What nvme_cmd_advance() does next with a command. */
enum nvme_phase {
	NVME_CHECK,  /* the entry is checked */
	NVME_LIST,   /* its PRP list or SGL segments are read: where its data is */
	NVME_MAPPED, /* its transfer has begun */
	NVME_WORK,   /* the drive works, in one request or in several */
	NVME_FINISH, /* the drive is done: what the opcode does then */
	NVME_ENDED,  /* its transfer has ended */
};

/* What a command waits for. */
enum nvme_wait {
	NVME_WAIT_NONE,
	NVME_WAIT_LIST,   /* a piece of a PRP list or SGL segment */
	NVME_WAIT_BEGIN,  /* ob_xfer_begin() */
	NVME_WAIT_DRIVE,  /* a block request */
	NVME_WAIT_END,    /* ob_xfer_end() */
	NVME_WAIT_TURN,   /* the next turn */
	NVME_WAIT_QUEUE,  /* Delete I/O Submission Queue: the queue's last command */
	NVME_WAIT_RESUME, /* the device is quiesced: from the beginning, later */
	NVME_WAIT_POST,   /* completed: room in its completion queue */
};

/* Data between guest and controller. */
enum nvme_data {
	NVME_DATA_NONE,
	NVME_DATA_TO_GUEST, /* the drive's, right to and from the guest's memory */
	NVME_DATA_FROM_GUEST,
	NVME_PAGE_TO_GUEST,   /* at most a page: cmd->page, which finish() fills */
	NVME_PAGE_FROM_GUEST, /* at most a page: in cmd->page when work() and finish() are called */
};

/*
 * An opcode: opcodes.c has the table. check() says how many bytes of data there are, in
 * cmd->data_length. work() makes the requests of a command that is not a single one (which is
 * block), and is called again, with what the request returned, after each of its waits. finish()
 * is called when the drive is done, and does all that commands without drive and data do.
 * completed() is called last of all: what the guest is to see after the completion.
 */
struct nvme_op {
	const char *name;
	uint32_t effects; /* Commands Supported and Effects log (5.14.1.5) */
	uint8_t data;     /* enum nvme_data */
	uint8_t block;    /* enum ob_block_op, with DATA_TO_GUEST and DATA_FROM_GUEST */
	bool any_nsid;    /* I/O commands: NSID may be FFFFFFFFh */
	bool has_blocks;  /* SLBA and NLB */
	int (*check)(struct nvme_cmd *cmd);
	int (*work)(struct nvme_cmd *cmd, int error);
	int (*finish)(struct nvme_cmd *cmd);
	void (*completed)(struct nvme_cmd *cmd);
};

/* Globally unique names (5.15.2), as they stand in Identify; all zeroes: there is none. */
struct nvme_names {
	uint8_t uuid[16], nguid[16], eui64[8];
};

struct nvme_namespace {
	struct ob_block *block; /* NULL: there is no namespace of this number */
	uint64_t offset, size;  /* in bytes, of the drive */
	uint32_t nsid;
	uint32_t share;              /* of so many, which its drive is divided into */
	struct nvme_cmd *formatting; /* the command that does */
	struct nvme_names names;
};

enum nvme_walk_state {
	NVME_WALK_BEGIN,
	NVME_WALK_FETCH, /* the next piece of the list is to be read */
	NVME_WALK_READ,  /* it stands in cmd->page */
};

/* Where a walk of a PRP list or of SGL segments stands. */
struct nvme_walk {
	uint8_t state;         /* enum nvme_walk_state */
	bool last;             /* SGL: this is the last segment */
	uint32_t fetch;        /* how much is to be fetched next, */
	uint64_t address;      /* and where it is */
	uint64_t left;         /* data bytes still without an address */
	uint64_t segment_left; /* SGL: bytes of the segment from address on */
	unsigned descriptors;  /* SGL: seen so far, to bound the walk */
};

/* One request after the other over a part of the drive: see nvme_sweep(). */
struct nvme_sweep {
	enum ob_block_op op;
	unsigned flags;
	uint64_t chunk;
	uint64_t most;  /* what chunk may grow to; 0: it stays as it is */
	uint64_t began; /* the request under way; 0: none */
};

struct nvme_cmd {
	struct nvme_link link;      /* of a submission queue's commands or a completion queue's */
	struct nvme_link turn_link; /* of those that yielded */
	struct nvme *nvme;
	const struct nvme_op *op;       /* NULL: not found yet */
	uint32_t dw[NVME_SQE_SIZE / 4]; /* the entry: the one copy, in the host's byte order */
	uint16_t sqid, cqid;
	uint16_t status;
	uint32_t result;
	uint8_t phase; /* enum nvme_phase */
	uint8_t wait;  /* enum nvme_wait */
	bool dropped;  /* the controller was reset under it: ends without a trace */

	struct nvme_namespace *ns;
	uint64_t lba;
	uint64_t offset, length; /* on the drive; of a sweep, what is left of it */
	unsigned step;           /* of a command that is several requests */
	struct nvme_sweep sweep;
	uint64_t begun, reported; /* Format: when it began, and when the log heard of it last */
	uint32_t changed;         /* Format: the namespace to be reported when it has completed */

	/* Data between guest and controller: see data.c. */
	enum ob_dma_dir dir;
	bool has_xfer, claims; /* claims: Format has a claim on namespaces */
	uint32_t data_length;
	struct nvme_walk walk;
	struct ob_dma_range *ranges,
		*holes;     /* holes: offset in the data and length of bit buckets */
	struct iovec *iovs; /* as many as ranges, once those are more than inline_ranges */
	unsigned nranges, range_room, nholes;
	uint8_t *page; /* of the page pool: lists, and what admin commands carry */
	uint8_t *bulk; /* malloc()ed: what a drive returned and the guest does not get as it is */
	struct ob_dma_op list_op;
	struct ob_xfer xfer;

	struct ob_block_request request;
	struct iovec bulk_iov;

	struct ob_dma_range inline_ranges[NVME_INLINE_RANGES];
};

/* What ends a command's waits. It is the same for all; given so that pool.c knows nobody above. */
struct nvme_waits {
	void (*list_read)(struct ob_dma_op *op, int error);
	void (*xfer_ready)(struct ob_xfer *xfer, int error);
	void (*request_done)(struct ob_block_request *request, int error);
};

struct nvme_sq {
	struct nvme *nvme;
	uint16_t id;
	struct nvme_link commands; /* fetched and not completed */
	unsigned in_flight;        /* how many these are */
	struct ob_dma_op op;       /* fetches entries */
	unsigned fetching;         /* entries that op fetches; 0: not under way */
	uint8_t *page;             /* for op */
	bool throttled; /* it has its share of commands in flight: kicked by the next completion */
	uint32_t seen;  /* in the doorbell's place in memory, when it was read last */
	struct ob_queue_index shadow;
	struct nvme_cmd *deleter;
};

struct nvme_cq {
	struct nvme *nvme;
	uint16_t id;
	struct nvme_link pending; /* completed commands without an entry yet */
	bool full;                /* there was no room for them */
	struct ob_dma_op op;      /* writes entries */
	bool writing;
	unsigned staged;   /* entries in stage, which are not known to be written, */
	uint16_t stage_at; /* and where they belong. The tail is past them already */
	uint8_t stage[NVME_POST_BATCH * NVME_CQE_SIZE];
	uint32_t seen; /* as a submission queue's */
	struct ob_queue_index shadow;
};

enum { NVME_MAX_WINDOWS = 5 };

struct nvme {
	struct ob_dev *dev;
	const struct nvme_props *props;
	struct nvme_state *state;
	uint32_t page_size; /* CC.MPS */
	uint32_t max_data;  /* MDTS in bytes */
	unsigned vectors;   /* MSI-X vectors */
	bool write_cache;   /* some drive has one */
	bool trace_registers;
	unsigned trace;            /* commands: 1 */
	unsigned ns_count;         /* the highest number that there is */
	struct nvme_namespace *ns; /* NVME_MAX_NAMESPACES of them, by number less 1 */

	struct ob_queues queues;
	bool quiescing;  /* between quiesce and resume */
	bool disabling;  /* CC.EN went to 0, requests are still in flight */
	bool irq_raised; /* INTA# */
	uint32_t *page;  /* the doorbells that clients may map; NULL: none */

	unsigned sq_count;   /* submission queues that exist */
	unsigned full_count; /* completion queues without room */

	const struct nvme_waits *waits;
	unsigned requests; /* in flight on drives */
	struct nvme_link free, yielded;
	unsigned allocated, in_use;
	struct nvme_chunk *chunks;
	struct nvme_page *pages;
	unsigned spare_pages;
	unsigned aborts;

	struct ob_block_request flush; /* of a shutdown */
	bool flushing;
	struct ob_block *flush_drive;
	unsigned flush_next; /* namespace, from 0 on */

	struct nvme_sq sqs[NVME_MAX_PAIRS + 1];
	struct nvme_cq cqs[NVME_MAX_PAIRS + 1];
	struct ob_window windows[NVME_MAX_WINDOWS]; /* of BAR 0 */
};

static inline void nvme_link_init(struct nvme_link *ring)
{
	ring->next = ring->prev = ring;
}
static inline void nvme_link_add(struct nvme_link *ring, struct nvme_link *link)
{
	link->prev = ring->prev;
	link->next = ring;
	ring->prev->next = link;
	ring->prev = link;
}
static inline void nvme_link_del(struct nvme_link *link)
{
	link->next->prev = link->prev;
	link->prev->next = link->next;
	nvme_link_init(link);
}
static inline bool nvme_link_empty(const struct nvme_link *ring)
{
	return ring->next == ring;
}
#define nvme_cmd_of(link_) ob_container_of(link_, struct nvme_cmd, link)

static inline unsigned nvme_cmd_bound(unsigned sqid)
{
	return sqid ? NVME_MAX_COMMANDS - NVME_ADMIN_RESERVE : NVME_MAX_COMMANDS;
}
/* pages.c: pages for lists and small data, and for entries that are fetched by messages */
uint8_t *nvme_page_get(struct nvme *n); /* not zeroed; NULL without memory */
void nvme_page_put(struct nvme *n, uint8_t *bytes);
void nvme_pages_free(struct nvme *n);

/* pool.c: commands, allocated in chunks and used again */
bool nvme_cmd_make_available(struct nvme *n, unsigned sqid);
/* Whether the queue may have one more. If not, it is made ready when that changes. */
static inline bool nvme_cmd_available(struct nvme *n, unsigned sqid)
{
	return (n->in_use < nvme_cmd_bound(sqid) && !nvme_link_empty(&n->free)) ||
	       nvme_cmd_make_available(n, sqid);
}
/*
 * The first commands, and a page. So a queue that finds no memory for more knows that somebody has
 * some, and will wake it: no device waits for memory that nobody gives back. 0 or -ENOMEM.
 */
int nvme_pool_init(struct nvme *n, const struct nvme_waits *waits);
void nvme_pool_free(struct nvme *n);
struct nvme_cmd *nvme_cmd_get(struct nvme_sq *sq);
void nvme_cmd_free(struct nvme_cmd *cmd);
/* Puts a command back to its beginning, until the device resumes. */
void nvme_cmd_suspend(struct nvme_cmd *cmd);
static inline unsigned nvme_opcode(const struct nvme_cmd *cmd)
{
	return cmd->dw[0] & 0xff;
}
static inline uint16_t nvme_cid(const struct nvme_cmd *cmd)
{
	return (uint16_t)(cmd->dw[0] >> 16);
}
static inline uint64_t nvme_dw64(const struct nvme_cmd *cmd, unsigned dw)
{
	return cmd->dw[dw] | (uint64_t)cmd->dw[dw + 1] << 32;
}

/* complete.c */
/* Ends a command with a status: it waits for its place in the completion queue. */
void nvme_complete(struct nvme_cmd *cmd, int status);
/* An entry of the Error Information log. cmd is NULL for an error that is no command's. */
void nvme_log_error(struct nvme *n, const struct nvme_cmd *cmd, uint16_t sqid, uint16_t status);

/* command.c */
/* Goes through the phases of a command until it waits or completes. error: how its wait ended. */
void nvme_cmd_advance(struct nvme_cmd *cmd, int error);
void nvme_cmd_start(struct nvme_cmd *cmd);
/* What waits for the client ends: dropped or suspended. What a drive works on goes on. */
void nvme_cmds_stop(struct nvme *n, bool drop);
void nvme_cmds_resume(struct nvme *n);
/* Those that let others have their turn go on. */
void nvme_cmds_run_yielded(struct nvme *n);

/* wait.c */
extern const struct nvme_waits nvme_waits;

/* opcodes.c: NULL if there is no such opcode */
const struct nvme_op *nvme_op_find(bool io, unsigned opcode);

/*
 * data.c: the guest's memory that a command means by its PRPs or SGLs, cmd->data_length bytes, as a
 * transfer. Each returns as a phase does.
 */
int nvme_data_find(struct nvme_cmd *cmd, int error);
/* After this, cmd->xfer is ready, or (if cmd->has_xfer is false) there is nothing to transfer. */
int nvme_data_map(struct nvme_cmd *cmd);
int nvme_data_mapped(struct nvme_cmd *cmd, int error);
/* keep: the guest is to get what was written to the transfer. */
int nvme_data_end(struct nvme_cmd *cmd, bool keep);
int nvme_data_ended(struct nvme_cmd *cmd, int error);
/*
 * Copies between a buffer of length bytes and the transfer. What the guest wants beyond that is
 * zeroes.
 */
void nvme_data_copy(struct nvme_cmd *cmd, uint8_t *buffer, uint32_t length);
/* Frees what the data of a command took, and ends its transfer without moving anything. */
void nvme_data_free(struct nvme_cmd *cmd);
static inline void nvme_data_release(struct nvme_cmd *cmd)
{
	if (cmd->has_xfer || cmd->page || cmd->bulk || cmd->holes)
		nvme_data_free(cmd);
}
/* The page for lists and small data, of the pool; false without memory. */
bool nvme_cmd_page(struct nvme_cmd *cmd);

/* ranges.c */
/* Adds guest memory to the data. 0 or a status. */
int nvme_add_range(struct nvme_cmd *cmd, uint64_t address, uint64_t length);
/* Remembers bytes of the data that the guest does not want. 0 or a status. */
int nvme_add_hole(struct nvme_cmd *cmd, uint64_t length);

/* prp.c, sgl.c: a status, or NVME_FETCH: walk.fetch bytes at walk.address into cmd->page first */
int nvme_prp_begin(struct nvme_cmd *cmd);
int nvme_prp_more(struct nvme_cmd *cmd);
int nvme_sgl_begin(struct nvme_cmd *cmd);
int nvme_sgl_more(struct nvme_cmd *cmd);
/* queues.c: all of them */
void nvme_queues_init(struct nvme *n);
/* All queues are gone, and what they had under way. Commands are dropped. */
void nvme_queues_clear(struct nvme *n);
void nvme_queues_stop(struct nvme *n);
void nvme_queues_resume(struct nvme *n);
/* All that the runtime knows of queues, from the state. */
void nvme_queues_rebuild(struct nvme *n);
/* Whether commands are fetched and completions posted. */
static inline bool nvme_running(const struct nvme *n)
{
	return (n->state->csts & (NVME_CSTS_RDY | NVME_CSTS_CFS)) == NVME_CSTS_RDY &&
	       !n->quiescing && !n->disabling;
}

/* fetch.c */
unsigned nvme_fetch(struct ob_queues *queues, unsigned id, unsigned max);

/* sq.c */
void nvme_sq_open(struct nvme *n, unsigned id, uint64_t base, uint32_t entries, uint16_t cqid);
/* Its commands were completed or dropped. */
void nvme_sq_close(struct nvme_sq *sq);
/* Ends a fetch under way: the entries stay in the queue. */
void nvme_sq_stop(struct nvme_sq *sq);
/* Kicks the queue if it has entries. */
void nvme_sq_kick(struct nvme_sq *sq);
static inline struct nvme_sq_state *nvme_sq_state(const struct nvme_sq *sq)
{
	return &sq->nvme->state->sq[sq->id];
}

/* cq.c */
void nvme_cq_open(struct nvme *n, unsigned id, uint64_t base, uint32_t entries, bool irq,
                  uint16_t vector);
void nvme_cq_close(struct nvme_cq *cq);
void nvme_cq_stop(struct nvme_cq *cq);
/* Writes what is pending of a completion queue. */
void nvme_post(struct ob_queues *queues, unsigned id);
static inline struct nvme_cq_state *nvme_cq_state(const struct nvme_cq *cq)
{
	return &cq->nvme->state->cq[cq->id];
}
/* How far it is from one place in a ring to another. */
static inline uint32_t nvme_distance(uint32_t from, uint32_t to, uint32_t entries)
{
	return to >= from ? to - from : to + entries - from;
}

/* doorbell.c: a register is written */
void nvme_doorbell(struct nvme *n, unsigned index, uint32_t value);
/* A kick by an eventfd, which brings no value. */
void nvme_doorbell_kicked(struct nvme *n, unsigned index);

/* index.c: new tail or head, from a doorbell register or from its shadow. True if it changed. */
bool nvme_sq_set_tail(struct nvme_sq *sq, uint32_t value);
bool nvme_cq_set_head(struct nvme_cq *cq, uint32_t value);
/* The same for what was read in memory, which is news only once. */
bool nvme_sq_tail_read(struct nvme_sq *sq, uint32_t value);
bool nvme_cq_head_read(struct nvme_cq *cq, uint32_t value);

/* page_doorbells.c */
/* A new queue: what stands in the page is of an older one. */
void nvme_page_clear(struct nvme *n, unsigned id, bool completion);
void nvme_page_clear_all(struct nvme *n);
/* Whether it was written since this was asked last. */
bool nvme_page_was_kicked(const struct nvme *n, unsigned id, bool completion);
/* The value of a doorbell there; false: it was not written yet. */
bool nvme_page_read(const struct nvme *n, unsigned id, bool completion, uint32_t *value);

/* shadow.c: doorbells in memory, as the queue engine asks for them */
bool nvme_doorbells_can_poll(struct ob_queues *queues);
bool nvme_doorbells_poll(struct ob_queues *queues);
void nvme_doorbells_suppress(struct ob_queues *queues);
void nvme_doorbells_arm(struct ob_queues *queues, unsigned id);
void nvme_cq_poll_room(struct nvme_cq *cq);
void nvme_shadow_init(struct nvme *n);
/* A queue that is new, or new to the shadow buffer. */
void nvme_shadow_open_sq(struct nvme_sq *sq);
void nvme_shadow_open_cq(struct nvme_cq *cq);
void nvme_shadow_resume_sq(struct nvme_sq *sq);
void nvme_shadow_resume_cq(struct nvme_cq *cq);
static inline bool nvme_shadowed(const struct nvme *n, unsigned qid)
{
	/* Drivers write the admin queue's registers only, whatever the buffer says. */
	return n->state->shadow && qid;
}

/* skip.c: entries that were aborted before they were fetched */
/* The place of an entry in state->skips, or skip_count. */
unsigned nvme_skip_find(const struct nvme_state *s, unsigned sqid, unsigned index);
/* Whether the entry at index is one; it is forgotten. */
bool nvme_skip_take(struct nvme_sq *sq, unsigned index);
void nvme_skips_clear(struct nvme_sq *sq);
/* Drops what no queue has waiting, or what stands there twice: the state was loaded. */
void nvme_skips_rebuild(struct nvme_state *s);

/* irq.c */
void nvme_notify(struct ob_queues *queues, unsigned id, unsigned count);
void nvme_interrupt(struct ob_queues *queues, unsigned vector);
/* The pin follows the queues. */
void nvme_irq_update(struct nvme *n);
void nvme_irq_changed(struct ob_dev *dev, unsigned vector);
/* Whether Doorbell Buffer Config is offered: see irq.c. */
bool nvme_may_shadow(const struct nvme *n);
/* The guest consumed entries. */
void nvme_irq_consumed(struct nvme *n);

/* fatal.c */
void nvme_fatal(struct nvme *n, const char *what, uint64_t where);

/* namespace.c */
extern const struct ob_part nvme_namespace_part;
int nvme_namespaces_check(const struct nvme_props *props, struct ob_error *err);
int nvme_namespaces_make(struct nvme *n, struct ob_error *err);
/* Of each of share namespaces of a drive of so many bytes: equal parts, whole pages if several. */
uint64_t nvme_namespace_size(uint32_t share, uint64_t size);
/* Whether a drive can be divided so, with blocks of 1 << shift bytes; leave: whatever is left. */
int nvme_namespace_check(const struct ob_block *drive, uint32_t share, unsigned shift, bool leave,
                         struct ob_error *err);
/* Puts one in its place, which is free. */
void nvme_namespace_add(struct nvme *n, const struct nvme_namespace *ns, unsigned shift);
static inline unsigned nvme_shift_of(uint32_t block_size)
{
	return block_size ? 12 : 9;
}
/* Says so if no namespace has the end of the drive, which has so many bytes. */
void nvme_warn_of_tail(const struct nvme *n, const struct nvme_namespace *ns, uint64_t size);
/* Takes a command's claims on namespaces back. */
void nvme_namespaces_release(struct nvme_cmd *cmd);
/* How much of a namespace is still to be formatted, in percent; 0: it is not being formatted. */
unsigned nvme_format_left(const struct nvme_namespace *ns);
static inline struct nvme_namespace *nvme_namespace(struct nvme *n, uint32_t nsid)
{
	return nsid && nsid <= n->ns_count && n->ns[nsid - 1].block ? &n->ns[nsid - 1] : NULL;
}
/* Where nvme_namespace() has none: a number that is not in use is not an invalid one (6.1.5). */
static inline int nvme_namespace_status(const struct nvme *n, uint32_t nsid)
{
	return nsid && nsid <= n->ns_count ? NVME_INVALID_FIELD : NVME_INVALID_NAMESPACE;
}
/* The next namespace from number i + 1 on that has a drive which none before it has, or NULL. */
static inline struct nvme_namespace *nvme_next_drive(const struct nvme *n, unsigned *i)
{
	while (*i < n->ns_count) {
		struct nvme_namespace *ns = &n->ns[(*i)++];

		if (ns->block && !ns->offset)
			return ns;
	}
	return NULL;
}
static inline unsigned nvme_lba_shift(const struct nvme *n, const struct nvme_namespace *ns)
{
	return n->state->lba_shift[ns->nsid - 1];
}
static inline uint64_t nvme_blocks(const struct nvme *n, const struct nvme_namespace *ns)
{
	return ns->size >> nvme_lba_shift(n, ns);
}

/* controller.c: enable, reset, shutdown, fatal errors */
void nvme_set_cc(struct nvme *n, uint32_t value);
/* To be called when a request of a drive has ended. */
void nvme_request_ended(struct nvme *n);
void nvme_shutdown_continue(struct nvme *n);

/* trace.c: lines for whoever asked for them. */
void nvme_trace_entry(struct nvme_sq *sq, const uint8_t *entry); /* it is to be begun */
void nvme_trace_completion(const struct nvme_cmd *cmd);
void nvme_trace_register(struct ob_dev *dev, bool write, uint64_t offset, uint64_t value);

/* windows.c: what BAR 0 is, in *bar; n->windows holds it. */
void nvme_windows_make(struct ob_dev *dev, const struct nvme_props *props, struct ob_bar *bar);

/* regs.c */
uint64_t nvme_read(struct ob_dev *dev, uint64_t offset, unsigned size);
void nvme_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size);
/* In the place of these where registers are traced. */
uint64_t nvme_traced_read(struct ob_dev *dev, uint64_t offset, unsigned size);
void nvme_traced_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size);

/* What opcodes.c has in its table: see struct nvme_op. */
int nvme_flush_work(struct nvme_cmd *cmd, int error);
int nvme_read_check(struct nvme_cmd *cmd);
int nvme_read_finish(struct nvme_cmd *cmd);
int nvme_write_check(struct nvme_cmd *cmd);
int nvme_write_finish(struct nvme_cmd *cmd);
int nvme_compare_finish(struct nvme_cmd *cmd);
int nvme_verify_check(struct nvme_cmd *cmd);
int nvme_write_zeroes_check(struct nvme_cmd *cmd);
int nvme_dataset_check(struct nvme_cmd *cmd);
int nvme_dataset_work(struct nvme_cmd *cmd, int error);
int nvme_identify_check(struct nvme_cmd *cmd);
int nvme_identify_finish(struct nvme_cmd *cmd);
int nvme_get_log_check(struct nvme_cmd *cmd);
int nvme_get_log_finish(struct nvme_cmd *cmd);
void nvme_get_log_completed(struct nvme_cmd *cmd);
int nvme_get_features_check(struct nvme_cmd *cmd);
int nvme_get_features_finish(struct nvme_cmd *cmd);
int nvme_set_features_check(struct nvme_cmd *cmd);
int nvme_set_features_finish(struct nvme_cmd *cmd);
int nvme_create_sq(struct nvme_cmd *cmd);
int nvme_create_cq(struct nvme_cmd *cmd);
int nvme_delete_sq(struct nvme_cmd *cmd);
int nvme_delete_cq(struct nvme_cmd *cmd);
int nvme_doorbell_buffer(struct nvme_cmd *cmd);
int nvme_abort(struct nvme_cmd *cmd);
int nvme_async_event(struct nvme_cmd *cmd);
int nvme_format_check(struct nvme_cmd *cmd);
int nvme_format_work(struct nvme_cmd *cmd, int error);
void nvme_format_completed(struct nvme_cmd *cmd);

/* io.c: an entry that will be fetched soon, as the guest has it now: nothing but a hint. */
void nvme_io_expect(struct nvme *n, const uint8_t *entry);

/* features.c, event.c */
void nvme_features_reset(struct nvme *n);
void nvme_event(struct nvme *n, uint8_t type, uint8_t info, uint8_t log);
void nvme_events_post(struct nvme *n);
void nvme_namespace_changed(struct nvme *n, uint32_t nsid);
uint8_t nvme_critical_warning(const struct nvme *n);

/* block.c: requests to drives */
/*
 * What becomes of a command whose request has failed: -errno, 0 or NVME_IGNORED for it to go on
 * with, or -EINPROGRESS: it begins again when the device resumes.
 */
int nvme_block_settle(struct nvme_cmd *cmd, int error);
/*
 * Submits a request for the command. Returns what nvme_block_settle() does, or 0, when it has
 * ended, or -EINPROGRESS: the command is advanced when it has, or begins again.
 */
int nvme_submit(struct nvme_cmd *cmd, enum ob_block_op op, unsigned flags, uint64_t offset,
                uint64_t length);
/* The one request of Read, Write and Compare. */
int nvme_submit_data(struct nvme_cmd *cmd);
/*
 * A sweep makes the same request over cmd->offset to cmd->length, in chunks with turns of everybody
 * else between them. begin says what it will do. nvme_sweep() is a work function: 0 at its end.
 */
void nvme_sweep_begin(struct nvme_cmd *cmd, enum ob_block_op op, unsigned flags, uint32_t chunk);
/* For a Format: in pieces that grow and shrink with the time that the drive takes for them. */
void nvme_sweep_begin_paced(struct nvme_cmd *cmd, enum ob_block_op op, unsigned flags);
int nvme_sweep(struct nvme_cmd *cmd, int error);
/* How much of a discard, or of zeroes, a drive is asked for at a time. */
static inline uint32_t nvme_chunk_of(const struct nvme_namespace *ns, enum ob_block_op op)
{
	return op != OB_BLOCK_READ && ob_block_info(ns->block)->copies ? NVME_FREE_CHUNK
	                                                               : NVME_WORK_CHUNK;
}
/* Without a volatile write cache, each write is on stable storage when it completes. */
static inline unsigned nvme_write_flags(const struct nvme_cmd *cmd)
{
	return cmd->dw[12] & NVME_RW_FUA || !cmd->nvme->state->features.write_cache ? OB_BLOCK_FUA
	                                                                            : 0;
}
bool nvme_make_bulk(struct nvme_cmd *cmd, size_t size);
int nvme_block_error(struct nvme_cmd *cmd, int error, bool write);
static inline int nvme_block_status(struct nvme_cmd *cmd, int error, bool write)
{
	return error ? nvme_block_error(cmd, error, write) : 0;
}

#endif

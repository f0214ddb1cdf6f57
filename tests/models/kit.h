/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drives a device model in-process: a real event loop, a DMA space with guest memory that is shared
 * or reached by messages, interrupts that are counted, and drives that can be made to wait and
 * fail.
 *
 * A test registers with KIT_TESTS() and is run twice, once for each kind of guest memory.
 */
#ifndef KIT_H
#define KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "block/block.h"
#include "device/device.h"
#include "loop/loop.h"

enum kit_mode { KIT_SHARED, KIT_MESSAGES };

enum {
	KIT_DRIVES = 4,
	KIT_LINES = 32,
	KIT_VECTORS = 160,
	KIT_ASKED = 4096,
	KIT_CALLS = 4096,
	KIT_KEPT = 1 << 30, /* the size of a drive beyond which it keeps nothing */
};

#define KIT_BASE UINT64_C(0x100000000) /* where guest memory is */
#define KIT_MEMORY UINT64_C(0x4000000)

/* A request that a drive saw. */
struct kit_call {
	enum ob_block_op op;
	unsigned flags;
	uint64_t offset, length;
};

/* A block node in memory that does as it is told. */
struct kit_drive {
	struct ob_block block; /* first */
	uint8_t *data;
	bool later;           /* requests end on the next turn */
	bool hold;            /* requests end when kit_drive_release() is called */
	bool partly;          /* of requests that allow it only a half is done, rounded up */
	int fail[5];          /* -errno, by operation */
	uint64_t fail_offset; /* only for requests that touch this byte, unless UINT64_MAX */
	struct ob_block_request *held;
	struct ob_task finish;
	struct kit_call calls[KIT_CALLS];
	unsigned call_count;
};

struct kit {
	enum kit_mode mode;
	struct log log;
	struct ob_loop *loop;
	struct ob_dev *dev;

	int fd; /* of guest memory */
	uint8_t *memory;
	struct dma_waiter unmapped;
	bool is_unmapped;
	struct device_hold holds[4]; /* kit_quiesce() */
	unsigned held;
	uint64_t next; /* free guest memory, for kit_alloc() */

	struct dma_remote remote;
	bool hold_dma;                 /* the client does not answer what touches this range */
	uint64_t hold_at, hold_length; /* 0: everything */
	struct ob_dma_op *asked[KIT_ASKED];
	unsigned asked_count;
	uint64_t answered;
	struct ob_task answer;

	struct pci_irq_sink sink;
	unsigned signals[PCI_IRQ_KINDS][KIT_VECTORS];

	struct kit_drive drives[KIT_DRIVES];
	unsigned drive_count;
	/* Chardevs that devices were given ("chardev=c0"), each a new one; the last one is at the
	 * present device. See line.h. */
	struct ob_chardev *lines[KIT_LINES];
	unsigned line_count;

	unsigned errors;                /* of drives, that the machine heard of, */
	struct device_error last_error; /* and the last one */

	/* To make another one of the same, for kit_migrate(). */
	char model[32], options[512];
	unsigned wired; /* MSI-X vectors that the client listens to, */
	char why[512];  /* of kit_load() */
	bool wired_pin; /* and whether to the pin */
	uint64_t random;
	void *more; /* a test's own */
};

/* A kit without a device; then drives; then the device, with options "a=b,c=d". */
struct kit *kit_new(enum kit_mode mode);
struct kit_drive *kit_add_drive(struct kit *kit, const char *name, uint64_t size);
/* Starts a device; false, with the message in err, if it refuses. */
bool kit_try_start(struct kit *kit, const char *model, const char *options, struct ob_error *err);
void kit_start(struct kit *kit, const char *model, const char *options);
/* Quiesces and frees the device, and everything else. */
void kit_free(struct kit *kit);
void kit_stop(struct kit *kit);

/*
 * Moves the device as a VMM would: it is stopped and saved, another one like it is made with the
 * same guest memory, and loads what was saved. What drives hold back is released.
 */
void kit_migrate(struct kit *kit);

/*
 * The two halves of it: stops and saves the device (returns the stream, of *size bytes, to be
 * freed); makes another one in its place, has it load a stream, and runs it. The latter returns
 * NULL, or what was wrong with the stream: then the new device was reset, and runs all the same.
 */
uint8_t *kit_save(struct kit *kit, size_t *size);
const char *kit_load(struct kit *kit, const uint8_t *stream, size_t size);

/*
 * A stream of tests/data/migration, if there is one of that name; saves one there, if
 * tests/data/migration/make asks for it.
 */
bool kit_read_stream(const char *name, uint8_t *stream, size_t room, size_t *size);
void kit_write_stream(struct kit *kit, const char *name);

/* Runs the loop once; for as many turns as anything could need. */
void kit_turn(struct kit *kit);
void kit_settle(struct kit *kit);
/* Sleeps in the loop for at most that long. */
void kit_wait(struct kit *kit, int ms);

/* Guest memory: zeroed, never given back. Alignment is a power of 2. */
uint64_t kit_alloc(struct kit *kit, uint64_t size, uint64_t align);
void *kit_at(struct kit *kit, uint64_t address);

/*
 * Takes all of guest memory away from the device (kit->is_unmapped once that is done), and gives it
 * back.
 */
void kit_unmap(struct kit *kit);
void kit_map(struct kit *kit);

/* Registers */
uint64_t kit_read(struct kit *kit, unsigned region, uint64_t offset, unsigned size);
void kit_write(struct kit *kit, unsigned region, uint64_t offset, uint64_t value, unsigned size);

/* Interrupts: as a client and its guest set them up. None is: INTx. */
void kit_use_msix(struct kit *kit, unsigned vectors);
void kit_use_intx(struct kit *kit);
unsigned kit_signals(struct kit *kit, enum pci_irq kind, unsigned vector);
/* As a client unmasks INTx after it was delivered; true if it is signalled again. */
bool kit_intx_again(struct kit *kit);

/* The other end of the present device's serial line. */
struct ob_chardev *kit_line(struct kit *kit);

/* Drives */
void kit_drive_release(struct kit *kit, struct kit_drive *drive);
unsigned kit_drive_count(const struct kit_drive *drive, enum ob_block_op op);
unsigned kit_drive_held(const struct kit_drive *drive);

/* A quiesce and what is waiting for it; true when it has ended. */
bool kit_quiesce(struct kit *kit);
void kit_resume(struct kit *kit);
void kit_reset(struct kit *kit);

uint32_t kit_random(struct kit *kit, uint32_t below);

/* Runs tests once for each mode. setup makes what tests get as *state from a mode. */
struct kit_test {
	const char *name;
	void (*run)(void **state);
};
#define KIT_TEST(function)                                                                         \
	{                                                                                          \
#function, function                                                                \
	}
int kit_run(const char *group, const struct kit_test *tests, unsigned count,
            void *(*setup)(enum kit_mode mode), void (*teardown)(void *fixture));
#define KIT_RUN(group, tests, setup, teardown)                                                     \
	kit_run(group, tests, sizeof(tests) / sizeof(*(tests)), setup, teardown)

#endif

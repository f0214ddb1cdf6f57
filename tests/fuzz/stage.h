/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device stands on in a fuzzer: a loop, drives, descriptors that a client may have, and
 * guest memory. All of it is made for one input and gone after it; stage_end() checks that nothing
 * stays behind.
 */
#ifndef STAGE_H
#define STAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "block/block.h"
#include "device/bus.h"
#include "device/device.h"
#include "input.h"
#include "loop/loop.h"

enum {
	STAGE_BASE = 0x100000,  /* where guest memory is; edu reaches 28 bits of addresses */
	STAGE_MEMORY = 0x80000, /* its bytes */
	STAGE_DISK = 1 << 20,
	STAGE_HELD = 4096, /* requests of a drive that wait */
	STAGE_SETTLE = 600,
};

/* Descriptors that a client may pass. */
enum stage_fd {
	STAGE_FD_MEMORY, /* memfd of STAGE_MEMORY bytes: guest memory */
	STAGE_FD_SMALL,  /* memfd of 64 KiB */
	STAGE_FD_ODD,    /* memfd of 6000 bytes */
	STAGE_FD_READ_ONLY,
	STAGE_FD_EVENT,
	STAGE_FD_EVENT_FULL, /* a write would wait */
	STAGE_FD_PIPE_READ,
	STAGE_FD_PIPE_WRITE,
	STAGE_FD_NULL,
	STAGE_FD_EMPTY, /* memfd of 0 bytes */
	STAGE_FD_SEALED,
	STAGE_FD_FOLDER,
	STAGE_FDS,
};

enum drive_mode {
	DRIVE_NOW,
	DRIVE_LATER, /* with the next turn */
	DRIVE_LAST_FIRST,
	DRIVE_HOLD, /* until the mode changes */
	DRIVE_FAIL,
	DRIVE_MODES,
};

struct stage_drive {
	struct ob_block block; /* first */
	uint8_t *data;
	enum drive_mode mode;
	struct ob_block_request *held;
	struct ob_task finish;
};

struct stage {
	struct log log;
	struct ob_loop *loop;
	struct ob_dev *dev;
	struct device_bus bus;    /* so that the device can reach its own BARs */
	struct stage_drive drive; /* "d0": does as it is told */
	struct ob_block *mem;     /* "m0": the driver mem */
	struct ob_chardev *line;  /* "c0": see line.h; NULL: it was not asked for */
	int fds[STAGE_FDS];       /* -1: not made yet */
	struct loop_fd guard;
	int open_before;
	bool quiet;
	struct device_hold hold; /* stage_quiesce() */
	bool quiesced;
};

/* Makes a device of that model with "a=b,c=d"; nvme may name the drives d0 and m0. */
void stage_begin(struct stage *stage, const char *model, const char *options);

/* The device has no client: nothing is mapped, there is no sink. */
void stage_end(struct stage *stage);

/* One turn of the loop, which does not sleep. */
void stage_turn(struct stage *stage);
void stage_turns(struct stage *stage, unsigned count);

void stage_drive_mode(struct stage *stage, enum drive_mode mode);

/* Makes the drive end what it holds, and turns until *done; it must become true. */
void stage_until(struct stage *stage, const bool *done);

/* Quiesces the device, however long that takes. */
void stage_quiesce(struct stage *stage);

/* The stage's own descriptor of a kind, or a new one of the same open file. */
int stage_fd(struct stage *stage, enum stage_fd kind);
int stage_dup(struct stage *stage, enum stage_fd kind);

/* Guest memory by its file, which may have been cut: what is not there reads as zeroes. */
void stage_peek(struct stage *stage, uint64_t address, void *bytes, size_t length);
void stage_poke(struct stage *stage, uint64_t address, const void *bytes, size_t length);

#endif

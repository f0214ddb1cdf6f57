/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NVMe driver that takes its commands from a fuzzer's input. It sets the controller up rightly,
 * so that an input need not find that out, and then lets any command through, with its addresses
 * bent into guest memory if the input says so.
 *
 * Guest memory: queue pair i has its submission queue at 0x2000 * i and its completion queue 0x1000
 * behind that; PLAYER_LIST is a list of PRPs, PLAYER_SGL a segment of an SGL, both of pages from
 * PLAYER_DATA on.
 */
#ifndef PLAYER_H
#define PLAYER_H

#include "input.h"

enum {
	PLAYER_PAIRS = 3, /* the admin queue is the first */
	PLAYER_ENTRIES = 16,
	PLAYER_LIST = 0x8000,
	PLAYER_SGL = 0x9000,
	PLAYER_DATA = 0x10000,
};

struct player {
	/* A write to BAR 0, and guest memory by address. */
	void (*write)(struct player *player, uint64_t offset, uint64_t value, unsigned size);
	void (*peek)(struct player *player, uint64_t address, void *bytes, size_t length);
	void (*poke)(struct player *player, uint64_t address, const void *bytes, size_t length);
	/* Gives the device its turns. */
	void (*turn)(struct player *player);
	uint16_t tail[PLAYER_PAIRS], head[PLAYER_PAIRS], cid;
	bool phase[PLAYER_PAIRS];
};

/* How to treat a command: the first byte of each. */
enum {
	PLAYER_QUEUE = 3 << 0, /* modulo PLAYER_PAIRS */
	PLAYER_BEND = 1 << 2,  /* PRP1, PRP2: into guest memory */
	PLAYER_NSID = 1 << 3,  /* 0 to 3 */
	PLAYER_HOLD = 1 << 4,  /* don't ring */
	PLAYER_USE_SGL = 1 << 5,
	PLAYER_USE_LIST = 1 << 6, /* PRP2, or the SGL, is the prepared one */
	PLAYER_RAW = 1 << 7,      /* command id as in the input */
};

/* Enables the controller; makes its I/O queues. */
void player_enable(struct player *player);

/* A command out of the input: a byte as above, then up to 64 of the entry. */
void player_command(struct player *player, struct input *in);

/* Takes completions and says so by the doorbells. */
void player_reap(struct player *player);

#endif

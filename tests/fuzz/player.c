/* SPDX-License-Identifier: BSD-3-Clause */
/* See player.h. */
#include "player.h"

#include "outboard/endian.h"
#include "stage.h"

enum {
	REG_CC = 0x14,
	REG_AQA = 0x24,
	REG_ASQ = 0x28,
	REG_ACQ = 0x30,
	DOORBELLS = 0x1000,
	CC_ON = 0x00460001, /* entries of 64 and 16 bytes, enabled */
	PAGE = 4096,
	LIST_PAGES = 64,
	DATA_PAGES = 112,
	SCATTER = 37, /* no two pages of the list follow each other */
	SGL_PARTS = 16,
};

static uint64_t sq_address(unsigned queue)
{
	return STAGE_BASE + 0x2000 * (uint64_t)queue;
}

static uint64_t cq_address(unsigned queue)
{
	return sq_address(queue) + 0x1000;
}

static void ring(struct player *player, unsigned queue, bool completion, uint16_t value)
{
	player->write(player, DOORBELLS + 8 * queue + 4 * completion, value, 4);
}

static void put(struct player *player, unsigned queue, const uint8_t *entry)
{
	player->poke(player, sq_address(queue) + 64 * (uint64_t)player->tail[queue], entry, 64);
	player->tail[queue] = (uint16_t)((player->tail[queue] + 1) % PLAYER_ENTRIES);
}

static void create(struct player *player, unsigned queue, bool completion)
{
	uint8_t entry[64] = {completion ? 0x05 : 0x01};
	uint64_t address = completion ? cq_address(queue) : sq_address(queue);

	ob_put_le64(entry + 24, address);
	ob_put_le32(entry + 40, (PLAYER_ENTRIES - 1) << 16 | queue);
	/* Contiguous; and interrupts enabled, vector = queue, or the completion queue's id. */
	ob_put_le32(entry + 44, completion ? queue << 16 | 3 : queue << 16 | 1);
	put(player, 0, entry);
}

static void make_lists(struct player *player)
{
	uint8_t list[LIST_PAGES * 8], sgl[SGL_PARTS * 16] = {0};

	for (unsigned i = 0; i < LIST_PAGES; i++)
		ob_put_le64(list + 8 * i,
		            STAGE_BASE + PLAYER_DATA + (uint64_t)PAGE * (i * SCATTER % DATA_PAGES));
	for (unsigned i = 0; i < SGL_PARTS; i++) {
		ob_put_le64(sgl + 16 * i, STAGE_BASE + PLAYER_DATA + (uint64_t)PAGE * 2 * i);
		ob_put_le32(sgl + 16 * i + 8, 512);
	}
	player->poke(player, STAGE_BASE + PLAYER_LIST, list, sizeof(list));
	player->poke(player, STAGE_BASE + PLAYER_SGL, sgl, sizeof(sgl));
}

void player_enable(struct player *player)
{
	make_lists(player);
	for (unsigned i = 0; i < PLAYER_PAIRS; i++) {
		player->tail[i] = player->head[i] = 0;
		player->phase[i] = true;
	}
	player->write(player, REG_CC, 0, 4);
	player->turn(player);
	player->write(player, REG_AQA, (PLAYER_ENTRIES - 1) << 16 | (PLAYER_ENTRIES - 1), 4);
	player->write(player, REG_ASQ, sq_address(0), 8);
	player->write(player, REG_ACQ, cq_address(0), 8);
	player->write(player, REG_CC, CC_ON, 4);
	for (unsigned i = 1; i < PLAYER_PAIRS; i++) {
		create(player, i, true);
		create(player, i, false);
	}
	ring(player, 0, false, player->tail[0]);
	player->turn(player);
	player_reap(player);
}

static uint64_t bend(uint64_t address)
{
	return STAGE_BASE + address % STAGE_MEMORY;
}

static void set_pointer(uint8_t *entry, uint8_t how)
{
	if (how & PLAYER_USE_SGL) {
		entry[1] = (uint8_t)((entry[1] & 0x3f) | 0x40);
		if (how & PLAYER_USE_LIST) {
			ob_put_le64(entry + 24, STAGE_BASE + PLAYER_SGL);
			ob_put_le32(entry + 32, SGL_PARTS * 16);
			entry[39] = 0x30; /* last segment */
		} else {
			ob_put_le64(entry + 24, bend(ob_get_le64(entry + 24)));
		}
		return;
	}
	if (how & PLAYER_BEND) {
		ob_put_le64(entry + 24, bend(ob_get_le64(entry + 24)));
		ob_put_le64(entry + 32, bend(ob_get_le64(entry + 32)));
	}
	if (how & PLAYER_USE_LIST)
		ob_put_le64(entry + 32, STAGE_BASE + PLAYER_LIST);
}

void player_command(struct player *player, struct input *in)
{
	uint8_t how = input_u8(in);
	unsigned queue = (how & PLAYER_QUEUE) % PLAYER_PAIRS;
	uint8_t entry[64];

	input_copy(in, entry, sizeof(entry));
	if (how & PLAYER_NSID)
		ob_put_le32(entry + 4, ob_get_le32(entry + 4) & 3);
	if (!(how & PLAYER_RAW))
		ob_put_le16(entry + 2, player->cid++);
	set_pointer(entry, how);
	put(player, queue, entry);
	if (how & PLAYER_HOLD)
		return;
	ring(player, queue, false, player->tail[queue]);
	player->turn(player);
	player_reap(player);
}

void player_reap(struct player *player)
{
	uint8_t entries[PLAYER_ENTRIES * 16];

	for (unsigned queue = 0; queue < PLAYER_PAIRS; queue++) {
		unsigned taken = 0;

		player->peek(player, cq_address(queue), entries, sizeof(entries));
		for (; taken < PLAYER_ENTRIES; taken++) {
			const uint8_t *entry = entries + 16 * player->head[queue];

			if ((entry[14] & 1) != player->phase[queue])
				break;
			player->head[queue]++;
			if (player->head[queue] == PLAYER_ENTRIES) {
				player->head[queue] = 0;
				player->phase[queue] = !player->phase[queue];
			}
		}
		if (taken)
			ring(player, queue, true, player->head[queue]);
	}
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* nvme: what reads and writes do, by PRP and by SGL, and what the drive sees of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nvme_kit.h"

enum { ROUNDS = 300 };

static void fill_random(struct kit *kit, uint8_t *bytes, size_t length)
{
	for (size_t i = 0; i < length; i += 4)
		ob_put_le32(bytes + i, kit_random(kit, UINT32_MAX));
}

/* Random blocks are written and read back, beside a copy of what the drive must hold. */
static void random_blocks(struct nk *nk, unsigned nsid, uint64_t start, uint64_t blocks,
                          uint32_t size, bool sgl)
{
	struct kit *kit = nk->kit;
	uint8_t *bytes = malloc(512 << 10), *back = malloc(512 << 10);

	for (unsigned i = 0; i < ROUNDS; i++) {
		uint32_t max = kit_random(kit, 8) ? 16 : (512 << 10) / size;
		uint32_t count = 1 + kit_random(kit, max);
		uint64_t lba = kit_random(kit, (uint32_t)(blocks - count + 1));
		struct buffer b = nk_buffer(nk, kit_random(kit, PAGE / 4) * 4, count * size);
		struct sqe sqe = nk_rw(0x01, nsid, lba, count);
		uint8_t *there = nk->drive->data + start + lba * size;

		kit->next = KIT_BASE + (1 << 20); /* the memory of the round before */
		b = nk_buffer(nk, kit_random(kit, PAGE / 4) * 4, count * size);
		fill_random(kit, bytes, (size_t)count * size);
		nk_buffer_write(nk, &b, bytes);
		if (sgl)
			nk_sgl(nk, &sqe, &b, 1 + kit_random(kit, 300));
		else
			nk_prp(nk, &sqe, &b);
		assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
		assert_memory_equal(there, bytes, (size_t)count * size);

		memset(back, 0, (size_t)count * size);
		nk_buffer_write(nk, &b, back);
		sqe.dw[0] = (sqe.dw[0] & 0xff00) | 0x02;
		assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
		nk_buffer_read(nk, &b, back);
		assert_memory_equal(back, bytes, (size_t)count * size);
	}
	free(bytes);
	free(back);
}

static void random_blocks_by_prp(void **state)
{
	struct nk *nk = *state;

	random_blocks(nk, 1, 0, (64 << 20) / 512, 512, false);
	nk->drive->later = true;
	random_blocks(nk, 1, 0, (64 << 20) / 512, 512, false);
}

static void random_blocks_by_sgl(void **state)
{
	struct nk *nk = *state;

	random_blocks(nk, 1, 0, (64 << 20) / 512, 512, true);
	nk->drive->later = true;
	random_blocks(nk, 1, 0, (64 << 20) / 512, 512, true);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(random_blocks_by_prp),
		KIT_TEST(random_blocks_by_sgl),
	};

	return KIT_RUN("nvme_io", tests, nk_setup, nk_free);
}

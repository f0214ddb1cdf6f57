/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nvme allocates nothing for a command once commands like it have run: every call of the allocator
 * is counted. Only for shared memory; what goes by messages has a buffer each time.
 */
#include <stdlib.h>
#include <string.h>

#include "nvme_kit.h"

/* A sanitizer has an allocator of its own. */
#if defined(__SANITIZE_ADDRESS__)
#define CAN_COUNT 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define CAN_COUNT 0
#endif
#endif
#ifndef CAN_COUNT
#define CAN_COUNT 1
#endif

static unsigned calls;
static bool failing;

#if CAN_COUNT
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size)
{
	calls++;
	return failing ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	calls++;
	return failing ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	calls++;
	return failing ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
	calls++;
	return failing ? NULL : __libc_realloc(old, count * size);
}
#endif

enum { FLUSH = 0x00, WRITE = 0x01, READ = 0x02, DEPTH = 40, ROUNDS = 20 };

static void run_batch(struct nk *nk, struct sqe sqes[DEPTH])
{
	struct cqe cqe;

	for (unsigned i = 0; i < DEPTH; i++)
		nk_put(nk, &nk->io, sqes[i]);
	nk_ring(nk, &nk->io);
	for (unsigned i = 0; i < DEPTH; i++) {
		cqe = nk_wait(nk, &nk->io);
		assert_int_equal(cqe.status, 0);
	}
}

static void nothing_is_allocated_for_a_command(void **state)
{
	static const uint32_t lengths[] = {512, 4096, 12 * PAGE, 32 * PAGE, 128 * PAGE};
	struct nk *nk = *state;
	struct sqe sqes[DEPTH];

	if (!CAN_COUNT || nk->kit->mode != KIT_SHARED)
		return;
	for (unsigned l = 0; l < sizeof(lengths) / sizeof(*lengths); l++) {
		for (unsigned later = 0; later < 2; later++) {
			struct buffer b = nk_buffer(nk, 8, lengths[l]);
			unsigned before;

			for (unsigned i = 0; i < DEPTH; i++) {
				sqes[i] = nk_rw(i % 3 ? READ : WRITE, 1, i, b.length / 512);
				nk_prp(nk, &sqes[i], &b);
			}
			nk->drive->later = later;
			run_batch(nk, sqes);
			before = calls;
			for (unsigned i = 0; i < ROUNDS; i++) {
				nk->drive->call_count = 0;
				run_batch(nk, sqes);
			}
			assert_int_equal(calls, before);
		}
	}
	assert_true(calls > 0);
}

/* From the first command on, with as many as the queue holds: some at a time, but all of them. */
static void without_memory_it_goes_on(void **state)
{
	struct nk *nk = *state;

	if (!CAN_COUNT)
		return;
	nk->drive->later = true;
	for (unsigned i = 0; i < DEPTH; i++)
		nk_put(nk, &nk->io, (struct sqe){.dw = {FLUSH, 1}});
	failing = true;
	nk_ring(nk, &nk->io);
	for (unsigned i = 0; i < DEPTH; i++) {
		struct cqe cqe = nk_wait(nk, &nk->io);

		failing = i < DEPTH / 2;
		assert_int_equal(cqe.status, 0);
	}
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(nothing_is_allocated_for_a_command),
		KIT_TEST(without_memory_it_goes_on),
	};

	return KIT_RUN("nvme_alloc", tests, nk_setup, nk_free);
}

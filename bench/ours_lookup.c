/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What it costs a device to find memory of its client among --maps maps: in the map of the last
 * hit, and at random in all of them. Without a server or a socket: the DMA space alone, in this
 * process.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "dma/dma.h"

enum { PIECE = 4096, SPACING = 2 * PIECE };

/* From the file's end, as the kernel gives out addresses: it has a bound on separate mappings. */
static void fill(struct dma_space *space, uint64_t maps)
{
	int file = (int)check("memfd_create", memfd_create("lookup", MFD_CLOEXEC));

	check("ftruncate", ftruncate(file, (off_t)(maps * PIECE)));
	for (uint64_t i = 0; i < maps; i++)
		good("dma_map", dma_map(space, i * SPACING, PIECE, DMA_READABLE | DMA_WRITEABLE,
		                        (int)check("dup", dup(file)), (maps - 1 - i) * PIECE));
	close(file);
}

/* Addresses are chosen beforehand, so that choosing them is not measured. */
static double measure(struct dma_space *space, const uint64_t *places, uint64_t mask,
                      uint64_t count)
{
	uint64_t began = now();

	for (uint64_t i = 0; i < count; i++) {
		if (!dma_direct(space, places[i & mask], 64, OB_DMA_FROM_CLIENT))
			fail("dma_direct", EFAULT);
	}
	return each(began, now(), count);
}

int main(int argc, char **argv)
{
	enum { PLACES = 1 << 16 };
	static uint64_t places[PLACES];
	uint64_t maps = 16, count = 2000000, server_cpu = SERVER_CPU, state = 88172645463325252;
	const struct option_spec options[] = {{"maps", &maps, NULL},
	                                      {"count", &count, NULL},
	                                      {"server-cpu", &server_cpu, NULL},
	                                      {0}};
	struct dma_space *space;
	double same, scattered;

	take_options(options, argc, argv);
	if (!maps || maps > 65535)
		fail("maps", EINVAL);
	pin(server_cpu);
	space = dma_space_new((unsigned)maps);
	if (!space)
		fail("dma_space_new", ENOMEM);
	fill(space, maps);
	for (unsigned i = 0; i < PLACES; i++)
		places[i] = (maps / 2) * SPACING + i % 64 * 64 % PIECE;
	same = measure(space, places, PLACES - 1, count);
	for (unsigned i = 0; i < PLACES; i++)
		places[i] = random_below(&state, maps) * SPACING + i % 64 * 64 % PIECE;
	scattered = measure(space, places, PLACES - 1, count);
	printf("{\"same_map_ns\": %.2f, \"random_map_ns\": %.2f}\n", same, scattered);
	dma_unmap_all(space, NULL);
	return 0;
}

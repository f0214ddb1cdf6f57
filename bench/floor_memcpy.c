/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The floor of a disk in memory: one processor copies blocks between places at random of an area as
 * large as the disk and a few buffers, one after the other, as many as there are commands under
 * way. Both are memory of the kind that a server has: shared, in pages of the size that the system
 * gives.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

static uint8_t *memory(size_t size)
{
	int fd = (int)check("memfd_create", memfd_create("floor", MFD_CLOEXEC));
	uint8_t *bytes;

	check("ftruncate", ftruncate(fd, (off_t)size));
	bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		fail("mmap", errno);
	memset(bytes, 0x5a, size);
	return bytes;
}

int main(int argc, char **argv)
{
	uint64_t size = 256 << 20, block = 4096, depth = 32, milliseconds = 200, write = 0;
	uint64_t server_cpu = SERVER_CPU, state = 88172645463325252, count = 0, began, ended;
	const struct option_spec options[] = {{"size", &size, NULL},
	                                      {"block", &block, NULL},
	                                      {"depth", &depth, NULL},
	                                      {"ms", &milliseconds, NULL},
	                                      {"write", &write, NULL},
	                                      {"server-cpu", &server_cpu, NULL},
	                                      {0}};
	uint8_t *disk, *buffers;

	take_options(options, argc, argv);
	if (!block || !depth || size < block)
		fail("block, depth and size", EINVAL);
	pin(server_cpu);
	disk = memory(size);
	buffers = memory(block * depth);
	began = now();
	do {
		for (unsigned i = 0; i < 64; i++) {
			uint8_t *place = disk + random_below(&state, size / block) * block;
			uint8_t *buffer = buffers + count++ % depth * block;

			memcpy(write ? place : buffer, write ? buffer : place, block);
			/* Or the compiler drops what nobody reads. */
			__asm__ volatile("" : : "r"(place), "r"(buffer) : "memory");
		}
		ended = now();
	} while (ended - began < milliseconds * 1000000);
	printf("{\"iops\": %.1f, \"copy_ns\": %.2f}\n", 1e9 / each(began, ended, count),
	       each(began, ended, count));
	return 0;
}

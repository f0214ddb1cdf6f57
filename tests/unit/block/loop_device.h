/* SPDX-License-Identifier: BSD-3-Clause */
/* Loop devices for tests, which need root: block devices with a file behind them. */
#ifndef TESTS_BLOCK_LOOP_DEVICE_H
#define TESTS_BLOCK_LOOP_DEVICE_H

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A loop device on file, or -1: none can be had here. name is where it is found. */
static inline int new_device(int file, uint32_t sector, bool read_only, char *name, size_t room)
{
	struct loop_config config = {
		.fd = (uint32_t)file,
		.block_size = sector,
		.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0),
	};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	for (unsigned i = 0; control >= 0 && i < 5; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		int device;

		snprintf(name, room, "/dev/loop%d", number);
		device = number < 0 ? -1 : open(name, O_RDWR | O_CLOEXEC);
		if (device >= 0 && !ioctl(device, LOOP_CONFIGURE, &config)) {
			int off = 0;

			/* What a test before did to the number stays with it. */
			if (!read_only)
				ioctl(device, BLKROSET, &off);
			close(control);
			return device;
		}
		if (device >= 0)
			close(device);
	}
	if (control >= 0)
		close(control);
	fprintf(stderr, "# SKIPPED: no loop device can be had here\n");
	/* Where CI has them, that is no reason to skip. */
	if (!geteuid() && !access("/dev/loop-control", F_OK) && getenv("CI") &&
	    !strcmp(getenv("CI"), "true"))
		_exit(1);
	return -1;
}

#endif

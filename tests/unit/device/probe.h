/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * probe: a model that writes down what the core asks of it, and a device of it to test the core
 * with. Each byte of its BAR 0 reads as its own offset.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device.h"
#include "loop/loop.h"

enum { PROBE_BAR_SIZE = 4096, PROBE_ROM_SIZE = 3000 };

struct probe {
	struct ob_dev *dev;
	struct ob_loop *loop;
	struct log log;
};

struct probe_state {
	char log[1024];
	bool slow; /* quiesce ends only when the test says so */
};

static inline const char *probe_log(struct probe *probe)
{
	return ((struct probe_state *)ob_dev_state(probe->dev))->log;
}

static inline void probe_log_clear(struct probe *probe)
{
	((struct probe_state *)ob_dev_state(probe->dev))->log[0] = '\0';
}

#define probe_note(dev, ...)                                                                       \
	do {                                                                                       \
		char *log_ = ((struct probe_state *)ob_dev_state(dev))->log;                       \
		size_t used_ = strlen(log_);                                                       \
		snprintf(log_ + used_, sizeof(((struct probe_state *)0)->log) - used_,             \
		         __VA_ARGS__);                                                             \
	} while (0)

static inline uint64_t probe_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	probe_note(dev, "r%x/%u ", (unsigned)offset, size);
	for (unsigned i = 0; i < size; i++)
		value |= ((offset + i) & 0xff) << (8 * i);
	return value;
}

static inline void probe_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	probe_note(dev, "w%x/%u=%llx ", (unsigned)offset, size, (unsigned long long)value);
}

static inline void probe_reset(struct ob_dev *dev)
{
	probe_note(dev, "reset ");
}

static inline void probe_quiesce(struct ob_dev *dev)
{
	probe_note(dev, "quiesce ");
	if (!((struct probe_state *)ob_dev_state(dev))->slow)
		ob_dev_quiet(dev);
}

static inline void probe_resume(struct ob_dev *dev)
{
	probe_note(dev, "resume ");
}

static uint8_t probe_rom[PROBE_ROM_SIZE];

static const struct ob_model probe_model = {
	.name = "probe",
	.summary = "for tests",
	.state_size = sizeof(struct probe_state),
	.layout =
		{
			.ident = {.vendor = 0x1234, .device = 0x5678},
			.bars = {{.size = PROBE_BAR_SIZE,
                                  OB_WINDOWS({.max_access = 8,
                                              .read = probe_read,
                                              .write = probe_write})},
                                 [2] = {.size = 4096,
                                        .flags = OB_BAR_64,
                                        OB_WINDOWS({OB_WINDOW_MEMORY})}},
			.irqs = {.intx = true, .msix_vectors = 4, .msix_bar = 4},
			.pcie = true,
			.rom = probe_rom,
			.rom_size = sizeof(probe_rom),
		},
	.reset = probe_reset,
	.quiesce = probe_quiesce,
	.resume = probe_resume,
};

static int probe_setup(void **state)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	struct opts opts = {0};
	struct ob_error err = {""};
	struct device_env env = {0};

	memset(probe_rom, 0x5a, sizeof(probe_rom));
	probe->log = (struct log){.fd = 2, .level = LOG_ERROR};
	probe->loop = loop_new();
	env.loop = probe->loop;
	env.log = &probe->log;
	probe->dev = device_new(&probe_model, "p0", &env, &opts, &err);
	if (!probe->dev)
		fprintf(stderr, "%s\n", err.message);
	*state = probe;
	return probe->dev ? 0 : -1;
}

static int probe_teardown(void **state)
{
	struct probe *probe = *state;

	device_free(probe->dev);
	loop_free(probe->loop);
	free(probe);
	return 0;
}

#endif

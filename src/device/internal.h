/* SPDX-License-Identifier: BSD-3-Clause */
/* The device's own struct, shared by the files of this folder. */
#ifndef DEVICE_INTERNAL_H
#define DEVICE_INTERNAL_H

#include "device.h"

struct ob_dev {
	const struct ob_model *model;
	char id[64];
	struct device_env env;
	struct log log, guest_log; /* what the guest causes has a bound of its own */

	struct pci *pci;
	struct dma_space *dma;
	void *props, *state, *runtime;
	struct {
		void *memory; /* BARs with OB_BAR_RAM */
		int fd;
	} ram[PCI_BARS];

	/* Quiesce: see device_quiesce(). */
	unsigned holds; /* quiesces that were not resumed yet */
	bool quieting;  /* the model was told, and has not said that it is quiet */
	bool quiet;
	struct device_waiter *waiters;
	struct ob_task quiet_task;
};

#endif

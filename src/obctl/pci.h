/* SPDX-License-Identifier: BSD-3-Clause */
/* A PCI function's configuration space, explained (PCI Local Bus 3.0, PCI Express Base). */
#ifndef OBCTL_PCI_H
#define OBCTL_PCI_H

#include <stddef.h>

#include "obctl/report.h"

/* "Non-Volatile memory controller" and so on; "unknown class". */
const char *pci_class_name(const uint8_t *config);

/* Identity, command, status, and interrupt pin: the header but for its BARs. */
void pci_report_header(struct report *report, const uint8_t *config);

/* Capabilities in config[0, size), size at least 256; those of PCI Express where it is 4096. */
void pci_report_capabilities(struct report *report, const uint8_t *config, size_t size);

/* What the BAR is: "memory, 64-bit, prefetchable". NULL: the upper half of the one before. */
const char *pci_bar_kind(const uint8_t *config, unsigned bar);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A capture file (pcap with nanoseconds, link type USER0, 147). Each packet is a vfio-user message
 * behind 8 bytes of ours: version (1), direction (0: from the client, 1: from the server), socket
 * (0: main, 1: twin), number of descriptors, and 4 bytes of zeroes.
 */
#ifndef OBCTL_PCAP_H
#define OBCTL_PCAP_H

#include <stdbool.h>
#include <stdio.h>

#include "client/stream.h"

/* At path, or if that is NULL on fd. NULL with errno set. fclose() it. */
FILE *pcap_create(const char *path, int fd);

/* 0 or -errno. */
int pcap_write(FILE *file, const struct ob_client_message *message, bool from_server, bool twin);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a session can tell about its client: what was agreed on, what the client holds, and counts
 * of what passed. Counts are the session's own struct, plain additions on its way.
 */
#ifndef SESSION_STATS_H
#define SESSION_STATS_H

#include <stdbool.h>
#include <stdint.h>

/* Buckets of a histogram: number n counts times from 2^(n+7) ns on, the first one all below 256 ns,
 * the last one all from 1 s on. */
enum { SESSION_LATENCY_BUCKETS = 24, SESSION_STAT_COMMANDS = 32, SESSION_STAT_IRQS = 5 };

/*
 * One command. The time is the server's own, from the message's arrival at the session to its
 * reply; of accesses to regions one in SESSION_TIMED_EVERY is timed, of all others each.
 */
enum { SESSION_TIMED_EVERY = 16 };

struct session_command_stats {
	uint64_t messages, bytes, errors; /* bytes: of messages and their replies, headers too */
	uint64_t timed, total_ns, max_ns;
	uint32_t latency[SESSION_LATENCY_BUCKETS];
};

/* Requests of the device to its client, for memory without a descriptor. */
struct session_dma_stats {
	uint64_t reads, read_bytes, writes, write_bytes, errors;
};

struct session_stats {
	struct session_command_stats command[SESSION_STAT_COMMANDS]; /* by enum wire_command */
	struct session_dma_stats dma;
	uint64_t irqs[SESSION_STAT_IRQS]; /* signalled, by enum pci_irq */
};

struct session_info {
	/* The version agreed on, and what the client said that it can; all 0 before VERSION. */
	bool negotiated;
	uint16_t major, minor;
	uint32_t max_msg_fds, max_dma_maps;
	uint64_t max_data_xfer_size, pgsizes;
	bool write_multiple, twin_socket, migration;

	unsigned maps, map_fds; /* ranges of memory mapped now; that keep a descriptor */
	unsigned irqs_wired[SESSION_STAT_IRQS]; /* vectors with an eventfd, by enum pci_irq */
	const struct session_stats *stats;
};

/* "VERSION", "DMA_MAP", ...; NULL for a number that is no command. */
const char *session_command_name(unsigned command);

struct session;

/* What is known of a session's client; info's pointers are the session's. */
void session_describe(const struct session *session, struct session_info *info);

#endif

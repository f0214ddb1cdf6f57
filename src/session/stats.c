/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Counts of what passes, and what a session can tell about its client; see stats.h.
 *
 * What is on the way of every message is an addition or two. The clock is read for one access to a
 * region in SESSION_TIMED_EVERY: those are short and many, and their sample says as much.
 */
#include "stats.h"

#include "internal.h"

const char *session_command_name(unsigned command)
{
	return command && command < WIRE_COMMANDS ? wire_command_name(command) : NULL;
}

/* The bucket of a time: see SESSION_LATENCY_BUCKETS. */
static unsigned bucket_of(uint64_t ns)
{
	unsigned bits = ns ? 64 - (unsigned)__builtin_clzll(ns) : 0;
	unsigned bucket = bits > 8 ? bits - 8 : 0;

	return bucket < SESSION_LATENCY_BUCKETS ? bucket : SESSION_LATENCY_BUCKETS - 1;
}

void session_stats_end(struct session *session)
{
	struct session_command_stats *stats = session->timed;
	uint64_t ns;

	if (!stats)
		return;
	session->timed = NULL;
	ns = ob_loop_now() - session->timed_from;
	stats->timed++;
	stats->total_ns += ns;
	if (ns > stats->max_ns)
		stats->max_ns = ns;
	stats->latency[bucket_of(ns)]++;
}

void session_describe(const struct session *session, struct session_info *info)
{
	const struct wire_capabilities *client = &session->client;

	*info = (struct session_info){
		.maps = dma_map_count(session->dma),
		.map_fds = dma_fd_count(session->dma),
		.stats = &session->stats,
	};
	for (unsigned kind = 0; kind < PCI_IRQ_KINDS; kind++)
		info->irqs_wired[kind] = pci_irq_wired(session->pci, kind);
	if (session->minor < 0)
		return;
	info->negotiated = true;
	info->minor = (uint16_t)session->minor;
	info->max_msg_fds = client->max_msg_fds;
	info->max_data_xfer_size = client->max_data_xfer_size;
	info->max_dma_maps = client->max_dma_maps;
	info->pgsizes = client->pgsizes;
	info->write_multiple = client->write_multiple;
	info->twin_socket = session->twin;
	info->migration = client->migration;
}

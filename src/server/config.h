/* SPDX-License-Identifier: BSD-3-Clause */
/* What may be configured about a server: its properties, read and checked. */
#ifndef SERVER_CONFIG_H
#define SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "outboard/error.h"
#include "server.h"
#include "session/session.h"
#include "transport/listener.h"

/* The struct that server_props describes, as the user wrote it. */
struct server_config {
	uint32_t type;
	char *path, *mode, *group, *fd;
	bool queue, twin_socket;
	uint32_t reset_on_connect; /* enum session_reset */
	char *allow_uid, *allow_gid;
	uint64_t max_data_xfer_size, max_unsent;
	uint32_t max_fds, max_dma_maps, log_lines;
	uint32_t dma_fds;           /* enum server_dma_fds */
	uint32_t poll, poll_max_us; /* poll: enum server_poll */
};

enum server_dma_fds { SERVER_DMA_FDS_MEMORY, SERVER_DMA_FDS_ANY };

enum server_poll { SERVER_POLL_ADAPTIVE, SERVER_POLL_ON, SERVER_POLL_OFF };

/* Who may connect. Users and groups together: who is in one of the lists may. */
struct server_ids {
	unsigned count;
	uint32_t id[32];
};

struct server_allowed {
	bool everybody; /* there is no list */
	struct server_ids users, groups;
};

bool server_config_has_socket(const struct server_config *config);

/* 0, or -EINVAL with a message. to's strings are config's. id is for messages. */
int server_config_listener(const struct server_config *config, const char *id,
                           struct listener_config *to, struct ob_error *err);
int server_config_allowed(const struct server_config *config, struct server_allowed *allowed,
                          struct ob_error *err);
struct session_limits server_config_limits(const struct server_config *config);

/* Whether the process at the other end of fd, a connected socket, may connect. */
bool server_allows(const struct server_allowed *allowed, int fd);

#endif

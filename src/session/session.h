/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client's session with one device: negotiation, dispatch, regions, interrupts, DMA. It knows
 * messages and not sockets: messages come in by session_message(), and what it sends goes out
 * through a link that its owner provides.
 *
 * A session never blocks. What takes time (a quiesce, an unmap that waits for pins) holds back only
 * this session's later commands, by pausing the link.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/budget.h"
#include "base/log.h"
#include "device/device.h"

/* The way to the client; transport's functions of the same names fit. */
struct session_link {
	uint8_t *(*reserve)(struct session_link *link, size_t size);
	void (*commit)(struct session_link *link, size_t size, const int *fds, unsigned fd_count);
	void (*pause)(struct session_link *link, bool paused);
	/* The session gives the client up: reason is -errno. The owner calls session_end(), later.
	 */
	void (*close)(struct session_link *link, int reason);
	/*
	 * Makes a second way to the same client, for our commands and its replies (a twin socket);
	 * those come in by session_twin_message(). Only reserve and commit of *twin are used.
	 * Returns the client's end, a descriptor that is the session's to close, or -errno. At most
	 * once. NULL: there are no twins.
	 */
	int (*make_twin)(struct session_link *link, struct session_link **twin);
};

/* Whether a client that maps memory has the device reset: see memory.c. */
enum session_reset { SESSION_RESET_AUTO, SESSION_RESET_ON, SESSION_RESET_OFF };

struct session_limits {
	uint32_t max_data_xfer_size; /* bytes */
	uint32_t max_msg_fds;
	uint32_t max_dma_maps;
	uint32_t max_fds; /* held for the client: of interrupts, and of maps that need theirs */
	bool twin_socket; /* made for clients that propose it */
	uint64_t slow_ns; /* a wait that takes longer is logged */
	/* Where descriptors that are held are counted, and which bounds them as well; or NULL. */
	struct budget_share *fds;
	enum session_reset reset_on_connect;
	struct device_owner client; /* who it is; files are the session's to fill in */
	bool any_memory; /* descriptors that are no memory are accessed: see dma_fd_is_memory() */
};

/* The limits that the server offers where nobody said otherwise. */
extern const struct session_limits session_default_limits;

/* Bytes of the longest message that a session with these limits takes. */
size_t session_max_message(const struct session_limits *limits);

struct session;

/* NULL on ENOMEM. dev, link and log outlive the session. */
struct session *session_new(struct ob_dev *dev, const struct session_limits *limits,
                            struct session_link *link, struct log *log);

/*
 * Handles one message, header included. Descriptors that it keeps are set to -1. message is not
 * needed afterwards.
 */
void session_message(struct session *session, uint8_t *message, size_t length, int *fds,
                     unsigned fd_count);

/*
 * Before session_message(): of the descriptors of that message, some are lost, as the process had
 * no room for them. If it is a command, it is refused.
 */
void session_lost_fds(struct session *session);

/* What session_message() does, for what came by the twin. */
void session_twin_message(struct session *session, uint8_t *message, size_t length);

/*
 * The client is gone: the device is quiesced, memory unmapped, interrupts unwired, descriptors
 * closed; the device's state is otherwise kept. The link is not used any more from here on. ended
 * is called once all that is done, perhaps before this returns, and may free the session.
 */
void session_end(struct session *session, void (*ended)(void *context), void *context);

/*
 * What the sessions of a loop share is made when first needed, and freed with the last session or
 * holder. That takes milliseconds in which nobody is served: who makes sessions holds it.
 */
int session_hold_shared(struct ob_loop *loop); /* 0 or -ENOMEM */
void session_drop_shared(struct ob_loop *loop);

/* Only after ended was called. */
void session_free(struct session *session);

#endif

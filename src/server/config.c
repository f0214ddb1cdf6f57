/* SPDX-License-Identifier: BSD-3-Clause */
/* A server's properties: the table, and what their values mean. */
#include "config.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/opts.h"

#define FIELD(member) offsetof(struct server_config, member)

static const char *const socket_types[] = {"unix", "fd", NULL};
enum { SOCKET_UNIX, SOCKET_FD };

static const char *const poll_choices[] = {[SERVER_POLL_ADAPTIVE] = "adaptive",
                                           [SERVER_POLL_ON] = "on",
                                           [SERVER_POLL_OFF] = "off",
                                           NULL};

static const char *const dma_fds_choices[] = {
	[SERVER_DMA_FDS_MEMORY] = "memory", [SERVER_DMA_FDS_ANY] = "any", NULL};

static const char *const reset_choices[] = {[SESSION_RESET_AUTO] = "auto",
                                            [SESSION_RESET_ON] = "on",
                                            [SESSION_RESET_OFF] = "off",
                                            NULL};

const struct ob_prop server_props[] = {
	{.name = "type",
         .type = OB_PROP_ENUM,
         .offset = FIELD(type),
         .preset = "unix",
         .choices = socket_types,
         .help = "kind of socket; unix takes path or fd"},
	{.name = "path",
         .type = OB_PROP_STRING,
         .offset = FIELD(path),
         .help = "where to make the socket; short form: socket=PATH"},
	{.name = "fd",
         .type = OB_PROP_STRING,
         .offset = FIELD(fd),
         .help = "inherited descriptor of a listening socket, instead of path"},
	{.name = "socket-mode",
         .type = OB_PROP_STRING,
         .offset = FIELD(mode),
         .preset = "0600",
         .help = "permissions of the socket file, octal"},
	{.name = "socket-group",
         .type = OB_PROP_STRING,
         .offset = FIELD(group),
         .help = "group of the socket file, by name or number"},
	{.name = "queue",
         .type = OB_PROP_BOOL,
         .offset = FIELD(queue),
         .preset = "off",
         .help = "a second client waits until the first leaves, instead of being refused; QEMU "
                 "needs a large x-msg-timeout for that"},
	{.name = "reset-on-connect",
         .type = OB_PROP_ENUM,
         .offset = FIELD(reset_on_connect),
         .preset = "auto",
         .choices = reset_choices,
         .help = "reset the device for a client that maps memory; auto: if another one left it"},
	{.name = "allow-uid",
         .type = OB_PROP_STRING,
         .offset = FIELD(allow_uid),
         .help = "users whose clients may connect, by name or number, joined by ':'"},
	{.name = "allow-gid",
         .type = OB_PROP_STRING,
         .offset = FIELD(allow_gid),
         .help = "groups whose clients may connect; with allow-uid, either will do"},
	{.name = "twin-socket",
         .type = OB_PROP_BOOL,
         .offset = FIELD(twin_socket),
         .preset = "on",
         .help = "give clients that propose it a second socket for the device's requests"},
	{.name = "max-data-xfer-size",
         .type = OB_PROP_SIZE,
         .offset = FIELD(max_data_xfer_size),
         .min = 4096,
         .max = 16 << 20,
         .preset = "1M",
         .help = "most bytes that a message transfers; longer messages end the session"},
	{.name = "max-dma-maps",
         .type = OB_PROP_UINT32,
         .offset = FIELD(max_dma_maps),
         .min = 1,
         .max = 65535,
         .preset = "65535",
         .help = "most ranges of memory that a client may have mapped"},
	{.name = "dma-fds",
         .type = OB_PROP_ENUM,
         .offset = FIELD(dma_fds),
         .preset = "memory",
         .choices = dma_fds_choices,
         .help = "what clients share is used if it is a file in memory; any: also if it can make "
                 "all devices wait"},
	{.name = "max-fds",
         .type = OB_PROP_UINT32,
         .offset = FIELD(max_fds),
         .min = 1,
         .max = 65535,
         .preset = "1024",
         .help = "most descriptors held for a client: interrupts, memory that can't be mapped"},
	{.name = "max-unsent",
         .type = OB_PROP_SIZE,
         .offset = FIELD(max_unsent),
         .min = 65536,
         .max = 1 << 30,
         .preset = "4M",
         .help = "bytes of replies not read from which on no more commands are taken"},
	{.name = "poll",
         .type = OB_PROP_ENUM,
         .offset = FIELD(poll),
         .preset = "adaptive",
         .choices = poll_choices,
         .help = "look for the next message before sleeping; adaptive: for clients that are quick"},
	{.name = "poll-max-us",
         .type = OB_PROP_UINT32,
         .offset = FIELD(poll_max_us),
         .min = 1,
         .max = 1000000,
         .preset = "50",
         .help = "microseconds to look for it after a message"},
	{.name = "log-lines",
         .type = OB_PROP_UINT32,
         .offset = FIELD(log_lines),
         .min = 1,
         .max = 100000,
         .preset = "10",
         .help = "most log lines per second that clients can cause"},
	{0},
};

static int parse_mode(const char *text, mode_t *mode, struct ob_error *err)
{
	unsigned long value;
	char *end;

	value = strtoul(text, &end, 8);
	if (text[0] < '0' || text[0] > '7' || *end || value > 0777)
		return ob_error_set(err, -EINVAL,
		                    "socket-mode=%s: expected octal permissions such as 0660",
		                    text);
	*mode = (mode_t)value;
	return 0;
}

/* Finds an id by name; -1: there is none. */
typedef int64_t find_id(const char *name);

static int64_t find_user(const char *name)
{
	const struct passwd *user = getpwnam(name);

	return user ? (int64_t)user->pw_uid : -1;
}

static int64_t find_group(const char *name)
{
	const struct group *group = getgrnam(name);

	return group ? (int64_t)group->gr_gid : -1;
}

/* A user or a group, by number or by name. */
static int parse_id(const char *key, const char *text, find_id *find, uint32_t *out,
                    struct ob_error *err)
{
	uint64_t number;
	int64_t id;

	if (!parse_uint(key, text, 0, UINT32_MAX - 1, &number, NULL)) {
		*out = (uint32_t)number;
		return 0;
	}
	id = find(text);
	if (id < 0)
		return ob_error_set(err, -EINVAL, "%s=%s: there is no %s of that name", key, text,
		                    find == find_user ? "user" : "group");
	*out = (uint32_t)id;
	return 0;
}

bool server_config_has_socket(const struct server_config *config)
{
	return config->path || config->fd;
}

int server_config_listener(const struct server_config *config, const char *id,
                           struct listener_config *to, struct ob_error *err)
{
	uint64_t fd;
	int rc;

	*to = (struct listener_config){.path = config->path, .fd = -1, .group = (gid_t)-1};
	if (!config->path == !config->fd)
		return ob_error_set(err, -EINVAL, "server %s needs path= or fd=, one of the two",
		                    id);
	if (config->type == SOCKET_FD && !config->fd)
		return ob_error_set(err, -EINVAL, "server %s: type=fd needs fd=", id);
	rc = parse_mode(config->mode, &to->mode, err);
	if (!rc && config->group)
		rc = parse_id("socket-group", config->group, find_group, &to->group, err);
	if (!rc && config->fd) {
		rc = parse_uint("fd", config->fd, 0, INT32_MAX, &fd, err);
		if (!rc)
			to->fd = (int)fd;
	}
	return rc;
}

struct session_limits server_config_limits(const struct server_config *config)
{
	struct session_limits limits = session_default_limits;

	limits.max_data_xfer_size = (uint32_t)config->max_data_xfer_size;
	limits.max_dma_maps = config->max_dma_maps;
	limits.max_fds = config->max_fds;
	limits.twin_socket = config->twin_socket;
	limits.reset_on_connect = (enum session_reset)config->reset_on_connect;
	limits.any_memory = config->dma_fds == SERVER_DMA_FDS_ANY;
	return limits;
}

/* All of a list that ':' joins; NULL is an empty one. */
static int parse_ids(const char *key, const char *list, find_id *find, struct server_ids *ids,
                     struct ob_error *err)
{
	char word[64];
	int rc = 0;

	while (!rc && list) {
		size_t length = strcspn(list, ":");

		snprintf(word, sizeof(word), "%.*s", (int)length, list);
		if (ids->count < ARRAY_SIZE(ids->id))
			rc = parse_id(key, word, find, &ids->id[ids->count++], err);
		else
			rc = ob_error_set(err, -EINVAL, "%s: at most %zu of them", key,
			                  ARRAY_SIZE(ids->id));
		list = list[length] ? list + length + 1 : NULL;
	}
	return rc;
}

int server_config_allowed(const struct server_config *config, struct server_allowed *allowed,
                          struct ob_error *err)
{
	int rc;

	*allowed = (struct server_allowed){.everybody = !config->allow_uid && !config->allow_gid};
	rc = parse_ids("allow-uid", config->allow_uid, find_user, &allowed->users, err);
	if (!rc)
		rc = parse_ids("allow-gid", config->allow_gid, find_group, &allowed->groups, err);
	return rc;
}

static bool has(const struct server_ids *ids, uint32_t id)
{
	for (unsigned i = 0; i < ids->count; i++) {
		if (ids->id[i] == id)
			return true;
	}
	return false;
}

/* The groups that the peer is in besides its own. */
static bool has_other_group(const struct server_ids *groups, int fd)
{
	cleanup_free gid_t *gids = NULL;
	socklen_t length = 0;

	/* Says how long it would be. */
	if (!getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &length) || errno != ERANGE)
		return false;
	gids = malloc(length);
	if (!gids || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &length))
		return false;
	for (size_t i = 0; i < length / sizeof(*gids); i++) {
		if (has(groups, gids[i]))
			return true;
	}
	return false;
}

bool server_allows(const struct server_allowed *allowed, int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (allowed->everybody)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length))
		return false;
	if (has(&allowed->users, peer.uid) || has(&allowed->groups, peer.gid))
		return true;
	return allowed->groups.count && has_other_group(&allowed->groups, fd);
}

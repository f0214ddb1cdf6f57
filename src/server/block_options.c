/* SPDX-License-Identifier: BSD-3-Clause */
/* QEMU's ways to say what our block nodes are; see block_options.h. */
#include "block_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"

enum { KEY_ROOM = 256 };

static const char below[] = "file.";

static bool is(const struct opts *opts, const char *key, const char *value)
{
	const char *has = opts_get(opts, key);

	return has && !strcmp(has, value);
}

static int set(struct opts *opts, const char *key, const char *value, struct ob_error *err)
{
	free(opts_take(opts, key));
	return opts_add(opts, key, value) ? ob_error_set(err, -ENOMEM, "out of memory") : 0;
}

/* Takes the first "file.KEY" out. NULL: there is none. */
static char *take_below(struct opts *opts, char *key, size_t room)
{
	for (size_t i = 0; i < opts->count; i++) {
		const char *name = opts->list[i].key;

		/* One that is too long is nobody's, and is refused as that. */
		if (strncmp(name, below, strlen(below)) != 0 || strlen(name) >= room)
			continue;
		snprintf(key, room, "%s", name);
		return opts_take(opts, key);
	}
	return NULL;
}

static int flatten(struct opts *opts, struct ob_error *err)
{
	char key[KEY_ROOM];

	if (opts_get(opts, "file") || !opts_get(opts, "file.driver"))
		return ob_error_set(err, -EINVAL,
		                    "driver=raw: what is below it has to be part of the same node: "
		                    "file.driver=file,file.filename=FILE");
	free(opts_take(opts, "driver"));
	for (;;) {
		cleanup_free char *value = take_below(opts, key, sizeof(key));
		const char *name = key + strlen(below);

		if (!value)
			return 0;
		/* The lower node's own name is nobody's. */
		if (strcmp(name, "node-name") != 0 && !opts_get(opts, name) &&
		    opts_add(opts, name, value))
			return ob_error_set(err, -ENOMEM, "out of memory");
	}
}

/* What is so anyway if it is off. */
static int drop(struct opts *opts, const char *key, struct ob_error *err)
{
	bool on;
	int rc;

	if (!opts_get(opts, key))
		return 0;
	rc = parse_bool(key, opts_get(opts, key), &on, err);
	if (!rc && on)
		rc = ob_error_set(err, -EINVAL, "%s=on is not offered", key);
	if (!rc)
		free(opts_take(opts, key));
	return rc;
}

int block_options_translate(struct opts *opts, struct ob_error *err)
{
	static const char *const off[] = {"cache.no-flush", "detect-zeroes", "force-share"};
	int rc = 0;

	if (is(opts, "driver", "raw"))
		rc = flatten(opts, err);
	if (!rc && is(opts, "driver", "host_device"))
		rc = set(opts, "driver", "file", err);
	if (!rc && is(opts, "driver", "null-co"))
		rc = set(opts, "driver", "null", err);
	if (!rc && is(opts, "aio", "native"))
		free(opts_take(opts, "aio"));
	/* It allows what we do not do: to open for reading only until somebody writes. */
	free(opts_take(opts, "auto-read-only"));
	for (size_t i = 0; i < ARRAY_SIZE(off) && !rc; i++)
		rc = drop(opts, off[i], err);
	return rc;
}

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

/* With QEMU a format passes discards on only if it is told to; what is below does by default. */
static int flatten_discard(struct opts *opts, struct ob_error *err)
{
	bool keeps = is(opts, "file.discard", "ignore") || !opts_get(opts, "discard");

	return keeps ? set(opts, "discard", "ignore", err) : 0;
}

static int flatten(struct opts *opts, struct ob_error *err)
{
	char key[KEY_ROOM];
	int rc = flatten_discard(opts, err);

	free(opts_take(opts, "driver"));
	while (!rc) {
		cleanup_free char *value = take_below(opts, key, sizeof(key));
		const char *name = key + strlen(below);

		if (!value)
			break;
		if (!opts_get(opts, name) && opts_add(opts, name, value))
			rc = ob_error_set(err, -ENOMEM, "out of memory");
	}
	return rc;
}

static int translate_raw(struct opts *opts, struct ob_error *err)
{
	static const char *const parts[] = {"offset", "size"};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (opts_get(opts, parts[i]) && !is(opts, parts[i], "0"))
			return ob_error_set(err, -EINVAL,
			                    "driver=raw: %s= is not offered: a raw node is all of "
			                    "what is below it",
			                    parts[i]);
		free(opts_take(opts, parts[i]));
	}
	if (!opts_get(opts, "file") == !opts_get(opts, "file.driver"))
		return ob_error_set(err, -EINVAL,
		                    "driver=raw: say what is below it, once: file=NODE-NAME, or "
		                    "file.driver=file,file.filename=FILE");
	if (!opts_get(opts, "file") && !opts_get(opts, "file.node-name"))
		return flatten(opts, err);
	return 0;
}

/* What the lower node has from the upper one where it says nothing itself, as with QEMU. */
static int inherit(const struct opts *opts, struct opts *lower, struct ob_error *err)
{
	static const char *const keys[] = {"read-only", "cache.direct", "cache.no-flush"};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys) && !rc; i++) {
		const char *value = opts_get(opts, keys[i]);

		if (value && !opts_get(lower, keys[i]))
			rc = opts_add(lower, keys[i], value);
	}
	/* A format decides about discards, and what is below it goes along. */
	if (!rc && !is(lower, "driver", "raw") && !opts_get(lower, "discard"))
		rc = opts_add(lower, "discard", "unmap");
	return rc ? ob_error_set(err, rc, "out of memory") : 0;
}

int block_options_split(struct opts *opts, struct opts *lower, struct ob_error *err)
{
	char key[KEY_ROOM];
	int rc;

	if (!is(opts, "driver", "raw"))
		return 0;
	for (;;) {
		cleanup_free char *value = take_below(opts, key, sizeof(key));

		if (!value)
			break;
		if (opts_add(lower, key + strlen(below), value))
			return ob_error_set(err, -ENOMEM, "out of memory");
	}
	if (lower->count) {
		rc = set(opts, "file", opts_get(lower, "node-name"), err);
		if (!rc)
			rc = inherit(opts, lower, err);
		if (!rc)
			rc = block_options_translate(lower, err);
		if (rc)
			return ob_error_prefix(err, rc, "file");
	}
	free(opts_take(opts, "cache.direct"));
	return 0;
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
	int rc = is(opts, "driver", "raw") ? translate_raw(opts, err) : 0;

	if (!rc && is(opts, "driver", "host_device"))
		rc = set(opts, "driver", "file", err);
	if (!rc && is(opts, "driver", "null-co"))
		rc = set(opts, "driver", "null", err);
	if (!rc && is(opts, "aio", "native"))
		free(opts_take(opts, "aio"));
	/* It allows what we do not do: to open for reading only until somebody writes. */
	free(opts_take(opts, "auto-read-only"));
	if (!rc && is(opts, "driver", "file") && !opts_get(opts, "discard"))
		rc = set(opts, "discard", "ignore", err);
	return rc ? rc : drop(opts, "force-share", err);
}

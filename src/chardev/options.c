/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Other ways to write a chardev's options: the short form of QEMU's -serial, and the nested one of
 * its monitor (qapi/char.json), where a bool is a bool and an address has a type.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/list.h"
#include "chardev.h"

static int no_memory(struct ob_error *err)
{
	return ob_error_set(err, -ENOMEM, "out of memory");
}

/* The short form */

/* "word", or "word:..." if it has an argument; what is behind the ':'. */
static const struct form {
	const char *word, *backend;
	const char *first_key; /* of the argument; NULL: it has none */
	bool needs_it;
} forms[] = {
	{"null", "null", NULL, false},      {"stdio", "stdio", NULL, false},
	{"pty", "pty", "path", false},      {"file", "file", "path", true},
	{"fd", "fd", "fd", true},           {"unix", "socket", "path", true},
	{"tcp", "socket", "address", true},
};

static const struct form *find_form(const char *text, const char **rest)
{
	size_t length = strcspn(text, ":,");

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		if (strlen(forms[i].word) != length || strncmp(forms[i].word, text, length) != 0)
			continue;
		if (text[length] == ':' ? !forms[i].first_key : forms[i].needs_it)
			continue;
		*rest = text + length + (text[length] != '\0');
		return &forms[i];
	}
	return NULL;
}

bool chardev_is_short(const char *text)
{
	const char *rest;

	return find_form(text, &rest) != NULL;
}

/* HOST:PORT; a host of IPv6 is in brackets. */
static int split_address(struct opts *opts, struct ob_error *err)
{
	cleanup_free char *address = opts_take(opts, "address");
	char *colon = address ? strrchr(address, ':') : NULL, *host = address;

	if (!address)
		return 0;
	if (!colon)
		return ob_error_set(err, -EINVAL, "tcp:%s: HOST:PORT expected", address);
	*colon = '\0';
	if (*host == '[' && colon[-1] == ']') {
		host++;
		colon[-1] = '\0';
	}
	return opts_add(opts, "host", host) || opts_add(opts, "port", colon + 1) ? no_memory(err)
	                                                                         : 0;
}

int chardev_parse_short(struct opts *opts, const char *text, struct ob_error *err)
{
	const char *rest;
	const struct form *form = find_form(text, &rest);
	int rc;

	if (!form)
		return ob_error_set(err, -EINVAL,
		                    "'%s': null, stdio, pty, file:PATH, fd:N, unix:PATH or "
		                    "tcp:HOST:PORT expected",
		                    text);
	rc = *rest ? opts_parse(opts, rest, rest[-1] == ':' ? form->first_key : NULL, err) : 0;
	if (!rc)
		rc = split_address(opts, err);
	if (rc)
		return rc;
	return opts_add(opts, "backend", form->backend) ? no_memory(err) : 0;
}

/* The monitor's form */

static const char data[] = "backend.data.", type_key[] = "backend.type";

static const struct {
	const char *theirs, *ours;
} names[] = {
	{"addr.data.path", "path"},
	{"addr.data.host", "host"},
	{"addr.data.port", "port"},
	{"addr.data.str", "fd"},
	{"out", "path"},
};

/* Of the address, which says by itself what it is. */
static bool is_type_of_address(const char *key)
{
	return !strcmp(key, "addr.type");
}

static int translate_in(const struct opt *opt, struct opts *to)
{
	const char *key = opt->key;

	if (!strcmp(key, type_key))
		return opts_add(to, "backend", opt->value);
	if (strncmp(key, data, sizeof(data) - 1) != 0)
		return opts_add(to, key, opt->value);
	key += sizeof(data) - 1;
	if (is_type_of_address(key))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i].theirs, key))
			key = names[i].ours;
	}
	return opts_add(to, key, opt->value);
}

int chardev_from_qapi(struct opts *opts, struct ob_error *err)
{
	struct opts to = {0};
	int rc = 0;

	for (size_t i = 0; i < opts->count && !rc; i++)
		rc = translate_in(&opts->list[i], &to);
	/* A socket there listens unless it is told not to. */
	if (!rc && opts_get(&to, "backend") && !strcmp(opts_get(&to, "backend"), "socket") &&
	    !opts_get(&to, "server") && !opts_get(&to, "fd"))
		rc = opts_add(&to, "server", "on");
	if (rc) {
		opts_free(&to);
		return no_memory(err);
	}
	opts_free(opts);
	*opts = to;
	return 0;
}

static int add_nested(struct opts *to, const char *key, const char *value)
{
	char whole[128];

	/* A longer one is nobody's, and is refused as that. */
	snprintf(whole, sizeof(whole), "%s%s", data, key);
	return opts_add(to, whole, value);
}

static int translate_out(const struct opt *opt, const char *backend, struct opts *to)
{
	bool socket = !strcmp(backend, "socket");
	int rc = 0;

	if (!strcmp(opt->key, "id"))
		return opts_add(to, "id", opt->value);
	if (!strcmp(opt->key, "backend"))
		return opts_add(to, type_key, opt->value);
	if (!strcmp(backend, "file") && !strcmp(opt->key, "path"))
		return add_nested(to, "out", opt->value);
	for (size_t i = 0; socket && i < ARRAY_SIZE(names); i++) {
		const char *ours = names[i].ours;

		if (strcmp(ours, opt->key) != 0)
			continue;
		if (strcmp(ours, "port") != 0)
			rc = add_nested(to, "addr.type",
			                !strcmp(ours, "path") ? "unix"
			                : !strcmp(ours, "fd") ? "fd"
			                                      : "inet");
		return rc ? rc : add_nested(to, names[i].theirs, opt->value);
	}
	return add_nested(to, opt->key, opt->value);
}

int chardev_to_qapi(struct opts *opts, struct ob_error *err)
{
	const char *backend = opts_get(opts, "backend");
	struct opts to = {0};
	int rc = 0;

	/* What is the default here is another one there. */
	if (backend && !strcmp(backend, "socket") && !opts_get(opts, "server"))
		rc = opts_add(opts, "server", "off");
	backend = opts_get(opts, "backend");
	for (size_t i = 0; i < opts->count && !rc; i++)
		rc = translate_out(&opts->list[i], backend ? backend : "", &to);
	if (rc) {
		opts_free(&to);
		return no_memory(err);
	}
	opts_free(opts);
	*opts = to;
	return 0;
}

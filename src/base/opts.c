/* SPDX-License-Identifier: BSD-3-Clause */
/* Option lists and the values in them; see opts.h. */
#include "opts.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fd.h"

int opts_add(struct opts *opts, const char *key, const char *value)
{
	struct opt *list = reallocarray(opts->list, opts->count + 1, sizeof(*list));
	struct opt opt;

	if (!list)
		return -ENOMEM;
	opts->list = list;
	opt.key = strdup(key);
	opt.value = strdup(value);
	if (!opt.key || !opt.value) {
		free(opt.key);
		free(opt.value);
		return -ENOMEM;
	}
	opts->list[opts->count++] = opt;
	return 0;
}

/* Copies a value up to its end (a single comma or NUL) and unfolds ",,". Returns where it ended. */
static const char *unescape(const char *text, char *out)
{
	while (*text && (*text != ',' || text[1] == ',')) {
		text += *text == ',';
		*out++ = *text++;
	}
	*out = '\0';
	return text;
}

/* One "key=value" or "word" at *text, which moves behind it and its comma. */
static int parse_pair(struct opts *opts, const char **text, const char *first_key, char *key,
                      char *value, struct ob_error *err)
{
	size_t length = strcspn(*text, "=,");
	bool has_value = (*text)[length] == '=';

	if (!has_value && first_key) {
		*text = unescape(*text, value);
		memcpy(key, first_key, strlen(first_key) + 1);
	} else {
		if (length == 0)
			return ob_error_set(err, -EINVAL, "'%s': expected key=value", *text);
		memcpy(key, *text, length);
		key[length] = '\0';
		if (has_value)
			*text = unescape(*text + length + 1, value);
		else
			*text += length, memcpy(value, "on", 3);
	}
	if (**text == ',' && !*++*text)
		return ob_error_set(err, -EINVAL, "nothing follows the last ','");
	return opts_add(opts, key, value);
}

int opts_parse(struct opts *opts, const char *text, const char *first_key, struct ob_error *err)
{
	size_t room = strlen(text) + (first_key ? strlen(first_key) : 0) + 3;
	cleanup_free char *key = malloc(room);
	cleanup_free char *value = malloc(room);
	int rc;

	if (!key || !value)
		return ob_error_set(err, -ENOMEM, "out of memory");
	for (; *text; first_key = NULL) {
		rc = parse_pair(opts, &text, first_key, key, value, err);
		if (rc)
			return rc;
	}
	return 0;
}

static struct opt *find(const struct opts *opts, const char *key)
{
	for (size_t i = 0; i < opts->count; i++) {
		if (!strcmp(opts->list[i].key, key))
			return &opts->list[i];
	}
	return NULL;
}

const char *opts_get(const struct opts *opts, const char *key)
{
	struct opt *opt = find(opts, key);

	return opt ? opt->value : NULL;
}

char *opts_take(struct opts *opts, const char *key)
{
	struct opt *opt = find(opts, key);
	char *value;

	if (!opt)
		return NULL;
	value = opt->value;
	free(opt->key);
	opts->count--;
	memmove(opt, opt + 1, (size_t)(opts->list + opts->count - opt) * sizeof(*opt));
	return value;
}

int opts_append(struct opts *opts, const struct opts *from)
{
	int rc;

	for (size_t i = 0; i < from->count; i++) {
		rc = opts_add(opts, from->list[i].key, from->list[i].value);
		if (rc)
			return rc;
	}
	return 0;
}

int opts_refuse_rest(const struct opts *opts, const char *what, struct ob_error *err)
{
	if (!opts->count)
		return 0;
	return ob_error_set(err, -EINVAL, "%s has no property '%s'", what, opts->list[0].key);
}

void opts_free(struct opts *opts)
{
	for (size_t i = 0; i < opts->count; i++) {
		free(opts->list[i].key);
		free(opts->list[i].value);
	}
	free(opts->list);
	*opts = (struct opts){0};
}

int parse_bool(const char *key, const char *value, bool *out, struct ob_error *err)
{
	static const char *const yes[] = {"on", "true", "yes", "y"};
	static const char *const no[] = {"off", "false", "no", "n"};

	for (size_t i = 0; i < 4; i++) {
		if (!strcmp(value, yes[i]) || !strcmp(value, no[i])) {
			*out = !strcmp(value, yes[i]);
			return 0;
		}
	}
	return ob_error_set(err, -EINVAL, "%s=%s: expected on or off", key, value);
}

int parse_uint(const char *key, const char *value, uint64_t min, uint64_t max, uint64_t *out,
               struct ob_error *err)
{
	bool hex = value[0] == '0' && (value[1] == 'x' || value[1] == 'X');
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(value, &end, hex ? 16 : 10);
	if (!isdigit((unsigned char)value[0]) || *end || errno || n < min || n > max)
		return ob_error_set(err, -EINVAL,
		                    "%s=%s: expected a number from %" PRIu64 " to %" PRIu64, key,
		                    value, min, max);
	*out = n;
	return 0;
}

/* The shift that a suffix stands for; -1 if it is none. */
static int suffix_shift(const char *suffix)
{
	static const char letters[] = "KMGTPE";
	const char *at;

	if (!*suffix || !strcasecmp(suffix, "B"))
		return 0;
	at = strchr(letters, toupper((unsigned char)*suffix));
	if (!at)
		return -1;
	if (suffix[1] && strcasecmp(suffix + 1, "iB") != 0 && strcasecmp(suffix + 1, "B") != 0)
		return -1;
	return (int)(at - letters + 1) * 10;
}

static bool size_from_text(const char *value, uint64_t *out)
{
	uint64_t whole, part = 0, scale = 1;
	char *end;
	int shift;

	if (!isdigit((unsigned char)value[0]))
		return false;
	errno = 0;
	whole = strtoull(value, &end, value[0] == '0' && (value[1] | 0x20) == 'x' ? 16 : 10);
	if (errno)
		return false;
	if (*end == '.') {
		for (end++; isdigit((unsigned char)*end) && scale < 1000000; end++) {
			part = part * 10 + (uint64_t)(*end - '0');
			scale *= 10;
		}
	}
	shift = suffix_shift(end);
	if (shift < 0 || (part && !shift) || whole > UINT64_MAX >> shift)
		return false;
	*out = (whole << shift) + (uint64_t)(((unsigned __int128)part << shift) / scale);
	return *out >= whole << shift;
}

int parse_size(const char *key, const char *value, uint64_t min, uint64_t max, uint64_t *out,
               struct ob_error *err)
{
	uint64_t n;

	if (!size_from_text(value, &n))
		return ob_error_set(err, -EINVAL,
		                    "%s=%s: expected a size in bytes, or with K, M, G or T: %s=64M",
		                    key, value, key);
	if (n < min || n > max)
		return ob_error_set(err, -EINVAL,
		                    "%s=%s: expected a size from %" PRIu64 " to %" PRIu64 " bytes",
		                    key, value, min, max);
	*out = n;
	return 0;
}

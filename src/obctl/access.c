/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl read and write: one or more registers of a region. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/checked.h"
#include "obctl/command.h"
#include "outboard/endian.h"

struct access_options {
	struct connect_options connect;
	uint32_t size, count;
	bool json;
};

static const struct ob_prop read_options[] = {
	{.name = "size",
         .type = OB_PROP_UINT32,
         .offset = offsetof(struct access_options, size),
         .min = 1,
         .max = 8,
         .preset = "4",
         .help = "bytes of one value: 1, 2, 4 or 8"},
	{.name = "count",
         .type = OB_PROP_UINT32,
         .offset = offsetof(struct access_options, count),
         .min = 1,
         .max = 65536,
         .preset = "1",
         .help = "values to read, each with an access of its own"},
	{.name = "json",
         .type = OB_PROP_BOOL,
         .offset = offsetof(struct access_options, json),
         .help = "print a JSON array of numbers"},
	CONNECT_OPTIONS,
	{0},
};

static const struct ob_prop write_options[] = {
	{.name = "size",
         .type = OB_PROP_UINT32,
         .offset = offsetof(struct access_options, size),
         .min = 1,
         .max = 8,
         .preset = "4",
         .help = "bytes of the value: 1, 2, 4 or 8"},
	CONNECT_OPTIONS,
	{0},
};

/* Region and offset as given, and a connection. */
static int start(const char *const *words, const struct access_options *options, uint32_t *region,
                 uint64_t *offset, struct ob_client **client, struct ob_error *err)
{
	int rc;

	if (!is_power_of_2(options->size))
		return ob_error_set(err, -EINVAL, "size=%u: 1, 2, 4 or 8 expected", options->size);
	rc = parse_region(words[1], region, err);
	if (!rc)
		rc = parse_number("offset", words[2], UINT64_MAX, offset, err);
	return rc ? rc : connect_to(words[0], &options->connect, false, client, err);
}

/* 0: there is no such region. */
static uint64_t region_size(struct ob_client *client, uint32_t region)
{
	struct ob_client_region info;
	uint64_t size;

	if (ob_client_region_info(client, region, &info))
		return 0;
	size = info.size;
	ob_client_region_release(&info);
	return size;
}

/* "bar0, bar4, config". False: there are none that have a name. */
static bool list_regions(struct ob_client *client, char *text, size_t room)
{
	size_t used = 0;

	for (uint32_t i = 0; region_name(i) && used < room; i++) {
		if (region_size(client, i))
			used += (size_t)snprintf(text + used, room - used, "%s%s", used ? ", " : "",
			                         region_name(i));
	}
	return used;
}

static int access_failed(struct ob_client *client, const char *what, uint32_t region,
                         uint64_t offset, int rc, struct ob_error *err)
{
	uint64_t size = region_size(client, region);
	char said[256], name[16], there[128];

	snprintf(said, sizeof(said), "%s", ob_client_message(client));
	if (region_name(region))
		snprintf(name, sizeof(name), "%s", region_name(region));
	else
		snprintf(name, sizeof(name), "region %" PRIu32, region);
	if (rc == -EINVAL && !size && list_regions(client, there, sizeof(there)))
		return ob_error_set(err, -ENXIO, "%s: the device has no %s, but %s", what, name,
		                    there);
	if (!size)
		return ob_error_set(err, rc, "%s of %s at 0x%" PRIx64 ": %s", what, name, offset,
		                    said);
	return ob_error_set(err, rc, "%s of %s at 0x%" PRIx64 ": %s (its size is 0x%" PRIx64 ")",
	                    what, name, offset, said, size);
}

static void print_values(const uint8_t *data, uint64_t offset, const struct access_options *options)
{
	int digits = (int)options->size * 2;
	unsigned per_line = 16 / options->size;

	for (uint32_t i = 0; i < options->count; i++) {
		uint64_t value = ob_get_le(data + (size_t)i * options->size, options->size);

		if (options->json)
			printf("%s%" PRIu64, i ? ", " : "[", value);
		else if (options->count == 1)
			printf("0x%0*" PRIx64, digits, value);
		else if (i % per_line)
			printf(" %0*" PRIx64, digits, value);
		else
			printf("%s%08" PRIx64 ": %0*" PRIx64, i ? "\n" : "",
			       offset + (uint64_t)i * options->size, digits, value);
	}
	puts(options->json ? "]" : "");
}

static int read_values(const char *const *words, const struct access_options *options,
                       uint8_t *data, struct ob_error *err)
{
	cleanup_client struct ob_client *client = NULL;
	uint64_t offset = 0;
	uint32_t region = 0;
	int rc = start(words, options, &region, &offset, &client, err);

	for (uint32_t i = 0; i < options->count && !rc; i++) {
		uint64_t at = offset + (uint64_t)i * options->size;

		rc = ob_client_read(client, region, at, data + (size_t)i * options->size,
		                    options->size);
		if (rc)
			rc = access_failed(client, "read", region, at, rc, err);
	}
	if (!rc)
		print_values(data, offset, options);
	return rc;
}

static int run_read(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct access_options *options = opaque;
	uint8_t *data = calloc(options->count, 8);
	int rc;

	if (!data)
		return ob_error_set(err, -ENOMEM, "out of memory");
	rc = read_values(words, options, data, err);
	free(data);
	return rc;
}

static int run_write(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct access_options *options = opaque;
	cleanup_client struct ob_client *client = NULL;
	uint64_t most = options->size < 8 ? (UINT64_C(1) << 8 * options->size) - 1 : UINT64_MAX;
	uint64_t offset = 0, value = 0;
	uint32_t region = 0;
	int rc = parse_number("value", words[3], most, &value, err);

	if (!rc)
		rc = start(words, options, &region, &offset, &client, err);
	if (rc)
		return rc;
	rc = ob_client_write_value(client, region, offset, options->size, value);
	return rc ? access_failed(client, "write", region, offset, rc, err) : 0;
}

const struct command command_read = {
	.name = "read",
	.words = "SOCKET REGION OFFSET",
	.word_count = 3,
	.summary = "Reads registers",
	.details = "REGION is bar0 to bar5, rom, config, or a number; OFFSET decimal, or "
		   "hexadecimal with 0x.\n",
	.options = read_options,
	.options_size = sizeof(struct access_options),
	.run = run_read,
};

const struct command command_write = {
	.name = "write",
	.words = "SOCKET REGION OFFSET VALUE",
	.word_count = 4,
	.summary = "Writes a register",
	.details = "REGION is bar0 to bar5, rom, config, or a number; OFFSET and VALUE decimal, or "
		   "hexadecimal\nwith 0x.\n",
	.options = write_options,
	.options_size = sizeof(struct access_options),
	.run = run_write,
};

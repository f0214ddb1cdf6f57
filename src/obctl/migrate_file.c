/* SPDX-License-Identifier: BSD-3-Clause */
/* See migrate_file.h. A stream says itself what its fields are, so nothing here knows of devices.
 */
#include "obctl/migrate_file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "obctl/command.h"
#include "obctl/report.h"
#include "wire/mstream.h"

enum { CHUNK = 1 << 20, ROOM = 2 * MSTREAM_MAX_SECTION };

/* Saving and loading */

static uint32_t chunk_size(const struct ob_client *client)
{
	uint32_t most = ob_client_caps(client)->max_data_xfer_size;

	return most < CHUNK ? most : CHUNK;
}

static int file_error(const char *path, int error, struct ob_error *err)
{
	return ob_error_set(err, -error, "%s: %s", path, strerror(error));
}

static int copy_out(struct ob_client *client, int fd, const char *path, struct ob_error *err)
{
	cleanup_free uint8_t *chunk = malloc(CHUNK);
	uint32_t size = chunk_size(client), got = size;

	if (!chunk)
		return ob_error_set(err, -ENOMEM, "out of memory");
	while (got == size) {
		int rc = ob_client_mig_read(client, chunk, size, &got);

		if (rc)
			return client_error(client, rc, "reading the state", err);
		for (uint32_t done = 0; done < got;) {
			ssize_t n = write(fd, chunk + done, got - done);

			if (n < 0 && errno != EINTR)
				return file_error(path, errno, err);
			done += n > 0 ? (uint32_t)n : 0;
		}
	}
	return 0;
}

int migrate_save(struct ob_client *client, const char *path, struct ob_error *err)
{
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	enum ob_client_state before;
	int again, rc;

	if (fd < 0)
		return file_error(path, errno, err);
	rc = ob_client_state(client, &before);
	if (!rc)
		rc = ob_client_set_state(client, OB_CLIENT_STATE_STOP_COPY);
	if (rc)
		return client_error(client, rc, "stopping the device", err);
	rc = copy_out(client, fd, path, err);
	again = ob_client_set_state(client, before == OB_CLIENT_STATE_STOP
	                                            ? OB_CLIENT_STATE_STOP
	                                            : OB_CLIENT_STATE_RUNNING);
	return rc || !again ? rc : client_error(client, again, "going on", err);
}

static int copy_in(struct ob_client *client, int fd, const char *path, struct ob_error *err)
{
	cleanup_free uint8_t *chunk = malloc(CHUNK);
	uint32_t size = chunk_size(client);
	ssize_t n;
	int rc;

	if (!chunk)
		return ob_error_set(err, -ENOMEM, "out of memory");
	while ((n = read(fd, chunk, size))) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return file_error(path, errno, err);
		rc = ob_client_mig_write(client, chunk, (uint32_t)n);
		if (rc)
			return client_error(client, rc, "loading the state", err);
	}
	return 0;
}

int migrate_load(struct ob_client *client, const char *path, struct ob_error *err)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return file_error(path, errno, err);
	rc = ob_client_set_state(client, OB_CLIENT_STATE_RESUMING);
	if (rc)
		return client_error(client, rc, "stopping the device", err);
	rc = copy_in(client, fd, path, err);
	if (rc)
		return rc;
	rc = ob_client_set_state(client, OB_CLIENT_STATE_RUNNING);
	return rc ? client_error(client, rc, "taking the state", err) : 0;
}

/* Printing */

struct dump {
	const char *path;
	FILE *file;
	struct report report;
	uint64_t offset; /* of buffer in the file */
	uint8_t *buffer;
	size_t used;
	bool ended;
	struct mstream_sum sum;
	struct mstream_table table;

	/* Pieces of one name in a row. */
	char name[MSTREAM_MAX_NAME + 1];
	uint64_t pieces, bytes, zeroes;
};

static int bad(const struct dump *dump, const char *why, struct ob_error *err)
{
	return ob_error_set(err, -EINVAL, "%s: at byte %" PRIu64 ": %s", dump->path, dump->offset,
	                    why);
}

static void indent(struct report *report, unsigned depth)
{
	if (!report->here)
		printf("%*s", (int)(2 * depth), "");
}

/* Text if it is that, with zeroes behind it; otherwise hexadecimal, a part of it if it is long. */
static void print_bytes(struct report *report, const char *key, const uint8_t *bytes,
                        uint32_t length)
{
	enum { SHOWN = 64 };
	size_t text = strnlen((const char *)bytes, length), rest = text;
	char value[2 * SHOWN + 8] = "";
	bool is_text = text;

	for (size_t i = 0; i < text; i++)
		is_text &= isprint(bytes[i]) != 0;
	while (rest < length && !bytes[rest])
		rest++;
	is_text &= rest == length;
	if (is_text) {
		snprintf(value, sizeof(value), "%.*s", (int)text, (const char *)bytes);
	} else {
		for (uint32_t i = 0; i < length && i < SHOWN; i++)
			snprintf(value + (size_t)2 * i, 3, "%02x", bytes[i]);
		if (length > SHOWN)
			memcpy(value + (size_t)2 * SHOWN, "...", 4);
	}
	report_text(report, key, value, " %s", value);
}

/* A number, flag or bytes, or an array of those. */
static void print_value(struct dump *dump, const struct mstream_field *field, const uint8_t *bytes,
                        unsigned depth)
{
	struct report *report = &dump->report;
	bool array = field->count != 1;

	indent(report, depth);
	if (field->type == OB_FIELD_BYTES) {
		report_text(report, NULL, NULL, "%s", field->name);
		print_bytes(report, field->name, bytes, field->count);
		report_text(report, NULL, NULL, "\n");
		return;
	}
	if (array)
		report_open(report, field->name, true, "%s", field->name);
	else
		report_text(report, NULL, NULL, "%s", field->name);
	for (uint32_t i = 0; i < field->count; i++) {
		uint64_t value = mstream_value(field, bytes, i);

		/* In an array there are no keys; "" is not NULL. */
		if (field->type == OB_FIELD_BOOL) {
			report_flag(report, NULL, field->name, value);
			report_text(report, NULL, NULL, " %s", value ? "yes" : "no");
		} else {
			report_number(report, value > 255 ? " 0x%llx" : " %llu", field->name,
			              value);
		}
	}
	if (array)
		report_close(report, "\n");
	else
		report_text(report, NULL, NULL, "\n");
}

/* NOLINTNEXTLINE(misc-no-recursion): at most MSTREAM_MAX_DEPTH, which the decoder checked */
static void print_fields(struct dump *dump, unsigned from, unsigned to, const uint8_t *bytes,
                         unsigned depth)
{
	struct report *report = &dump->report;
	const struct mstream_field *field;

	for (unsigned i = from; i < to; i = field->next) {
		const uint8_t *at;

		field = &dump->table.fields[i];
		at = bytes + field->offset;
		if (field->type != OB_FIELD_STRUCT) {
			print_value(dump, field, at, depth);
			continue;
		}
		if (report->here)
			report_open(report, field->name, true, "%s", "");
		for (uint32_t k = 0; k < field->count; k++) {
			indent(report, depth);
			report_open(report, NULL, false, "%s %u\n", field->name, k);
			print_fields(dump, i + 1, field->next, at + (size_t)k * field->size,
			             depth + 1);
			report_close(report, "");
		}
		if (report->here)
			report_close(report, "");
	}
}

static void open_section(struct dump *dump, const char *name, const char *kind)
{
	report_open(&dump->report, NULL, false, "%s", name);
	report_text(&dump->report, "name", name, "%s", "");
	report_text(&dump->report, "kind", kind, "%s", "");
}

static int print_table(struct dump *dump, const struct mstream_section *section,
                       struct ob_error *err)
{
	struct mstream_table *table = &dump->table;
	struct report *report = &dump->report;
	const char *why;

	if (mstream_decode_table(section, table, &why))
		return bad(dump, why, err);
	open_section(dump, section->name, section->kind == MSTREAM_TABLE ? "table" : "records");
	report_number(report, ": version %llu", "version", section->version);
	report_flag(report, NULL, "required", section->flags & MSTREAM_REQUIRED);
	report_text(report, NULL, NULL, section->flags & MSTREAM_REQUIRED ? "\n" : ", optional\n");
	if (report->here)
		report_open(report, "elements", true, "%s", "");
	for (uint32_t i = 0; i < table->count; i++) {
		if (table->count != 1)
			report_text(report, NULL, NULL, "  [%u]\n", i);
		report_open(report, NULL, false, "%s", "");
		print_fields(dump, 0, table->field_count, table->data + (size_t)i * table->size,
		             table->count == 1 ? 1 : 2);
		report_close(report, "");
	}
	if (report->here)
		report_close(report, "");
	report_close(report, "");
	return 0;
}

static void end_pieces(struct dump *dump)
{
	if (!dump->pieces)
		return;
	open_section(dump, dump->name, "data");
	report_number(&dump->report, ": %llu bytes", "bytes", dump->bytes);
	report_number(&dump->report, " in %llu pieces", "pieces", dump->pieces);
	report_number(&dump->report, ", %llu of them zeroes", "zeroes", dump->zeroes);
	report_close(&dump->report, "\n");
	dump->pieces = dump->bytes = dump->zeroes = 0;
}

static int add_piece(struct dump *dump, const struct mstream_section *section, struct ob_error *err)
{
	uint64_t offset, length;
	const uint8_t *bytes;
	const char *why;

	if (mstream_decode_data(section, &offset, &length, &bytes, &why))
		return bad(dump, why, err);
	if (strcmp(dump->name, section->name) != 0)
		end_pieces(dump);
	memcpy(dump->name, section->name, sizeof(dump->name));
	dump->pieces++;
	dump->bytes += length;
	dump->zeroes += bytes ? 0 : length;
	return 0;
}

static int print_section(struct dump *dump, const struct mstream_section *section,
                         struct ob_error *err)
{
	const char *why;

	if (section->kind == MSTREAM_DATA)
		return add_piece(dump, section, err);
	end_pieces(dump);
	if (section->kind == MSTREAM_TABLE || section->kind == MSTREAM_RECORDS)
		return print_table(dump, section, err);
	if (section->kind == MSTREAM_END) {
		dump->ended = true;
		return mstream_check_end(section, &dump->sum, &why) ? bad(dump, why, err) : 0;
	}
	open_section(dump, section->name, "unknown");
	report_number(&dump->report, ": of the unknown kind %llu", "number", section->kind);
	report_number(&dump->report, ", %llu bytes", "bytes", section->length);
	report_close(&dump->report, "\n");
	return 0;
}

static void skip(struct dump *dump, size_t size)
{
	memmove(dump->buffer, dump->buffer + size, dump->used - size);
	dump->used -= size;
	dump->offset += size;
}

/* All sections that are whole. */
static int print_sections(struct dump *dump, struct ob_error *err)
{
	struct mstream_section section;
	const char *why;
	size_t size;

	while (!dump->ended) {
		int rc = mstream_next(dump->buffer, dump->used, &section, &size, &why);

		if (rc == -EAGAIN)
			return 0;
		rc = rc ? bad(dump, why, err) : print_section(dump, &section, err);
		if (rc)
			return rc;
		mstream_add(&dump->sum, section.crc);
		skip(dump, size);
	}
	return 0;
}

static int print_stream(struct dump *dump, struct ob_error *err)
{
	const char *why;
	int rc;

	dump->used = fread(dump->buffer, 1, ROOM, dump->file);
	if (dump->used < MSTREAM_HEADER)
		return bad(dump, "a stream's header expected", err);
	if (mstream_check_header(dump->buffer, &why))
		return bad(dump, why, err);
	skip(dump, MSTREAM_HEADER);
	rc = print_sections(dump, err);
	while (!rc && !dump->ended) {
		size_t more = fread(dump->buffer + dump->used, 1, ROOM - dump->used, dump->file);

		dump->used += more;
		rc = more ? print_sections(dump, err) : bad(dump, "the stream ends too soon", err);
	}
	if (!rc && (dump->used || getc(dump->file) != EOF))
		rc = bad(dump, "bytes behind the end of the stream", err);
	return rc;
}

int migrate_dump(const char *path, bool json, struct ob_error *err)
{
	struct dump *dump = calloc(1, sizeof(*dump));
	int rc;

	if (!dump)
		return ob_error_set(err, -ENOMEM, "out of memory");
	dump->path = path;
	dump->buffer = malloc(ROOM);
	dump->file = fopen(path, "re");
	if (!dump->file) {
		rc = file_error(path, errno, err);
	} else if (!dump->buffer) {
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	} else {
		report_begin(&dump->report, json);
		if (json)
			report_open(&dump->report, "sections", true, "%s", "");
		rc = print_stream(dump, err);
		end_pieces(dump);
		if (json)
			report_close(&dump->report, "");
		report_end(&dump->report, false);
	}
	if (dump->file)
		fclose(dump->file);
	free(dump->buffer);
	free(dump);
	return rc;
}

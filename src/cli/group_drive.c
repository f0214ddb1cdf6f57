/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * -drive if=none: what older command lines say for -blockdev. Just the keys that mean the same
 * there are taken, and translated.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/props.h"
#include "groups.h"

struct drive_options {
	char *interface, *id, *file, *format;
	uint32_t media, cache, aio, discard;
	bool readonly;
};

enum { CACHE_AUTO, CACHE_NONE, CACHE_WRITEBACK };
static const char *const caches[] = {"auto", "none", "writeback", NULL};

enum { AIO_AUTO, AIO_THREADS, AIO_NATIVE, AIO_URING };
static const char *const aios[] = {"auto", "threads", "native", "io_uring", NULL};

static const char *const discards[] = {"unmap", "on", "ignore", "off", NULL};
static const char *const media[] = {"disk", NULL};

static const struct ob_prop table[] = {
	{"if", OB_PROP_STRING, offsetof(struct drive_options, interface), .help = "none"},
	{"id", OB_PROP_STRING, offsetof(struct drive_options, id), .help = "name of the node"},
	{"file", OB_PROP_STRING, offsetof(struct drive_options, file), .help = "the image"},
	{"format", OB_PROP_STRING, offsetof(struct drive_options, format), .help = "raw"},
	{"media", OB_PROP_ENUM, offsetof(struct drive_options, media), .preset = "disk",
         .choices = media, .help = "disk"},
	{"cache", OB_PROP_ENUM, offsetof(struct drive_options, cache), .preset = "auto",
         .choices = caches, .help = "none: bypass the host's page cache"},
	{"aio", OB_PROP_ENUM, offsetof(struct drive_options, aio), .preset = "auto",
         .choices = aios, .help = "how to do I/O; native is as auto"},
	{"discard", OB_PROP_ENUM, offsetof(struct drive_options, discard), .preset = "unmap",
         .choices = discards, .help = "what is discarded is given back, or not"},
	{"readonly", OB_PROP_BOOL, offsetof(struct drive_options, readonly), .preset = "off",
         .help = "open for reading only"},
	{0},
};

static int check(const struct drive_options *drive, struct ob_error *err)
{
	if (!drive->interface || strcmp(drive->interface, "none") != 0)
		return ob_error_set(err, -EINVAL,
		                    "-drive if=%s: outboard has no such bus: if=none, and the disk "
		                    "with -device nvme,drive=ID",
		                    drive->interface ? drive->interface : "");
	if (!drive->id || !drive->file)
		return ob_error_set(err, -EINVAL, "-drive needs %s=", drive->id ? "file" : "id");
	if (!drive->format || strcmp(drive->format, "raw") != 0)
		return ob_error_set(err, -EINVAL,
		                    "-drive id=%s,format=%s: formats are not guessed, and there is "
		                    "just format=raw",
		                    drive->id, drive->format ? drive->format : "");
	return 0;
}

static int translate(const struct drive_options *drive, struct opts *block)
{
	int rc = opts_add(block, "driver", "file");

	if (!rc)
		rc = opts_add(block, "node-name", drive->id);
	if (!rc)
		rc = opts_add(block, "filename", drive->file);
	if (!rc && drive->readonly)
		rc = opts_add(block, "read-only", "on");
	if (!rc && drive->cache != CACHE_AUTO)
		rc = opts_add(block, "direct", drive->cache == CACHE_NONE ? "on" : "off");
	if (!rc && (drive->aio == AIO_THREADS || drive->aio == AIO_URING))
		rc = opts_add(block, "aio", aios[drive->aio]);
	if (!rc)
		rc = opts_add(block, "discard", drive->discard < 2 ? "unmap" : "ignore");
	return rc;
}

int group_add_drive(struct args *args, struct opts *opts, struct ob_error *err)
{
	struct drive_options drive = {0};
	cleanup_opts struct opts block = {0};
	int rc = group_take("-drive", table, &drive, opts, err);

	if (!rc)
		rc = check(&drive, err);
	if (!rc) {
		rc = translate(&drive, &block);
		if (!rc)
			rc = plan_add(&args->plan.blocks, &block, false);
		if (rc)
			ob_error_set(err, rc, "out of memory");
	}
	props_free(table, &drive);
	return rc;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * -drive if=none: what older command lines say for -blockdev. Just the keys that mean the same
 * there are taken, and translated.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/list.h"
#include "base/props.h"
#include "groups.h"

struct drive_options {
	char *interface, *id, *file, *format, *cache;
	char *direct, *no_flush, *writeback, *detect_zeroes, *locking;
	char *rerror, *werror;
	uint32_t media, aio, discard;
	bool readonly;
};

/* cache=, as QEMU has it: what the three parts of it are. */
static const struct cache_mode {
	const char *name, *direct, *no_flush, *writeback;
} cache_modes[] = {
	{"none", "on", "off", "on"},           {"writeback", "off", "off", "on"},
	{"writethrough", "off", "off", "off"}, {"directsync", "on", "off", "off"},
	{"unsafe", "off", "on", "on"},
};

enum { AIO_AUTO, AIO_THREADS, AIO_NATIVE, AIO_URING };
static const char *const aios[] = {"auto", "threads", "native", "io_uring", NULL};

enum { DISCARD_DEFAULT, DISCARD_IGNORE, DISCARD_OFF, DISCARD_UNMAP, DISCARD_ON };
static const char *const discards[] = {"default", "ignore", "off", "unmap", "on", NULL};
static const char *const media[] = {"disk", NULL};

static const struct ob_prop table[] = {
	{"if", OB_PROP_STRING, offsetof(struct drive_options, interface), .help = "none"},
	{"id", OB_PROP_STRING, offsetof(struct drive_options, id), .help = "name of the node"},
	{"file", OB_PROP_STRING, offsetof(struct drive_options, file), .help = "the image"},
	{"format", OB_PROP_STRING, offsetof(struct drive_options, format), .help = "raw"},
	{"media", OB_PROP_ENUM, offsetof(struct drive_options, media), .preset = "disk",
         .choices = media, .help = "disk"},
	{"cache", OB_PROP_STRING, offsetof(struct drive_options, cache),
         .help = "none, writeback, writethrough, directsync or unsafe: the next three in one"},
	{"cache.direct", OB_PROP_STRING, offsetof(struct drive_options, direct),
         .help = "on: bypass the host's page cache"},
	{"cache.writeback", OB_PROP_STRING, offsetof(struct drive_options, writeback),
         .help = "off: a write is done when it is on stable storage"},
	{"cache.no-flush", OB_PROP_STRING, offsetof(struct drive_options, no_flush),
         .help = "on: flushes do nothing"},
	{"detect-zeroes", OB_PROP_STRING, offsetof(struct drive_options, detect_zeroes),
         .help = "off, on or unmap: whether writes of zeroes are looked for"},
	{"file.locking", OB_PROP_STRING, offsetof(struct drive_options, locking),
         .help = "on, off or auto: keep others from using the file"},
	{"aio", OB_PROP_ENUM, offsetof(struct drive_options, aio), .preset = "auto",
         .choices = aios, .help = "how to do I/O; native is as auto"},
	{"discard", OB_PROP_ENUM, offsetof(struct drive_options, discard), .preset = "default",
         .choices = discards, .help = "unmap: give back what is discarded; default: as -blockdev"},
	{"rerror", OB_PROP_STRING, offsetof(struct drive_options, rerror),
         .help = "report, ignore or stop: for devices that do not say it themselves"},
	{"werror", OB_PROP_STRING, offsetof(struct drive_options, werror),
         .help = "the same for writes; also enospc"},
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

static int take_cache_mode(struct drive_options *drive, struct ob_error *err)
{
	char **const parts[] = {&drive->direct, &drive->no_flush, &drive->writeback};

	if (!drive->cache)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(cache_modes); i++) {
		const struct cache_mode *mode = &cache_modes[i];
		const char *const values[] = {mode->direct, mode->no_flush, mode->writeback};

		if (strcmp(mode->name, drive->cache) != 0)
			continue;
		for (size_t j = 0; j < ARRAY_SIZE(parts); j++) {
			if (!*parts[j] && !(*parts[j] = strdup(values[j])))
				return ob_error_set(err, -ENOMEM, "out of memory");
		}
		return 0;
	}
	return ob_error_set(err, -EINVAL,
	                    "-drive cache=%s: expected one of none, writeback, writethrough, "
	                    "directsync, unsafe",
	                    drive->cache);
}

static int translate(const struct drive_options *drive, struct opts *block)
{
	const struct {
		const char *key, *value;
	} pairs[] = {
		{"driver", "file"},
		{"node-name", drive->id},
		{"filename", drive->file},
		{"read-only", drive->readonly ? "on" : NULL},
		{"cache.direct", drive->direct},
		{"cache.no-flush", drive->no_flush},
		{"cache.writeback", drive->writeback},
		{"detect-zeroes", drive->detect_zeroes},
		{"locking", drive->locking},
		{"rerror", drive->rerror},
		{"werror", drive->werror},
		{"aio",
	         drive->aio == AIO_THREADS || drive->aio == AIO_URING ? aios[drive->aio] : NULL},
		{"discard", drive->discard >= DISCARD_UNMAP ? "unmap"
	                    : drive->discard                ? "ignore"
	                                                    : NULL},
	};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pairs) && !rc; i++)
		rc = pairs[i].value ? opts_add(block, pairs[i].key, pairs[i].value) : 0;
	return rc;
}

int group_add_drive(struct args *args, struct opts *opts, struct ob_error *err)
{
	struct drive_options drive = {0};
	cleanup_opts struct opts block = {0};
	int rc = group_take("-drive", table, &drive, opts, err);

	if (!rc)
		rc = check(&drive, err);
	if (!rc)
		rc = take_cache_mode(&drive, err);
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

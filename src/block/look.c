/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a node would be, without making it: its options are read, and its file is asked for its kind
 * and size by name. Nothing is opened, so nothing is locked.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/props.h"
#include "drivers.h"

/* A block device is not opened to ask for its size. */
#define SIZE_UNKNOWN (UINT64_C(1) << 40)

static int look_at_file(const char *filename, uint64_t *size, struct ob_error *err)
{
	struct stat st;

	if (!filename || !*filename)
		return ob_error_set(err, -EINVAL, "filename= is missing: filename=disk.img");
	if (stat(filename, &st))
		return ob_error_set(err, -errno, "file '%s': %s", filename, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return ob_error_set(err, -EINVAL,
		                    "file '%s': is neither a regular file nor a block device",
		                    filename);
	if (S_ISREG(st.st_mode) && st.st_size < BLOCK_SECTOR)
		return ob_error_set(err, -EINVAL,
		                    "file '%s': is empty: 'truncate -s 1G %s' gives it a size",
		                    filename, filename);
	if (S_ISREG(st.st_mode))
		*size = (uint64_t)st.st_size / BLOCK_SECTOR * BLOCK_SECTOR;
	return 0;
}

static int look(const struct block_driver *driver, void *props, struct opts *opts, uint64_t *size,
                struct ob_error *err)
{
	struct block_options unused;
	int rc = props_apply(driver->props, props, opts, NULL, err);

	if (!rc)
		rc = props_apply(block_node_props, &unused, opts, NULL, err);
	for (const struct ob_prop *prop = driver->props; prop->name && !rc; prop++) {
		const void *field = (char *)props + prop->offset;

		if (!strcmp(prop->name, "filename")) {
			rc = look_at_file(*(char *const *)field, size, err);
		} else if (!strcmp(prop->name, "size")) {
			*size = *(const uint64_t *)field;
			rc = block_check_size(*size, err);
		}
		if (rc)
			ob_error_key(err, rc, prop->name);
	}
	return rc;
}

int block_look(struct opts *opts, uint64_t *size, struct ob_error *err)
{
	cleanup_free char *name = opts_take(opts, "driver");
	const struct block_driver *const *driver = block_drivers();
	void *props;
	int rc;

	while (*driver && name && strcmp((*driver)->name, name) != 0)
		driver++;
	if (!*driver || !name)
		return ob_error_set(err, -EINVAL, "driver= is missing");
	props = calloc(1, (*driver)->props_size);
	if (!props)
		return ob_error_set(err, -ENOMEM, "out of memory");
	*size = SIZE_UNKNOWN;
	rc = look(*driver, props, opts, size, err);
	props_free((*driver)->props, props);
	free(props);
	return rc;
}

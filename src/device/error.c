/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What becomes of a command whose request to a block node has failed: as QEMU has it for disks that
 * know rerror and werror. The model keeps the command or ends it, and whoever made the device stops
 * the machine; here is what is decided.
 */
#include <errno.h>
#include <string.h>

#include "base/suggest.h"
#include "internal.h"

enum ob_on_error device_on_error(const struct ob_dev *dev, const struct ob_block *block, bool write)
{
	const struct ob_prop *prop = prop_find(dev->model->props, write ? "werror" : "rerror");
	const struct ob_block_info *info = ob_block_info(block);
	uint32_t chosen;

	if (!prop)
		return OB_ON_ERROR_REPORT;
	chosen = *(const uint32_t *)((const char *)dev->props + prop->offset);
	if (chosen == OB_ON_ERROR_AUTO)
		chosen = write ? info->werror : info->rerror;
	/* QEMU stops most of its disks where there is no room, and reports all errors of its nvme.
	 */
	return chosen == OB_ON_ERROR_AUTO ? OB_ON_ERROR_REPORT : (enum ob_on_error)chosen;
}

/* What says nothing of the storage: a client's memory that is gone, for one, stops no machine. */
static bool is_of_request(int error)
{
	return error == -EFAULT || error == -EINVAL || error == -EROFS || error == -EPERM;
}

static enum ob_error_action choose(const struct ob_dev *dev, enum ob_on_error chosen, int error)
{
	bool stops = chosen == OB_ON_ERROR_STOP ||
	             (chosen == OB_ON_ERROR_ENOSPC && (error == -ENOSPC || error == -EDQUOT));

	if (chosen == OB_ON_ERROR_IGNORE)
		return OB_ERROR_IGNORE;
	return stops && dev->env.block_error ? OB_ERROR_STOP : OB_ERROR_REPORT;
}

static void log_action(struct ob_dev *dev, const struct device_error *error, bool again)
{
	const char *what = error->write ? "write" : "read", *name = ob_block_name(error->block);
	const char *why = strerror(-error->error);

	if (error->action == OB_ERROR_STOP)
		log_error(&dev->log, "%s of drive %s failed (%s): the machine stops%s", what, name,
		          why, again ? ", and it is done again when that goes on" : "");
	else if (error->action == OB_ERROR_IGNORE)
		log_warn(&dev->log, "%s of drive %s failed (%s), which is ignored", what, name,
		         why);
}

enum ob_error_action ob_dev_block_error(struct ob_dev *dev, const struct ob_block *block,
                                        enum ob_block_op op, int error)
{
	struct device_error told = {.block = block, .write = op != OB_BLOCK_READ, .error = error};
	bool again = op != OB_BLOCK_FLUSH;

	if (is_of_request(error))
		return OB_ERROR_REPORT;
	told.action = choose(dev, device_on_error(dev, block, told.write), error);
	log_action(dev, &told, again);
	if (dev->env.block_error)
		dev->env.block_error(dev->env.context, dev, &told);
	return told.action == OB_ERROR_STOP && !again ? OB_ERROR_REPORT : told.action;
}

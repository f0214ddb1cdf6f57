/* SPDX-License-Identifier: BSD-3-Clause */
/* See ending.h. */
#include "ending.h"

#include <stdio.h>

enum { NAMES = 4 };

struct naming {
	char *text;
	size_t room, used;
	unsigned named;
};

static int name_disk(void *context, const struct machine_block_info *info)
{
	struct naming *naming = context;
	const char *file = info->filename ? info->filename : "";
	int length;

	/* The one below it has a file to name. */
	if (info->below || naming->used >= naming->room)
		return 0;
	if (naming->named++ == NAMES) {
		snprintf(naming->text + naming->used, naming->room - naming->used, " and others");
		return 1;
	}
	length = snprintf(naming->text + naming->used, naming->room - naming->used,
	                  *file ? "%sdisk '%s' (%.128s)" : "%sdisk '%s'",
	                  naming->named > 1 ? ", " : "", info->node_name, file);
	naming->used += length > 0 ? (size_t)length : 0;
	return 0;
}

void ending_describe(const struct machine *machine, char *text, size_t room)
{
	struct naming naming = {.text = text, .room = room};

	snprintf(text, room, "a client's session");
	(void)machine_each_block(machine, name_disk, &naming);
}

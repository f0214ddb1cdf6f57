/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes what people write: the configuration file, and the arguments of options that are lists of
 * key=value or JSON, up to the plan of what is to be made. Nothing is made.
 *
 * An input: which of them (a byte), then the text. A refusal has a message, and what is accepted is
 * freed.
 */
#include <errno.h>

#include "cli/config_file.h"
#include "cli/groups.h"
#include "input.h"

enum { MAX_INPUT = 1 << 16, CONFIG_FILE = 255, QMP = 254 };

static void check_list(const struct plan_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct opts *opts = &list->items[i].opts;

		for (size_t j = 0; j < opts->count; j++)
			must(opts->list[j].key && opts->list[j].value);
	}
}

static int read_text(struct args *args, unsigned kind, const char *text, size_t length,
                     struct ob_error *err)
{
	const struct group *group = group_at(kind);

	if (kind == CONFIG_FILE)
		return config_file_parse(args, text, length, "f", err);
	if (kind == QMP || !group)
		return group_add_qmp_text(args, text, false, err);
	return group_add_text(args, group, text, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct args args = {.ready_fd = -1};
	struct ob_error err = {0};
	char *text;
	int rc;

	if (!size || size > MAX_INPUT)
		return 0;
	text = calloc(1, size);
	must(text != NULL);
	memcpy(text, data + 1, size - 1);
	rc = read_text(&args, data[0], text, size - 1, &err);
	if (!rc && args.action == ARGS_SERVE)
		rc = group_join_monitors(&args, &err);
	must(!rc || ((rc == -EINVAL || rc == -ENOMEM) && err.message[0]));
	check_list(&args.plan.blocks);
	check_list(&args.plan.devices);
	check_list(&args.plan.objects);
	check_list(&args.plan.monitors);
	args_free(&args);
	free(text);
	return 0;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Groups of options: what is a list of key=value on the command line, and a section in the
 * configuration file. Both end up here, and so mean the same. Nothing is made or opened here.
 */
#ifndef CLI_GROUPS_H
#define CLI_GROUPS_H

#include "args.h"

struct group {
	const char *name;      /* "device" */
	const char *first_key; /* what a first word without '=' means; NULL: nothing special */
	const char *id_key;    /* what the name of a section means; NULL: it can have none */
	/*
	 * Takes opts, which may be empty afterwards, or refuses it: 0, or -EINVAL or -ENOMEM with a
	 * message.
	 */
	int (*add)(struct args *args, struct opts *opts, struct ob_error *err);
};

/* NULL: there is none of that name. */
const struct group *group_find(const char *name);

/* In order; NULL behind the last. */
const struct group *group_at(size_t index);

/* The argument of the option of that name: JSON if it begins with '{', else key=value. */
int group_add_text(struct args *args, const struct group *group, const char *text,
                   struct ob_error *err);

/*
 * Takes what table (see outboard/prop.h) describes into target; what is left is refused with a
 * message that names the group and the nearest property.
 */
int group_take(const char *name, const struct ob_prop *table, void *target, struct opts *opts,
               struct ob_error *err);

/* group_drive.c: -drive, in the form that says no more than -blockdev. */
int group_add_drive(struct args *args, struct opts *opts, struct ob_error *err);

/* group_monitor.c: -chardev, -mon, -qmp. */
int group_add_chardev(struct args *args, struct opts *opts, struct ob_error *err);
int group_add_mon(struct args *args, struct opts *opts, struct ob_error *err);
int group_add_qmp(struct args *args, struct opts *opts, struct ob_error *err);
/* -object monitor-qmp, which is -mon for a chardev. */
int group_add_monitor_qmp(struct args *args, struct opts *opts, struct ob_error *err);

/* The argument of -qmp: unix:PATH[,key=value...], stdio, fd:N, chardev:ID or none. */
int group_add_qmp_text(struct args *args, const char *text, bool pretty, struct ob_error *err);

/* When all is read: gives each -mon its -chardev. */
int group_join_monitors(struct args *args, struct ob_error *err);

#endif

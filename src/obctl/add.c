/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * obctl add: a device with its disk or chardev and its server, in one step. The steps are those of
 * the monitor: blockdev-add, chardev-add, device_add, object-add.
 *
 * What the words mean, the monitor says (query-short-form): it is what they mean on outboard's
 * command line, of the same version, and so is what it says where one of them is wrong.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "obctl/inventory.h"
#include "obctl/table.h"

struct add {
	struct qmp *qmp;
	const char *model, *monitor;  /* monitor: the path of its socket */
	struct json_object *commands; /* of query-short-form */
	struct json_object *server;   /* arguments of its object-add */
	size_t made;                  /* how many of them were carried out */
	struct ob_error *err;
};

static int no_memory(struct ob_error *err)
{
	return ob_error_set(err, -ENOMEM, "out of memory");
}

/* The first of MODEL0, MODEL1, ... that nothing has, as "id=MODEL0". */
static char *choose_id(struct add *add)
{
	cleanup_inventory struct inventory inventory = {0};
	char *word;

	if (inventory_fetch(&inventory, add->qmp, add->err))
		return NULL;
	for (unsigned number = 0;; number++) {
		if (asprintf(&word, "id=%.40s%u", add->model, number) < 0) {
			no_memory(add->err);
			return NULL;
		}
		if (!inventory_find(&inventory, word + strlen("id=")))
			return word;
		free(word);
	}
}

static const char *value_of(const char *word, const char *key)
{
	size_t length = strlen(key);

	return !strncmp(word, key, length) ? word + length : NULL;
}

/* Beside the monitor's socket: there the server may make one. */
static char *choose_socket(const char *monitor, const char *id)
{
	cleanup_free char *whole = realpath(monitor, NULL);
	char *word;

	if (!whole || asprintf(&word, "socket=%.*s/%s.sock", (int)(strrchr(whole, '/') - whole),
	                       whole, id) < 0)
		return NULL;
	return word;
}

/* The words as they are, with an id and a socket if they have none. NULL with a message. */
static struct json_object *list_words(struct add *add, const char *const *words)
{
	cleanup_json struct json_object *list = json_object_new_array();
	cleanup_free char *chosen = NULL;
	cleanup_free char *socket = NULL;
	const char *id = NULL;
	bool has_socket = false;

	for (unsigned i = 0; i < COMMAND_MAX_WORDS && words[i]; i++) {
		json_object_array_add(list, json_object_new_string(words[i]));
		if (!id && i)
			id = value_of(words[i], "id=");
		has_socket |= value_of(words[i], "socket=") || value_of(words[i], "path=") ||
		              value_of(words[i], "fd=");
	}
	if (!id) {
		chosen = choose_id(add);
		if (!chosen)
			return NULL;
		json_object_array_add(list, json_object_new_string(chosen));
		id = value_of(chosen, "id=");
	}
	if (!has_socket) {
		socket = choose_socket(add->monitor, id);
		if (!socket) {
			no_memory(add->err);
			return NULL;
		}
		json_object_array_add(list, json_object_new_string(socket));
	}
	return json_object_get(list);
}

/* The server has a working folder of its own, so it is told ours. */
static int ask_what_they_mean(struct add *add, const char *const *words)
{
	struct json_object *list = list_words(add, words), *arguments;
	cleanup_free char *folder = getcwd(NULL, 0);
	size_t count;
	int rc;

	if (!list)
		return -EINVAL;
	arguments = json_object_new_object();
	json_object_object_add(arguments, "words", list);
	if (folder)
		json_add_text(arguments, "folder", folder);
	rc = qmp_call(add->qmp, "query-short-form", arguments, &add->commands, add->err);
	if (rc)
		return rc;
	count = json_length(add->commands);
	add->server = json_member(json_at(add->commands, count ? count - 1 : 0), "arguments");
	if (!json_object_is_type(add->server, json_type_object))
		return ob_error_set(add->err, -EPROTO,
		                    "query-short-form: a list of commands "
		                    "expected");
	return 0;
}

static int carry_out(struct add *add)
{
	int rc = 0;

	while (add->made < json_length(add->commands)) {
		struct json_object *command = json_at(add->commands, add->made);

		rc = qmp_call(add->qmp, json_text(command, "execute"),
		              json_object_get(json_member(command, "arguments")), NULL, add->err);
		if (rc)
			return rc;
		add->made++;
	}
	return 0;
}

/* What was made before something failed. That it failed is what has to be said, not more. */
static void undo(struct add *add)
{
	while (add->made) {
		struct json_object *command = json_at(add->commands, --add->made);
		struct json_object *arguments = json_member(command, "arguments");
		const char *name = json_text(command, "execute");
		const char *id = json_text(arguments, "id");

		if (!strcmp(name, "blockdev-add"))
			qmp_call_with(add->qmp, "blockdev-del", "node-name",
			              json_text(arguments, "node-name"), NULL, NULL);
		else if (!strcmp(name, "chardev-add"))
			qmp_call_with(add->qmp, "chardev-remove", "id", id, NULL, NULL);
		else if (!strcmp(name, "device_add") &&
		         !qmp_call_with(add->qmp, "device_del", "id", id, NULL, NULL))
			qmp_wait_deleted(add->qmp, id, NULL);
	}
}

static void print_added_json(const struct add *add)
{
	cleanup_json struct json_object *added = json_object_new_object();

	json_add_text(added, "id", json_text(add->server, "device"));
	json_add_text(added, "server", json_text(add->server, "id"));
	json_add_text(added, "socket", json_text(add->server, "path"));
	print_json(added, false);
}

/* For a reset or an unmap to wait for slow storage, instead of QEMU's 5 s. */
enum { MSG_TIMEOUT_MS = 3600000 };

/* How to attach a guest, as outboard itself prints it. */
static void print_added(const struct add *add)
{
	cleanup_json struct json_object *device = json_object_new_object();
	struct json_object *socket = json_object_new_object();
	const char *path = json_text(add->server, "path");

	json_add_text(device, "driver", "vfio-user-pci");
	json_object_object_add(device, "socket", socket);
	json_add_text(socket, "type", "unix");
	json_add_text(socket, "path", path);
	json_object_object_add(device, "x-msg-timeout", json_object_new_int(MSG_TIMEOUT_MS));
	printf("%s (%s) is served at %s\n  QEMU: -device '", json_text(add->server, "device"),
	       add->model, path);
	print_plain(json_object_to_json_string_ext(device, JSON_C_TO_STRING_PLAIN |
	                                                           JSON_C_TO_STRING_NOSLASHESCAPE),
	            stdout);
	puts("'");
}

static int make(struct add *add, const char *const *words, const struct monitor_options *options)
{
	int rc = ask_what_they_mean(add, words);

	if (!rc)
		rc = carry_out(add);
	if (rc)
		undo(add);
	else if (options->json)
		print_added_json(add);
	else
		print_added(add);
	return rc;
}

static int run_add(const char *const *words, const void *options, struct ob_error *err)
{
	const struct monitor_options *monitor = options;
	cleanup_qmp struct qmp *qmp = NULL;
	struct add add = {.model = words[0], .monitor = monitor->socket, .err = err};
	int rc = monitor_connect(monitor, &qmp, err);

	add.qmp = qmp;
	if (!rc)
		rc = make(&add, words, monitor);
	json_object_put(add.commands);
	return rc;
}

static const struct ob_prop options_table[] = {MONITOR_OPTIONS, {0}};

const struct command command_add = {
	.name = "add",
	.words = "MODEL [FILE] [KEY=VALUE]...",
	.word_count = 1,
	.more_words = COMMAND_MAX_WORDS - 1,
	.summary = "Adds a device with its disk and its server",
	.details =
		"    obctl -s q.sock add nvme disk.img socket=/run/vm1.sock id=vm1 serial=abc\n"
		"    obctl -s q.sock add nvme size=1G\n"
		"    obctl -s q.sock add pci-serial chardev=pty\n"
		"Keys are those that 'outboard MODEL --help' shows. Without socket= it is ID.sock "
		"beside\nthe monitor's. When a part fails, the others are taken back.\n",
	.options = options_table,
	.options_size = sizeof(struct monitor_options),
	.monitor = true,
	.run = run_add,
};

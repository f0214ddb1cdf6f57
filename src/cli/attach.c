/* SPDX-License-Identifier: BSD-3-Clause */
/* Command lines of VMMs, quoted so that they can be pasted into a shell; see attach.h. */
#include "attach.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

/*
 * How long QEMU waits for an answer, in milliseconds. A reset or an unmap is answered when what is
 * in flight has ended, which takes as long as the storage does; by default QEMU gives the device up
 * after 5 s. A server that ends is noticed at once all the same.
 */
enum { MSG_TIMEOUT = 3600000 };

/* The argument of QEMU's -device: JSON, since its other form has no way to write a socket. */
static char *qemu_device(const char *path)
{
	struct json_object *device = json_object_new_object();
	struct json_object *socket = json_object_new_object();
	const char *made;
	char *text;

	json_object_object_add(device, "driver", json_object_new_string("vfio-user-pci"));
	json_object_object_add(socket, "type", json_object_new_string("unix"));
	json_object_object_add(socket, "path", json_object_new_string(path));
	json_object_object_add(device, "socket", socket);
	json_object_object_add(device, "x-msg-timeout", json_object_new_int(MSG_TIMEOUT));
	made = json_object_to_json_string_ext(device, JSON_C_TO_STRING_PLAIN |
	                                                      JSON_C_TO_STRING_NOSLASHESCAPE);
	text = made ? strdup(made) : NULL;
	json_object_put(device);
	return text;
}

/* As one word of a shell. */
static void print_quoted(const char *word, FILE *out)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "-_./=+:,@%";

	if (*word && strspn(word, plain) == strlen(word)) {
		fputs(word, out);
		return;
	}
	fputc('\'', out);
	for (; *word; word++)
		fputs(*word == '\'' ? "'\\''" : (char[]){*word, '\0'}, out);
	fputc('\'', out);
}

static int print_server(struct server *server, FILE *out)
{
	struct ob_dev *dev = server_device(server);
	const char *path = server_path(server);
	cleanup_free char *device = qemu_device(path);
	cleanup_free char *socket_arg = NULL;

	if (!device || asprintf(&socket_arg, "socket=%s", path) < 0) {
		socket_arg = NULL;
		return -ENOMEM;
	}
	if (!*path) {
		fprintf(out, "%s (%s) is served at an inherited socket without a path\n",
		        ob_dev_id(dev), device_model(dev)->name);
		return 0;
	}
	fprintf(out, "%s (%s) is served at %s\n", ob_dev_id(dev), device_model(dev)->name, path);
	fputs("  QEMU 10.1 or later:\n"
	      "    qemu-system-x86_64 -m 1G -object memory-backend-memfd,id=mem,size=1G,share=on"
	      " -machine q35,memory-backend=mem -device ",
	      out);
	print_quoted(device, out);
	fputs("\n  Cloud Hypervisor:\n"
	      "    cloud-hypervisor --memory size=1G,shared=on --user-device ",
	      out);
	print_quoted(socket_arg, out);
	fputc('\n', out);
	return 0;
}

int attach_print(const struct machine *machine, FILE *out)
{
	struct server *server;
	int rc = 0;

	for (unsigned i = 0; !rc && (server = machine_server_at(machine, i)); i++)
		rc = print_server(server, out);
	fflush(out);
	return rc;
}

static int set_variable(const char *name, unsigned number, const char *value)
{
	char numbered[64];

	snprintf(numbered, sizeof(numbered), "%s%u", name, number);
	if (setenv(numbered, value, 1) || (number == 1 && setenv(name, value, 1)))
		return -ENOMEM;
	return 0;
}

int attach_set_environment(const struct machine *machine)
{
	struct server *server;
	int rc = 0;

	for (unsigned i = 0; !rc && (server = machine_server_at(machine, i)); i++) {
		cleanup_free char *device = qemu_device(server_path(server));

		rc = set_variable("socket", i + 1, server_path(server));
		if (!rc)
			rc = device ? set_variable("qemu_device", i + 1, device) : -ENOMEM;
	}
	return rc;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* --help and --list; see help.h. */
#include "help.h"

#include <json-c/json.h>

#include "base/props.h"
#include "block/block.h"
#include "chardev/chardev.h"
#include "options.h"
#include "server/server.h"
#include "short_form.h"

void help_print(FILE *out)
{
	fputs("Usage: outboard MODEL [FILE...] [key=value...] [-- MODEL ...] [OPTION...]\n"
	      "       outboard -blockdev ... -device ... -object ... [OPTION...]\n"
	      "       outboard -c FILE [OPTION...]\n"
	      "       outboard MODEL --help\n"
	      "       outboard --list\n"
	      "\n"
	      "Serves emulated PCI devices to virtual machines over vfio-user.\n"
	      "\n"
	      "  outboard nvme disk.img                    an NVMe disk, its image in a file\n"
	      "  outboard nvme size=1G socket=vm1.sock     one held in memory, at a socket of your "
	      "choice\n"
	      "  outboard nvme a.img -- nvme b.img         two devices\n"
	      "\n"
	      "Options may have one dash or two, and their argument behind '=' or as the next "
	      "word:\n",
	      out);
	options_print(out);
}

void help_print_machine(FILE *out)
{
	fputs("-machine x-remote: behaves as QEMU's machine of that name does.\n"
	      "  vfio-user=on            there is no other protocol\n"
	      "  auto-shutdown=on|off    end when the last client has gone; on with x-remote, off "
	      "without\n"
	      "  devices have the PCI identities of QEMU's: nvme is 1b36:0010\n",
	      out);
}

void help_print_trace(FILE *out)
{
	fputs("-trace PATTERN, or enable=PATTERN: logs more about the objects whose ids match, as "
	      "a "
	      "shell matches\nfile names. It may be given several times. Objects are devices, "
	      "block "
	      "nodes and servers:\n"
	      "  -trace d0               what device d0 does\n"
	      "  -trace d0/register      just the registers that it reads and writes, by their "
	      "names\n"
	      "  -trace '*/command'      the commands that devices carry out (nvme)\n"
	      "  -trace 's*'             clients of all servers whose ids begin with s\n"
	      "  -trace '*'              everything, as --verbose\n",
	      out);
}

static void print_chardev_help(const struct ob_prop *prop, FILE *out)
{
	fprintf(out,
	        "\nThe short form makes a chardev by %s=null, stdio, pty[:LINK], file:PATH, fd:N,\n"
	        "unix:PATH[,key=value...] or tcp:HOST:PORT[,key=value...]; anything else is the id "
	        "of "
	        "a -chardev.\n",
	        prop->name);
	for (const struct chardev_driver *const *driver = chardev_drivers(); *driver; driver++) {
		fprintf(out, "\nchardev %s: %s\n", (*driver)->name, (*driver)->summary);
		props_print((*driver)->props, out);
	}
}

void help_print_model(const struct ob_model *model, FILE *out)
{
	const struct ob_prop *drive = short_form_drive(model);

	fprintf(out, "Usage: outboard %s %s[key=value...]\n\n", model->name,
	        drive ? "[FILE...] " : "");
	device_print_help(model, out);
	if (drive) {
		fprintf(out, "\nWith files, each is a disk of its own. Without, size=SIZE alone "
		             "makes one in "
		             "memory, and\nbackend=DRIVER or DRIVER=on chooses another backend. "
		             "ro=on is "
		             "short for read-only=on.\n");
		for (const struct block_driver *const *driver = block_drivers(); *driver;
		     driver++) {
			if ((*driver)->filter)
				continue;
			fprintf(out, "\nbackend %s: %s\n", (*driver)->name, (*driver)->summary);
			props_print((*driver)->props, out);
		}
		fputs("\nwith any backend:\n", out);
		props_print(block_node_props, out);
	}
	if (short_form_chardev(model))
		print_chardev_help(short_form_chardev(model), out);
	fputs("\nsocket:\n", out);
	props_print(server_props, out);
}

void help_print_list(FILE *out)
{
	fputs("Device models:\n", out);
	for (const struct ob_model *const *model = device_models(); *model; model++)
		fprintf(out, "  %-12s %s\n", (*model)->name, (*model)->summary);
	fputs("Block drivers:\n", out);
	for (const struct block_driver *const *driver = block_drivers(); *driver; driver++)
		fprintf(out, "  %-12s %s\n", (*driver)->name, (*driver)->summary);
	fputs("Chardevs:\n", out);
	for (const struct chardev_driver *const *at = chardev_drivers(); *at; at++)
		fprintf(out, "  %-12s %s\n", (*at)->name, (*at)->summary);
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static struct json_object *choices_of(const struct ob_prop *prop)
{
	struct json_object *list = json_object_new_array();

	for (const char *const *choice = prop->choices; *choice; choice++)
		json_object_array_add(list, json_object_new_string(*choice));
	return list;
}

static struct json_object *json_prop(const struct ob_prop *prop)
{
	static const char *const types[] = {
		[OB_PROP_BOOL] = "bool",       [OB_PROP_UINT32] = "number",
		[OB_PROP_SIZE] = "size",       [OB_PROP_STRING] = "string",
		[OB_PROP_ENUM] = "enum",       [OB_PROP_BLOCKS] = "block-nodes",
		[OB_PROP_CHARDEV] = "chardev",
	};
	struct json_object *object = json_object_new_object();

	add_text(object, "name", prop->name);
	add_text(object, "type", types[prop->type]);
	if (prop->preset)
		add_text(object, "default", prop->preset);
	if (prop->min || prop->max) {
		json_object_object_add(object, "min", json_object_new_uint64(prop->min));
		json_object_object_add(object, "max", json_object_new_uint64(prop->max));
	}
	if (prop->type == OB_PROP_ENUM)
		json_object_object_add(object, "choices", choices_of(prop));
	add_text(object, "help", prop->help);
	return object;
}

static struct json_object *json_entry(const char *name, const char *summary,
                                      const struct ob_prop *props, bool filter)
{
	struct json_object *object = json_object_new_object();
	struct json_object *list = json_object_new_array();

	add_text(object, "name", name);
	if (filter)
		json_object_object_add(object, "filter", json_object_new_boolean(true));
	add_text(object, "summary", summary);
	for (const struct ob_prop *prop = props; prop && prop->name; prop++)
		json_object_array_add(list, json_prop(prop));
	json_object_object_add(object, "properties", list);
	return object;
}

static struct json_object *add_list(struct json_object *all, const char *key)
{
	struct json_object *list = json_object_new_array();

	json_object_object_add(all, key, list);
	return list;
}

void help_print_list_json(FILE *out)
{
	const struct ob_model *const *models = device_models();
	const struct block_driver *const *drivers = block_drivers();
	struct json_object *all = json_object_new_object();
	struct json_object *list = add_list(all, "models");

	for (unsigned i = 0; models[i]; i++)
		json_object_array_add(list, json_entry(models[i]->name, models[i]->summary,
		                                       models[i]->props, false));
	list = add_list(all, "parts");
	for (unsigned i = 0; models[i]; i++) {
		const struct ob_part *part = models[i]->part;

		if (part)
			json_object_array_add(
				list, json_entry(part->name, part->summary, part->props, false));
	}
	list = add_list(all, "devices");
	json_object_array_add(list, json_entry("device", "what devices of every model have",
	                                       device_common_props, false));
	list = add_list(all, "block-drivers");
	for (unsigned i = 0; drivers[i]; i++)
		json_object_array_add(list, json_entry(drivers[i]->name, drivers[i]->summary,
		                                       drivers[i]->props, drivers[i]->filter));
	list = add_list(all, "chardevs");
	for (const struct chardev_driver *const *at = chardev_drivers(); *at; at++)
		json_object_array_add(list,
		                      json_entry((*at)->name, (*at)->summary, (*at)->props, false));
	list = add_list(all, "objects");
	json_object_array_add(list, json_entry("x-vfio-user-server", "serves a device at a socket",
	                                       server_props, false));
	list = add_list(all, "block-nodes");
	json_object_array_add(list, json_entry("block-node", "what nodes of every driver have",
	                                       block_node_props, false));
	fprintf(out, "%s\n",
	        json_object_to_json_string_ext(all, JSON_C_TO_STRING_PRETTY |
	                                                    JSON_C_TO_STRING_SPACED |
	                                                    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(all);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* --help and --list; see help.h. */
#include "help.h"

#include <inttypes.h>

#include "base/props.h"
#include "block/block.h"
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
	      "without\n",
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
	      "  -trace 's*'             clients of all servers whose ids begin with s\n"
	      "  -trace '*'              everything, as --verbose\n",
	      out);
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
}

static void json_string(const char *text, FILE *out)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			fprintf(out, "\\u%04x", (unsigned char)*text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

static void json_member(const char *key, const char *value, FILE *out)
{
	fprintf(out, "\"%s\": ", key);
	json_string(value, out);
}

static void json_choices(const struct ob_prop *prop, FILE *out)
{
	fputs(", \"choices\": [", out);
	for (const char *const *choice = prop->choices; *choice; choice++) {
		fputs(choice == prop->choices ? "" : ", ", out);
		json_string(*choice, out);
	}
	fputc(']', out);
}

static void json_prop(const struct ob_prop *prop, FILE *out)
{
	static const char *const types[] = {
		[OB_PROP_BOOL] = "bool", [OB_PROP_UINT32] = "number",
		[OB_PROP_SIZE] = "size", [OB_PROP_STRING] = "string",
		[OB_PROP_ENUM] = "enum", [OB_PROP_BLOCKS] = "block-nodes",
	};

	fputs("\n      {", out);
	json_member("name", prop->name, out);
	fputs(", ", out);
	json_member("type", types[prop->type], out);
	if (prop->preset) {
		fputs(", ", out);
		json_member("default", prop->preset, out);
	}
	if (prop->min || prop->max)
		fprintf(out, ", \"min\": %" PRIu64 ", \"max\": %" PRIu64, prop->min, prop->max);
	if (prop->type == OB_PROP_ENUM)
		json_choices(prop, out);
	fputs(", ", out);
	json_member("help", prop->help, out);
	fputc('}', out);
}

static void json_props(const struct ob_prop *table, FILE *out)
{
	fputs("\"properties\": [", out);
	for (const struct ob_prop *prop = table; prop && prop->name; prop++) {
		fputs(prop == table ? "" : ",", out);
		json_prop(prop, out);
	}
	fputs("]", out);
}

static void json_entry(const char *name, const char *summary, const struct ob_prop *props,
                       bool filter, FILE *out)
{
	fputs("    {", out);
	json_member("name", name, out);
	if (filter)
		fputs(", \"filter\": true", out);
	fputs(", ", out);
	json_member("summary", summary, out);
	fputs(", ", out);
	json_props(props, out);
	fputs("}", out);
}

void help_print_list_json(FILE *out)
{
	const struct ob_model *const *models = device_models();
	const struct block_driver *const *drivers = block_drivers();

	fputs("{\n  \"models\": [\n", out);
	for (unsigned i = 0; models[i]; i++) {
		fputs(i ? ",\n" : "", out);
		json_entry(models[i]->name, models[i]->summary, models[i]->props, false, out);
	}
	fputs("],\n  \"block-drivers\": [\n", out);
	for (unsigned i = 0; drivers[i]; i++) {
		fputs(i ? ",\n" : "", out);
		json_entry(drivers[i]->name, drivers[i]->summary, drivers[i]->props,
		           drivers[i]->filter, out);
	}
	fputs("],\n  \"objects\": [\n", out);
	json_entry("x-vfio-user-server", "serves a device at a socket", server_props, false, out);
	fputs("],\n  \"block-nodes\": [\n", out);
	json_entry("block-node", "what nodes of every driver have", block_node_props, false, out);
	fputs("]\n}\n", out);
}

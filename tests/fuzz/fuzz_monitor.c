/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes a monitor as its client: bytes of a stream, which the framer cuts, and commands on a
 * machine with a disk and two devices. What is checked: every value and every error is answered by
 * one reply, replies are JSON of one line in ASCII, an id comes back, the framer's memory has its
 * bound, and the machine can be stopped afterwards.
 *
 * An input is the stream, as it comes. Commands that would make files, sockets or use descriptors
 * of this process are left out.
 */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "input.h"
#include "monitor/internal.h"

enum { MAX_INPUT = 1 << 16, MAX_COMMANDS = 256, MAX_TURNS = 4096 };

struct world {
	struct log log;
	struct ob_loop *loop;
	struct monitors monitors;
	struct monitor monitor;
	bool stopped;
};

static void on_listener(struct machine_listener *listener, const struct machine_event *event)
{
	must(event->kind <= MACHINE_SHUTDOWN);
}

static void on_stopped(void *context)
{
	((struct world *)context)->stopped = true;
}

/* Whether text, as it is or within a path or list of options, is about the world outside. */
static bool is_outside(const char *text)
{
	static const char *const words[] = {"file", "path", "fd", "socket", "unix", "tcp"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strcasestr(text, words[i]))
			return true;
	}
	return false;
}

static bool leads_outside(struct json_object *value)
{
	if (json_object_is_type(value, json_type_object)) {
		json_object_object_foreach(value, key, member)
		{
			if (is_outside(key) || leads_outside(member))
				return true;
		}
	}
	if (json_object_is_type(value, json_type_array)) {
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			if (leads_outside(json_object_array_get_idx(value, i)))
				return true;
		}
	}
	return json_object_is_type(value, json_type_string) &&
	       is_outside(json_object_get_string(value));
}

static bool is_harmless(struct json_object *request)
{
	static const char *const makers[] = {"device_add",   "object-add",
	                                     "blockdev-add", "human-monitor-command",
	                                     "migrate",      "migrate-incoming"};
	struct json_object *args = json_object_object_get(request, "arguments");
	const char *name = get_str(request, "execute");

	for (size_t i = 0; name && i < ARRAY_SIZE(makers); i++) {
		if (!strcmp(name, makers[i]))
			return !leads_outside(args);
	}
	return !name || strcmp(name, "qom-set") != 0 ||
	       (!leads_outside(json_object_object_get(args, "value")) &&
	        !leads_outside(json_object_object_get(args, "property")));
}

/* A reply is one line of ASCII, which a framer takes for one value. */
static void check_reply(struct json_object *reply, struct json_object *request)
{
	cleanup_text struct text text = {0};
	struct framer framer;
	struct json_object *id, *back;
	size_t used;

	must(!json_object_object_get(reply, "return") != !json_object_object_get(reply, "error"));
	must(json_object_object_get_ex(request, "id", &id) ==
	     json_object_object_get_ex(reply, "id", &back));
	text_add_json(&text, reply, false);
	must(!text.failed && text.length);
	for (size_t i = 0; i < text.length; i++)
		must(text.bytes[i] >= ' ' && text.bytes[i] < 0x7f);
	framer_init(&framer);
	switch (framer_feed(&framer, text.bytes, text.length, &used)) {
	case FRAMER_VALUE:
		must(used == text.length);
		back = framer_parse(&framer);
		must(back);
		json_object_put(back);
		break;
	case FRAMER_ERROR:
		must(strstr(framer.error, "limit"));
		break;
	case FRAMER_MORE:
		must(false);
	}
	framer_free(&framer);
}

static void turns(struct world *world)
{
	for (int i = 0; i < 4; i++)
		must(!loop_turn(world->loop, 0));
}

static void run_request(struct world *world, struct json_object *request)
{
	struct json_object *reply = qmp_dispatch(&world->monitor, request);

	if (!reply) {
		must(world->monitor.busy);
		for (int i = 0; world->monitor.busy && i < MAX_TURNS; i++)
			must(!loop_turn(world->loop, 0));
		must(!world->monitor.busy);
	} else {
		must(!world->monitor.busy);
		check_reply(reply, request);
		json_object_put(reply);
	}
	turns(world);
}

static void on_waited(struct machine_waiter *waiter)
{
	struct monitor *monitor = container_of(waiter, struct monitor, waiter);

	json_object_put(qmp_finish(monitor));
}

static void run_stream(struct world *world, const char *bytes, size_t length)
{
	struct framer *framer = &world->monitor.framer;
	struct json_object *request;
	unsigned commands = 0;
	size_t used;

	for (size_t at = 0; at < length && commands < MAX_COMMANDS; at += used) {
		switch (framer_feed(framer, bytes + at, length - at, &used)) {
		case FRAMER_VALUE:
			must(strlen(framer->text) == framer->length);
			request = framer->text[0] == '{' ? framer_parse(framer) : NULL;
			if (request && is_harmless(request))
				run_request(world, request);
			commands += request != NULL;
			json_object_put(request);
			break;
		case FRAMER_ERROR:
			must(framer->error[0]);
			break;
		case FRAMER_MORE:
			must(at + used == length);
		}
		must(framer->capacity <= 2 * FRAMER_MAX_TEXT && framer->depth <= FRAMER_MAX_DEPTH);
	}
}

static void make(struct world *world, const char *text,
                 int (*add)(struct machine *machine, struct opts *opts, struct ob_error *err))
{
	cleanup_opts struct opts opts = {0};

	must(!opts_parse(&opts, text, "driver", NULL));
	must(!add(world->monitors.env.machine, &opts, NULL));
}

static void begin(struct world *world)
{
	struct machine *machine;

	world->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	world->loop = loop_new();
	machine = machine_new(world->loop, &world->log);
	must(machine);
	world->monitors.env = (struct monitors_env){
		.loop = world->loop,
		.log = &world->log,
		.machine = machine,
		.moves = moves_new(world->loop, &world->log, machine),
	};
	must(world->monitors.env.moves);
	list_init(&world->monitors.ports);
	world->monitors.listener.event = on_listener;
	machine_listen(machine, &world->monitors.listener);
	world->monitor.set = &world->monitors;
	world->monitor.negotiated = true;
	world->monitor.waiter.done = on_waited;
	framer_init(&world->monitor.framer);
	make(world, "mem,node-name=b0,size=1M", machine_add_block);
	make(world, "nvme,id=d0,drive=b0", machine_add_device);
	make(world, "edu,id=d1", machine_add_device);
}

static void end(struct world *world)
{
	struct machine *machine = world->monitors.env.machine;

	framer_free(&world->monitor.framer);
	machine_unlisten(&world->monitors.listener);
	machine_stop(machine, on_stopped, world);
	for (int i = 0; !world->stopped && i < MAX_TURNS; i++)
		must(!loop_turn(world->loop, 0));
	must(world->stopped);
	moves_free(world->monitors.env.moves);
	machine_free(machine);
	loop_free(world->loop);
	close(world->log.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world world = {0};

	if (size > MAX_INPUT)
		return 0;
	begin(&world);
	run_stream(&world, (const char *)data, size);
	end(&world);
	return 0;
}

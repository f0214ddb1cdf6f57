/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes the other process of a migration: frames that come to a machine whose devices wait, or to
 * one whose devices go. What is checked: it ends when the other side has gone, with a reason unless
 * it went well; devices that wait stay stopped unless they were told to go, devices that go run
 * again; and the machine can be stopped afterwards.
 *
 * An input: which side is ours (a byte), then frames: kind (a byte), length (2 bytes), what is in
 * it.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "input.h"
#include "move/internal.h"
#include "outboard/endian.h"

enum { MAX_INPUT = 1 << 16, MAX_FRAMES = 256, MAX_TURNS = 10000 };

struct world {
	struct log log;
	struct ob_loop *loop;
	struct machine *machine;
	struct moves *moves;
	int other;
	bool stopped;
};

static void on_stopped(void *context)
{
	((struct world *)context)->stopped = true;
}

static enum move_status status(const struct world *world)
{
	struct move_info info;

	moves_info(world->moves, &info);
	must(!info.error[0] == (info.status != MOVE_FAILED && info.status != MOVE_CANCELLED));
	return info.status;
}

static enum migrate_state state(const struct world *world)
{
	struct ob_dev *dev = machine_find_device(world->machine, "d0");

	must(dev);
	return migrate_state(migrate_of(dev));
}

static void begin(struct world *world, bool incoming)
{
	struct opts opts = {0};
	char uri[32];
	int ends[2];

	world->log.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	world->loop = loop_new();
	world->machine = machine_new(world->loop, &world->log);
	world->moves = moves_new(world->loop, &world->log, world->machine);
	must(world->machine && world->moves);
	must(!opts_parse(&opts, "edu,id=d0", "driver", NULL));
	must(!machine_add_device(world->machine, &opts, NULL));
	opts_free(&opts);
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
	world->other = ends[1];
	snprintf(uri, sizeof(uri), "fd:%d", ends[0]);
	if (incoming)
		must(!moves_hold(world->moves, NULL) && !moves_accept(world->moves, uri, NULL));
	else
		must(!moves_begin(world->moves, uri, NULL));
}

static void turns(struct world *world)
{
	static uint8_t drop[FRAME_HEADER + FRAME_MAX];

	for (int i = 0; i < 4; i++)
		must(!loop_turn(world->loop, 0));
	while (recv(world->other, drop, sizeof(drop), 0) > 0)
		;
}

static void send_frame(struct world *world, struct input *in)
{
	static uint8_t frame[FRAME_HEADER + 65536];
	uint32_t kind = (uint32_t)input_number(in, 1), length = (uint32_t)input_number(in, 2);

	ob_put_le32(frame, kind);
	ob_put_le32(frame + 4, length);
	input_copy(in, frame + FRAME_HEADER, length);
	if (send(world->other, frame, FRAME_HEADER + length, MSG_NOSIGNAL) < 0)
		in->left = 0;
	turns(world);
}

static void end(struct world *world)
{
	machine_stop(world->machine, on_stopped, world);
	for (int i = 0; !world->stopped && i < MAX_TURNS; i++)
		must(!loop_turn(world->loop, 0));
	must(world->stopped);
	moves_free(world->moves);
	machine_free(world->machine);
	loop_free(world->loop);
	close(world->log.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct world world = {0};
	bool incoming;

	if (!size || size > MAX_INPUT)
		return 0;
	incoming = input_number(&in, 1) & 1;
	begin(&world, incoming);
	for (int i = 0; in.left && i < MAX_FRAMES; i++)
		send_frame(&world, &in);
	close(world.other);
	for (int i = 0; status(&world) < MOVE_CANCELLED && i < MAX_TURNS; i++)
		must(!loop_turn(world.loop, 1));
	must(status(&world) == MOVE_FAILED || status(&world) == MOVE_COMPLETED);
	must(state(&world) ==
	     (incoming == (status(&world) == MOVE_COMPLETED) ? MIGRATE_RUNNING : MIGRATE_STOP));
	end(&world);
	return 0;
}

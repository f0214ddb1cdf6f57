/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes a whole session: negotiation, every command, interrupts, DMA by message, disconnects, with
 * an edu or an nvme behind it. There is no socket: the session's link is played here, as strictly
 * as transport is, and what the session sends is checked against the protocol.
 *
 * An input: two bytes (enum setup), then actions until it ends. An action is a byte (enum action in
 * its lower half) and what its function below takes.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/list.h"
#include "player.h"
#include "session/session.h"
#include "stage.h"
#include "wire/wire.h"

enum setup {
	/* First byte. */
	SETUP_NVME = 1 << 0,       /* else edu */
	SETUP_NEGOTIATED = 1 << 1, /* VERSION has been said */
	SETUP_MAPPED = 1 << 2,     /* guest memory is mapped */
	SETUP_SHARED = 1 << 3,     /* by descriptor */
	SETUP_ENABLED = 1 << 4,    /* the controller, with queues */
	SETUP_TWIN = 1 << 5,       /* proposed */
	SETUP_SMALL = 1 << 6,      /* small limits */
	SETUP_ANSWER = 1 << 7,     /* requests of the device are answered by themselves */
	/* Second byte. */
	SETUP_IOEVENTFDS = 1 << 0,
	SETUP_MEM = 1 << 1,    /* the drive is of the driver mem */
	SETUP_BLOCKS = 1 << 2, /* of 4096 bytes, two namespaces */
	SETUP_NO_TWIN = 1 << 3,
	SETUP_DRIVE = 4, /* mode of the drive: from this bit on */
};

enum action {
	ACTION_MESSAGE,
	ACTION_TURNS,
	ACTION_ANSWER,
	ACTION_MEMORY,
	ACTION_CUT,
	ACTION_DRIVE,
	ACTION_RECONNECT,
	ACTION_WRITE,
	ACTION_COMMAND,
	ACTION_ENABLE,
	ACTION_TWIN,
	ACTION_LINK_OVER,
	ACTION_RING,
	ACTION_KINDS = 15,
};

enum {
	MAX_MESSAGE = 1 << 17,
	MAX_ASKED = 64, /* requests that a session has under way */
	BELLS = 4,      /* eventfds of doorbells that the client keeps */
	MAX_ACTIONS = 2048,
	TURNS = 3,
};

struct asked {
	struct wire_header header;
	struct wire_dma_access access;
};

struct rig {
	struct stage stage;
	struct player player;
	struct session *session;
	struct session_link link, twin;
	struct session_limits limits;
	uint8_t *reserved;
	size_t reserved_size;
	bool has_twin, paused, closed, ended, over, answering;
	struct wire_header pending; /* a command without its reply */
	bool is_pending;
	struct asked asked[MAX_ASKED];
	unsigned asked_count;
	int bells[BELLS];
	unsigned bell_count;
};

/* The link */

static uint8_t *reserve(struct session_link *link, size_t size)
{
	struct rig *rig = container_of(link, struct rig, link);

	must(size >= sizeof(struct wire_header) &&
	     size <= session_max_message(&rig->limits) + sizeof(struct wire_header));
	if (rig->over || rig->closed)
		return NULL;
	free(rig->reserved);
	rig->reserved = malloc(size);
	rig->reserved_size = size;
	return rig->reserved;
}

static void take_reply(struct rig *rig, const struct wire_header *header)
{
	must(rig->is_pending && header->id == rig->pending.id &&
	     header->command == rig->pending.command);
	must(!(header->flags & WIRE_ERROR) || (header->error && header->size == sizeof(*header)));
	rig->is_pending = false;
}

static void take_request(struct rig *rig, const struct wire_header *header, const uint8_t *payload)
{
	struct asked *asked = &rig->asked[rig->asked_count];
	bool write = header->command == WIRE_DMA_WRITE;

	must(rig->asked_count < MAX_ASKED);
	must(write || header->command == WIRE_DMA_READ);
	asked->header = *header;
	memcpy(&asked->access, payload, sizeof(asked->access));
	must(asked->access.count && asked->access.count <= rig->limits.max_data_xfer_size);
	must(header->size ==
	     sizeof(*header) + sizeof(asked->access) + (write ? asked->access.count : 0));
	if (write)
		stage_poke(&rig->stage, asked->access.address, payload + sizeof(asked->access),
		           asked->access.count);
	rig->asked_count++;
}

static void send_out(struct rig *rig, size_t size, unsigned fd_count, bool twin)
{
	struct wire_header header;

	must(rig->reserved && size <= rig->reserved_size);
	memcpy(&header, rig->reserved, sizeof(header));
	must(header.size == size);
	if ((header.flags & WIRE_TYPE_MASK) == WIRE_TYPE_REPLY) {
		must(!twin);
		take_reply(rig, &header);
	} else {
		must(twin == rig->has_twin && !fd_count);
		take_request(rig, &header, rig->reserved + sizeof(header));
	}
	free(rig->reserved);
	rig->reserved = NULL;
}

static void commit(struct session_link *link, size_t size, const int *fds, unsigned fd_count)
{
	struct rig *rig = container_of(link, struct rig, link);
	struct wire_header header;

	memcpy(&header, rig->reserved, sizeof(header));
	for (unsigned i = 0; i < fd_count; i++) {
		int fd = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		must(fd >= 0);
		if (header.command == WIRE_GET_REGION_IO_FDS && rig->bell_count < BELLS)
			rig->bells[rig->bell_count++] = fd;
		else
			close(fd);
	}
	send_out(rig, size, fd_count, false);
}

static uint8_t *twin_reserve(struct session_link *link, size_t size)
{
	return reserve(&container_of(link, struct rig, twin)->link, size);
}

static void twin_commit(struct session_link *link, size_t size, const int *fds, unsigned fd_count)
{
	send_out(container_of(link, struct rig, twin), size, fd_count, true);
}

static void pause_link(struct session_link *link, bool paused)
{
	struct rig *rig = container_of(link, struct rig, link);

	must(rig->paused != paused);
	rig->paused = paused;
}

static void close_link(struct session_link *link, int reason)
{
	struct rig *rig = container_of(link, struct rig, link);

	must(reason < 0);
	rig->closed = true;
}

static int make_twin(struct session_link *link, struct session_link **twin)
{
	struct rig *rig = container_of(link, struct rig, link);

	must(!rig->has_twin);
	rig->has_twin = true;
	*twin = &rig->twin;
	return stage_dup(&rig->stage, STAGE_FD_NULL);
}

static void ended(void *context)
{
	struct rig *rig = context;

	rig->ended = true;
}

/* What the client does */

static void connect_client(struct rig *rig)
{
	rig->link = (struct session_link){reserve, commit, pause_link, close_link, make_twin};
	rig->twin = (struct session_link){.reserve = twin_reserve, .commit = twin_commit};
	rig->has_twin = rig->paused = rig->closed = rig->ended = rig->over = false;
	rig->is_pending = false;
	rig->asked_count = 0;
	rig->session = session_new(rig->stage.dev, &rig->limits, &rig->link, &rig->stage.log);
	must(rig->session);
}

/* The session ends whatever it waits for, as soon as the drive ends what it has. */
static void disconnect(struct rig *rig, unsigned turns)
{
	session_end(rig->session, ended, rig);
	stage_turns(&rig->stage, rig->ended ? 0 : turns);
	stage_until(&rig->stage, &rig->ended);
	session_free(rig->session);
	rig->session = NULL;
	must(!dma_map_count(device_dma(rig->stage.dev)));
}

static void reconnect(struct rig *rig, unsigned turns)
{
	disconnect(rig, turns);
	connect_client(rig);
}

/*
 * Waits until the session takes a message. It must come to that without the client's help: there
 * are no deadlocks.
 */
static void until_ready(struct rig *rig)
{
	for (unsigned i = 0; rig->paused && !rig->closed && i < STAGE_SETTLE; i++) {
		if (i == TURNS && rig->stage.drive.mode == DRIVE_HOLD)
			stage_drive_mode(&rig->stage, DRIVE_NOW);
		stage_turn(&rig->stage);
	}
	must(!rig->paused || rig->closed);
	if (rig->closed)
		reconnect(rig, 0);
	/* Whoever was not paused has replied. */
	must(!rig->is_pending || rig->over);
}

static void send_message(struct rig *rig, const struct wire_header *header, const void *payload,
                         const uint8_t *kinds, unsigned fd_count)
{
	int fds[32];
	uint8_t *message;

	until_ready(rig);
	message = malloc(header->size);
	memcpy(message, header, sizeof(*header));
	if (header->size > sizeof(*header))
		memcpy(message + sizeof(*header), payload, header->size - sizeof(*header));
	for (unsigned i = 0; i < fd_count; i++)
		fds[i] = stage_dup(&rig->stage, kinds[i] % STAGE_FDS);
	if ((header->flags & WIRE_TYPE_MASK) == WIRE_TYPE_COMMAND) {
		rig->pending = *header;
		rig->is_pending = !(header->flags & WIRE_NO_REPLY);
	}
	session_message(rig->session, message, header->size, fds, fd_count);
	free(message);
	for (unsigned i = 0; i < fd_count; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	if (rig->closed)
		reconnect(rig, 0);
}

/* A command of our own making. */
static void call(struct rig *rig, uint16_t command, const void *payload, size_t length,
                 const uint8_t *kinds, unsigned fd_count)
{
	const struct wire_header header = {
		.id = 0x7700, .command = command, .size = (uint32_t)(sizeof(header) + length)};

	send_message(rig, &header, payload, kinds, fd_count);
}

static void write_region(struct rig *rig, uint32_t region, uint64_t offset, const void *data,
                         uint32_t length)
{
	struct wire_region_access access = {.offset = offset, .region = region, .count = length};
	uint8_t payload[sizeof(access) + 16];

	must(length <= 16);
	memcpy(payload, &access, sizeof(access));
	memcpy(payload + sizeof(access), data, length);
	call(rig, WIRE_REGION_WRITE, payload, sizeof(access) + length, NULL, 0);
}

/* Answers to requests of the device */

enum answer { ANSWER_WELL, ANSWER_ERROR, ANSWER_SHORT, ANSWER_LONG, ANSWER_ELSEWHERE, ANSWER_ODD };

static uint32_t make_answer(struct rig *rig, struct asked *asked, enum answer how, uint8_t *message)
{
	struct wire_dma_access *access = &asked->access;
	struct wire_header header = {
		.id = asked->header.id, .command = asked->header.command, .flags = WIRE_TYPE_REPLY};
	uint64_t bytes = header.command == WIRE_DMA_READ ? access->count : 0;

	stage_peek(&rig->stage, access->address, message + sizeof(header) + sizeof(*access), bytes);
	header.size = (uint32_t)(sizeof(header) + sizeof(*access) + bytes);
	if (how == ANSWER_SHORT) {
		access->count /= 2;
		header.size -= (uint32_t)(bytes - (bytes ? access->count : 0));
	}
	access->count += how == ANSWER_LONG;
	access->address += how == ANSWER_ELSEWHERE;
	header.id ^= how == ANSWER_ODD;
	if (how == ANSWER_ERROR) {
		header.size = sizeof(header);
		header.flags |= WIRE_ERROR;
		header.error = EFAULT;
	}
	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), access, sizeof(*access));
	return header.size;
}

/* Not while the main socket is paused, if that is where the answer goes. */
static void answer(struct rig *rig, unsigned index, enum answer how)
{
	struct asked asked;
	uint8_t *message;
	uint32_t size;

	if (!rig->asked_count || rig->closed || rig->ended || (rig->paused && !rig->has_twin))
		return;
	index %= rig->asked_count;
	asked = rig->asked[index];
	memmove(&rig->asked[index], &rig->asked[index + 1],
	        (--rig->asked_count - index) * sizeof(asked));
	message = malloc(sizeof(struct wire_header) + sizeof(asked.access) + asked.access.count);
	size = make_answer(rig, &asked, how, message);
	if (rig->has_twin)
		session_twin_message(rig->session, message, size);
	else
		session_message(rig->session, message, size, NULL, 0);
	free(message);
}

static void turns(struct rig *rig, unsigned count)
{
	while (count--) {
		stage_turn(&rig->stage);
		for (unsigned i = rig->asked_count; rig->answering && i--;)
			answer(rig, 0, ANSWER_WELL);
	}
	if (rig->closed)
		reconnect(rig, 0);
}

/* The NVMe driver's ways */

static void player_write(struct player *player, uint64_t offset, uint64_t value, unsigned size)
{
	write_region(container_of(player, struct rig, player), 0, offset, &value, size);
}

static void player_peek(struct player *player, uint64_t address, void *bytes, size_t length)
{
	stage_peek(&container_of(player, struct rig, player)->stage, address, bytes, length);
}

static void player_poke(struct player *player, uint64_t address, const void *bytes, size_t length)
{
	stage_poke(&container_of(player, struct rig, player)->stage, address, bytes, length);
}

static void player_turn(struct player *player)
{
	turns(container_of(player, struct rig, player), TURNS);
}

/* Actions */

static void take_header(struct wire_header *header, struct input *in)
{
	header->command = input_u8(in);
	header->flags = input_u8(in);
	header->id = input_u16(in);
}

/* Command, flags, id (2 bytes), number of descriptors and their kinds, length (2), payload. */
static void act_message(struct rig *rig, struct input *in)
{
	struct wire_header header = {0};
	uint8_t kinds[32];
	unsigned fd_count;
	const uint8_t *payload;
	size_t length;

	take_header(&header, in);
	fd_count = input_u8(in) % sizeof(kinds);
	input_copy(in, kinds, fd_count);
	payload = input_bytes(in, input_u16(in), &length);
	header.size = (uint32_t)(sizeof(header) + length);
	send_message(rig, &header, payload, kinds, fd_count);
}

static void act_answer(struct rig *rig, struct input *in)
{
	uint8_t how = input_u8(in);

	if (how & 0x80)
		rig->answering = how & 1;
	else
		answer(rig, how >> 3, how & 7);
	if (rig->closed)
		reconnect(rig, 0);
}

/* Writes guest memory: offset (4 bytes), length (2), bytes. */
static void act_memory(struct rig *rig, struct input *in)
{
	uint32_t offset = input_u32(in);
	size_t length;
	const uint8_t *bytes = input_bytes(in, input_u16(in), &length);

	if (length)
		stage_poke(&rig->stage, offset, bytes, length);
}

/* Cuts a file that the session may have mapped: which, size in units of 512 bytes. */
static void act_cut(struct rig *rig, struct input *in)
{
	enum stage_fd kind = input_u8(in) % STAGE_FD_READ_ONLY;
	uint16_t size = input_u16(in);
	int rc = ftruncate(stage_fd(&rig->stage, kind), (off_t)size * 512 % (STAGE_MEMORY + 1));

	(void)rc;
}

/* A write to a region, shorter than a message: region and size, offset (3 bytes), data. */
static void act_write(struct rig *rig, struct input *in)
{
	uint8_t which = input_u8(in);
	uint64_t offset = input_number(in, 3);
	uint8_t data[8];
	uint32_t length = 1u << (which >> 4 & 3);

	input_copy(in, data, length);
	write_region(rig, which & 15, offset, data, length);
}

/* A reply or anything else by the twin: like a message, without descriptors. */
static void act_twin(struct rig *rig, struct input *in)
{
	struct wire_header header = {0};
	const uint8_t *payload;
	uint8_t *message;
	size_t length;

	take_header(&header, in);
	payload = input_bytes(in, input_u16(in), &length);
	if (!rig->has_twin || rig->closed)
		return;
	header.size = (uint32_t)(sizeof(header) + length);
	message = malloc(header.size);
	memcpy(message, &header, sizeof(header));
	if (length)
		memcpy(message + sizeof(header), payload, length);
	session_twin_message(rig->session, message, header.size);
	free(message);
	if (rig->closed)
		reconnect(rig, 0);
}

/* An eventfd that came with GET_REGION_IO_FDS, perhaps of a session before. */
static void act_ring(struct rig *rig, struct input *in)
{
	const uint64_t one = 1;
	uint8_t which = input_u8(in);
	ssize_t n;

	if (!rig->bell_count)
		return;
	n = write(rig->bells[which % rig->bell_count], &one, sizeof(one));
	(void)n;
}

static void act(struct rig *rig, struct input *in)
{
	switch (input_u8(in) & ACTION_KINDS) {
	case ACTION_TURNS:
		turns(rig, input_u8(in) & 7);
		break;
	case ACTION_ANSWER:
		act_answer(rig, in);
		break;
	case ACTION_MEMORY:
		act_memory(rig, in);
		break;
	case ACTION_CUT:
		act_cut(rig, in);
		break;
	case ACTION_DRIVE:
		stage_drive_mode(&rig->stage, input_u8(in) % DRIVE_MODES);
		break;
	case ACTION_RECONNECT:
		reconnect(rig, input_u8(in) & 3);
		break;
	case ACTION_WRITE:
		act_write(rig, in);
		break;
	case ACTION_COMMAND:
		player_command(&rig->player, in);
		break;
	case ACTION_ENABLE:
		player_enable(&rig->player);
		break;
	case ACTION_TWIN:
		act_twin(rig, in);
		break;
	case ACTION_LINK_OVER:
		rig->over = true;
		break;
	case ACTION_RING:
		act_ring(rig, in);
		break;
	default:
		act_message(rig, in);
	}
}

/* Setup */

static void negotiate(struct rig *rig, bool twin)
{
	uint8_t payload[256] = {0, 0, 1, 0};
	int length;

	length = snprintf((char *)payload + 4, sizeof(payload) - 4,
	                  "{\"capabilities\":{\"max_msg_fds\":8,\"write_multiple\":true%s}}",
	                  twin ? ",\"twin_socket\":{\"supported\":true}" : "");
	call(rig, WIRE_VERSION, payload, 4 + (size_t)length + 1, NULL, 0);
}

static void map(struct rig *rig, bool shared)
{
	const struct wire_dma_map map = {sizeof(map), WIRE_DMA_READABLE | WIRE_DMA_WRITEABLE, 0,
	                                 STAGE_BASE, STAGE_MEMORY};
	const uint8_t kind = STAGE_FD_MEMORY;

	call(rig, WIRE_DMA_MAP, &map, sizeof(map), &kind, shared);
}

static void begin(struct rig *rig, uint8_t setup, uint8_t more)
{
	char options[128] = "";

	if (setup & SETUP_NVME)
		snprintf(options, sizeof(options), "drive=%s,serial=f,num-queues=4%s%s",
		         more & SETUP_MEM ? "m0" : "d0",
		         more & SETUP_IOEVENTFDS ? ",ioeventfds=on" : "",
		         more & SETUP_BLOCKS ? ",block-size=4096,namespaces=2" : "");
	stage_begin(&rig->stage, setup & SETUP_NVME ? "nvme" : "edu", options);
	stage_drive_mode(&rig->stage, (more >> SETUP_DRIVE) % DRIVE_MODES);
	rig->player.write = player_write;
	rig->player.peek = player_peek;
	rig->player.poke = player_poke;
	rig->player.turn = player_turn;
	rig->limits = session_default_limits;
	if (setup & SETUP_SMALL)
		rig->limits = (struct session_limits){.max_data_xfer_size = 4096,
		                                      .max_msg_fds = 4,
		                                      .max_dma_maps = 3,
		                                      .max_fds = 6};
	rig->limits.twin_socket = !(more & SETUP_NO_TWIN);
	rig->answering = setup & SETUP_ANSWER;
	connect_client(rig);
	if (setup & SETUP_NEGOTIATED)
		negotiate(rig, setup & SETUP_TWIN);
	if (setup & SETUP_MAPPED)
		map(rig, setup & SETUP_SHARED);
	if ((setup & (SETUP_NVME | SETUP_ENABLED)) == (SETUP_NVME | SETUP_ENABLED))
		player_enable(&rig->player);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct rig *rig;
	uint8_t setup, more;

	if (size > MAX_MESSAGE)
		return 0;
	rig = calloc(1, sizeof(*rig));
	setup = input_u8(&in);
	more = input_u8(&in);
	begin(rig, setup, more);
	for (unsigned i = 0; in.left && i < MAX_ACTIONS; i++)
		act(rig, &in);
	disconnect(rig, 0);
	free(rig->reserved);
	while (rig->bell_count)
		close(rig->bells[--rig->bell_count]);
	stage_end(&rig->stage);
	free(rig);
	return 0;
}

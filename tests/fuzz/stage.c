/* SPDX-License-Identifier: BSD-3-Clause */
/* See stage.h. */
#include "stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "base/opts.h"
#include "dma/guard.h"
#include "line.h"

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (dir && readdir(dir))
		count++;
	if (dir)
		closedir(dir);
	return count;
}

/* The drive */

static int carry_out(struct stage_drive *drive, const struct ob_block_request *request)
{
	uint64_t offset = request->offset;

	if (drive->mode == DRIVE_FAIL)
		return -EIO;
	/* Most inputs need no disk, and a large one takes time. */
	if (!drive->data)
		drive->data = calloc(1, STAGE_DISK);
	must(drive->data);
	if (request->op == OB_BLOCK_WRITE_ZEROES || request->op == OB_BLOCK_DISCARD)
		memset(drive->data + offset, 0, request->length);
	for (unsigned i = 0; request->op <= OB_BLOCK_WRITE && i < request->iovcnt; i++) {
		const struct iovec *iov = &request->iov[i];

		if (request->op == OB_BLOCK_READ)
			memcpy(iov->iov_base, drive->data + offset, iov->iov_len);
		else
			memcpy(drive->data + offset, iov->iov_base, iov->iov_len);
		offset += iov->iov_len;
	}
	return 0;
}

static void finish(struct ob_task *task)
{
	struct stage_drive *drive = container_of(task, struct stage_drive, finish);
	struct ob_block_request *held = take_ptr(&drive->held);

	while (held) {
		struct ob_block_request *next = held->next;

		block_complete(held, carry_out(drive, held));
		held = next;
	}
}

static int drive_submit(struct ob_block *block, struct ob_block_request *request)
{
	struct stage_drive *drive = (struct stage_drive *)block;
	struct ob_block_request **end = &drive->held;

	if (drive->mode == DRIVE_NOW || drive->mode == DRIVE_FAIL)
		return carry_out(drive, request);
	while (drive->mode == DRIVE_LATER && *end)
		end = &(*end)->next;
	request->next = *end;
	*end = request;
	if (drive->mode != DRIVE_HOLD)
		ob_task_schedule(block->loop, &drive->finish);
	return -EINPROGRESS;
}

static const struct block_driver stage_driver = {.name = "stage", .submit = drive_submit};

void stage_drive_mode(struct stage *stage, enum drive_mode mode)
{
	stage->drive.mode = mode;
	if (mode != DRIVE_HOLD && stage->drive.held)
		ob_task_schedule(stage->loop, &stage->drive.finish);
}

static void make_drive(struct stage *stage)
{
	struct stage_drive *drive = &stage->drive;

	drive->finish.run = finish;
	drive->block.driver = &stage_driver;
	drive->block.loop = stage->loop;
	drive->block.info = (struct ob_block_info){.size = STAGE_DISK,
	                                           .block_size = 512,
	                                           .optimal_io = 4096,
	                                           .discard = true,
	                                           .discard_zeroes = true,
	                                           .volatile_cache = true};
	snprintf(drive->block.name, sizeof(drive->block.name), "d0");
}

static struct ob_block *make_mem(struct stage *stage)
{
	cleanup_opts struct opts opts = {0};
	struct ob_error err = {""};

	must(!opts_parse(&opts, "driver=mem,node-name=m0,size=1M", NULL, &err));
	stage->mem = block_open(stage->loop, &stage->log, &opts, &err);
	must(stage->mem);
	return stage->mem;
}

static struct ob_block *claim(void *context, const char *name, const char *user,
                              struct ob_error *err)
{
	struct stage *stage = context;

	return name[0] == 'd' ? &stage->drive.block : make_mem(stage);
}

static void release(void *context, struct ob_block *block, const char *user)
{
}

static struct ob_chardev *claim_line(void *context, const char *id, const char *user,
                                     struct ob_error *err)
{
	struct stage *stage = context;

	stage->line = line_new(stage->loop, &stage->log);
	return stage->line;
}

static void release_line(void *context, struct ob_chardev *line, const char *user)
{
	must(line == ((struct stage *)context)->line);
}

/* The guard of clients' memory is the process's, as in the program. */

static int guard_event(void)
{
	static int event = -1;

	if (event < 0)
		event = dma_guard_install();
	must(event >= 0);
	return event;
}

static void guard_ready(struct loop_fd *watch, uint32_t events)
{
	dma_guard_tell();
}

/* Beginning and end */

void stage_begin(struct stage *stage, const char *model, const char *options)
{
	struct device_env env = {.log = &stage->log,
	                         .claim_block = claim,
	                         .release_block = release,
	                         .claim_chardev = claim_line,
	                         .release_chardev = release_line,
	                         .context = stage};
	cleanup_opts struct opts opts = {0};
	struct ob_error err = {""};

	stage->guard = (struct loop_fd){guard_event(), EPOLLIN, guard_ready};
	stage->open_before = open_fds();
	stage->loop = env.loop = loop_new();
	loop_set_share(stage->loop, UINT64_MAX); /* the same story every time */
	/* Lines are made, and go nowhere. */
	stage->log =
		(struct log){.fd = getenv("FUZZ_LOG") ? STDERR_FILENO : -1, .level = LOG_DEBUG};
	for (unsigned i = 0; i < STAGE_FDS; i++)
		stage->fds[i] = -1;
	must(!loop_fd_add(stage->loop, &stage->guard));
	make_drive(stage);
	must(!opts_parse(&opts, options, NULL, &err));
	stage->dev = device_new(device_model_find(model), "f0", &env, &opts, &err);
	if (!stage->dev)
		fprintf(stderr, "%s\n", err.message);
	must(stage->dev && !opts.count);
	device_bus_init(&stage->bus);
	device_bus_add(&stage->bus, stage->dev);
}

void stage_end(struct stage *stage)
{
	stage_quiesce(stage);
	must(!dma_map_count(device_dma(stage->dev)) && !dma_fd_count(device_dma(stage->dev)));
	device_free(stage->dev);
	must(!stage->drive.held && !stage->drive.block.in_flight);
	ob_task_cancel(&stage->drive.finish);
	if (stage->mem) {
		must(!stage->mem->in_flight);
		block_close(stage->mem);
	}
	line_free(stage->line);
	free(stage->drive.data);
	for (unsigned i = 0; i < STAGE_FDS; i++) {
		if (stage->fds[i] >= 0)
			close(stage->fds[i]);
	}
	loop_fd_remove(stage->loop, &stage->guard);
	loop_free(stage->loop);
	/* Helper threads of the loop have one, and end by themselves. */
	for (unsigned i = 0; i < 10000 && open_fds() != stage->open_before; i++)
		usleep(1000);
	must(open_fds() == stage->open_before);
}

void stage_turn(struct stage *stage)
{
	must(!loop_turn(stage->loop, 0));
}

void stage_turns(struct stage *stage, unsigned count)
{
	while (count--)
		stage_turn(stage);
}

void stage_until(struct stage *stage, const bool *done)
{
	if (stage->drive.mode == DRIVE_HOLD)
		stage_drive_mode(stage, DRIVE_NOW);
	for (unsigned i = 0; !*done && i < STAGE_SETTLE; i++)
		stage_turn(stage);
	must(*done);
}

static void quiesced(struct device_hold *hold)
{
	container_of(hold, struct stage, hold)->quiesced = true;
}

void stage_quiesce(struct stage *stage)
{
	stage->hold.done = quiesced;
	stage->quiesced = !device_hold(stage->dev, &stage->hold, DEVICE_HOLD_RESET);
	if (!stage->quiesced)
		stage_until(stage, &stage->quiesced);
}

/* Descriptors */

static int make_file(const char *name, uint64_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	must(fd >= 0 && !ftruncate(fd, (off_t)size));
	return fd;
}

static int make_read_only(void)
{
	int fd = make_file("read-only", 65536), again;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = open(path, O_RDONLY | O_CLOEXEC);
	close(fd);
	return again;
}

static void make_pipe(struct stage *stage)
{
	int ends[2];

	must(!pipe2(ends, O_CLOEXEC | O_NONBLOCK));
	stage->fds[STAGE_FD_PIPE_READ] = ends[0];
	stage->fds[STAGE_FD_PIPE_WRITE] = ends[1];
}

static int make_sealed(void)
{
	int fd = make_file("sealed", 65536);

	must(!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE));
	return fd;
}

static int make_full_event(void)
{
	const uint64_t most = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC);

	must(write(fd, &most, sizeof(most)) == sizeof(most));
	return fd;
}

static int make_fd(enum stage_fd kind)
{
	switch (kind) {
	case STAGE_FD_MEMORY:
		return make_file("memory", STAGE_MEMORY);
	case STAGE_FD_SMALL:
		return make_file("small", 65536);
	case STAGE_FD_ODD:
		return make_file("odd", 6000);
	case STAGE_FD_READ_ONLY:
		return make_read_only();
	case STAGE_FD_EVENT:
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	case STAGE_FD_EVENT_FULL:
		return make_full_event();
	case STAGE_FD_NULL:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	case STAGE_FD_EMPTY:
		return make_file("empty", 0);
	case STAGE_FD_SEALED:
		return make_sealed();
	default:
		return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
}

int stage_fd(struct stage *stage, enum stage_fd kind)
{
	if (stage->fds[kind] < 0 && (kind == STAGE_FD_PIPE_READ || kind == STAGE_FD_PIPE_WRITE))
		make_pipe(stage);
	else if (stage->fds[kind] < 0)
		stage->fds[kind] = make_fd(kind);
	must(stage->fds[kind] >= 0);
	return stage->fds[kind];
}

int stage_dup(struct stage *stage, enum stage_fd kind)
{
	int fd = fcntl(stage_fd(stage, kind), F_DUPFD_CLOEXEC, 0);

	must(fd >= 0);
	return fd;
}

/* Guest memory */

void stage_peek(struct stage *stage, uint64_t address, void *bytes, size_t length)
{
	off_t offset = (off_t)(address % STAGE_MEMORY);
	ssize_t n;

	memset(bytes, 0, length);
	n = pread(stage_fd(stage, STAGE_FD_MEMORY), bytes, length, offset);
	(void)n;
}

void stage_poke(struct stage *stage, uint64_t address, const void *bytes, size_t length)
{
	off_t offset = (off_t)(address % STAGE_MEMORY);
	size_t room = STAGE_MEMORY - (size_t)offset;
	ssize_t n;

	n = pwrite(stage_fd(stage, STAGE_FD_MEMORY), bytes, length < room ? length : room, offset);
	(void)n;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * obctl migrate: moves a device between two servers as a VMM would, with a verified load on it if
 * it is an NVMe disk, and says what that took.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "obctl/command.h"
#include "obctl/empty.h"
#include "obctl/migrate_file.h"
#include "obctl/mover.h"
#include "obctl/report.h"

enum { CLASS_AT = 9, CLASS_NVME = 0x010802, BUSY_TRIES = 500, BUSY_US = 10000 };

struct migrate_options {
	struct connect_options connect;
	bool load, destroy, no_verify, recover, unshared, json;
	uint32_t rounds, interval, mix, depth, queues, interrupts, doorbells;
	uint64_t memory, block_size, size, seed;
};

#define OPTION(option_name, option_type, member, ...)                                              \
	{                                                                                          \
		.name = option_name, .type = option_type,                                          \
		.offset = offsetof(struct migrate_options, member), __VA_ARGS__                    \
	}

static const struct ob_prop migrate_options[] = {
	OPTION("rounds", OB_PROP_UINT32, rounds, .min = 1, .max = 100000, .preset = "1",
               .help = "how many moves, there and back"),
	OPTION("interval", OB_PROP_UINT32, interval, .max = 3600000, .preset = "100",
               .help = "milliseconds between two moves"),
	OPTION("memory", OB_PROP_SIZE, memory, .min = 4096, .max = 1 << 30, .preset = "4M",
               .help = "bytes of memory that move with the device, about"),
	OPTION("load", OB_PROP_BOOL, load,
               .help = "have a driver write and read an NVMe disk meanwhile: what is on it is "
                       "lost"),
	OPTION("destroy", OB_PROP_BOOL, destroy, .help = EMPTY_DESTROY_HELP),
	OPTION("no-verify", OB_PROP_BOOL, no_verify,
               .help = "do not check what is read, for disks that keep nothing"),
	OPTION("mix", OB_PROP_UINT32, mix, .min = 1, .max = 100, .preset = "50",
               .help = "so many percent of the load are reads; 100: nothing is written"),
	OPTION("block-size", OB_PROP_SIZE, block_size, .min = 512, .max = NVME_MAX_SLOT,
               .preset = "4K", .help = "bytes of one command"),
	OPTION("depth", OB_PROP_UINT32, depth, .min = 1, .max = NVME_MAX_DEPTH, .preset = "32",
               .help = "commands under way in each queue"),
	OPTION("queues", OB_PROP_UINT32, queues, .min = 1, .max = NVME_MAX_QUEUES, .preset = "1",
               .help = "pairs of I/O queues"),
	OPTION("size", OB_PROP_SIZE, size,
               .help = "bytes of the disk that are used (default: all)"),
	OPTION("seed", OB_PROP_SIZE, seed, .preset = "1",
               .help = "of random blocks, and in blocks"),
	OPTION("recover", OB_PROP_BOOL, recover,
               .help = "if the device is lost, bring up the other one and check its disk"),
	OPTION("no-shared-memory", OB_PROP_BOOL, unshared,
               .help = "send no descriptor: the servers reach memory by messages"),
	OPTION("interrupts", OB_PROP_ENUM, interrupts, .choices = load_interrupt_names,
               .preset = "poll", .help = "how completions are noticed"),
	OPTION("doorbells", OB_PROP_ENUM, doorbells, .choices = load_doorbell_names,
               .preset = "auto", .help = "how the controller is told"),
	OPTION("json", OB_PROP_BOOL, json, .help = "print JSON, times in nanoseconds"),
	CONNECT_OPTIONS,
	{0},
};

struct migration {
	const struct migrate_options *options;
	struct mover mover;
	struct load load;
	struct nvme *nvme, *second; /* second: after the first was lost */
	bool recovered;
	struct ob_error lost; /* why */
};

/* The load */

static int plan_load(struct migration *migration, struct ob_error *err)
{
	const struct migrate_options *options = migration->options;
	const struct nvme *nvme = migration->nvme;
	uint64_t disk = nvme->blocks * nvme->block_size;
	uint64_t size = options->size ? options->size : disk;

	if (options->block_size % nvme->block_size)
		return ob_error_set(
			err, -EINVAL,
			"block-size: a multiple of the disk's blocks of %u bytes expected",
			nvme->block_size);
	if (size > disk || size < options->block_size)
		return ob_error_set(err, -EINVAL,
		                    "size: at least block-size, and within the disk's %" PRIu64
		                    " bytes expected",
		                    disk);
	migration->load.nvme = migration->nvme;
	migration->load.plan = (struct load_plan){
		.read_percent = options->mix,
		.verify = !options->no_verify && options->mix < 100,
		.random = true,
		.seed = options->seed,
		.units = size / options->block_size,
		.count = UINT64_MAX,
		.nanoseconds = UINT64_MAX,
		.stuck_after = options->connect.timeout * UINT64_C(1000000),
		.hook = &migration->mover.hook,
	};
	if (options->mix < 100 && !options->destroy) {
		int rc = empty_check(migration->nvme, &migration->load.plan, size,
		                     migration->mover.sides[0].socket, err);

		if (rc)
			return rc;
	}
	return load_prepare(&migration->load, err);
}

static struct nvme_config driver_config(const struct migrate_options *options)
{
	size_t room =
		(size_t)options->queues * options->depth * ((options->block_size + 4095) & ~4095u);
	uint64_t buffers = options->memory / room;

	return (struct nvme_config){
		.queues = options->queues,
		.depth = options->depth,
		.slot_size = options->block_size,
		.nsid = 1,
		.unshared = options->unshared,
		.msix = options->interrupts,
		.doorbells = options->doorbells,
		.buffers = buffers < NVME_MAX_BUFFERS ? (unsigned)buffers : NVME_MAX_BUFFERS,
	};
}

/*
 * The server with the device is gone, and the guest's driver brings the other one's up: a disk that
 * both have is as good there.
 */
static int recover(struct migration *migration, struct ob_error *err)
{
	struct mover *mover = &migration->mover;
	struct mover_side *other = &mover->sides[mover->at ^ 1];
	const struct nvme_config config = driver_config(migration->options);
	int rc = ob_client_reset(other->client);

	/*
	 * A device that waits to be moved does not run just because it was reset; and while the
	 * other process ends, its disk is still in use.
	 */
	if (!rc)
		rc = ob_client_set_state(other->client, OB_CLIENT_STATE_RUNNING);
	for (unsigned i = 0; rc == -EBUSY && i < BUSY_TRIES; i++) {
		usleep(BUSY_US);
		rc = ob_client_set_state(other->client, OB_CLIENT_STATE_RUNNING);
	}
	if (!rc)
		rc = ob_client_unmap_all(other->client);
	if (rc)
		return ob_error_set(err, rc, "%s; and the other: %s", migration->lost.message,
		                    ob_client_message(other->client));
	rc = nvme_open(other->client, &config, &migration->second, err);
	if (rc)
		return ob_error_prefix(err, rc, "%s", other->socket);
	migration->load.plan.hook = NULL;
	migration->load.plan.nanoseconds = UINT64_C(100000000);
	migration->load.ending = false;
	rc = load_go_on(&migration->load, migration->second, err);
	migration->recovered = !rc;
	return rc;
}

static int move_under_load(struct migration *migration, struct ob_error *err)
{
	int rc = load_run(&migration->load, err);

	if (!rc || !migration->options->recover || migration->options->no_verify ||
	    (rc != -ECONNRESET && rc != -EPIPE))
		return rc;
	migration->lost = *err;
	return recover(migration, err);
}

static int move_plainly(struct migration *migration, struct ob_error *err)
{
	struct mover *mover = &migration->mover;
	int rc = 0;

	while (!rc && mover->count < mover->rounds && !mover->failure.message[0]) {
		rc = mover_move(mover, err);
		if (!rc && mover->count < mover->rounds)
			usleep(migration->options->interval * 1000);
	}
	return rc;
}

/* Results */

static int by_size(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* One member of all moves, least to most. */
static void print_series(struct report *report, const struct mover *mover, size_t member,
                         const char *key, const char *label, double unit, const char *unit_name)
{
	uint64_t *values = calloc(mover->count, sizeof(*values));
	uint64_t low, middle, high;

	if (!values)
		return;
	for (unsigned i = 0; i < mover->count; i++)
		memcpy(&values[i], (const char *)&mover->moves[i] + member, sizeof(values[i]));
	qsort(values, mover->count, sizeof(*values), by_size);
	low = values[0];
	middle = values[mover->count / 2];
	high = values[mover->count - 1];
	free(values);
	report_open(report, key, false, "  %-24s %10.6g %10.6g %10.6g %s\n", label,
	            (double)low / unit, (double)middle / unit, (double)high / unit, unit_name);
	report_number(report, NULL, "min", low);
	report_number(report, NULL, "median", middle);
	report_number(report, NULL, "max", high);
	report_close(report, "");
}

static void print_moves(struct report *report, const struct mover *mover)
{
	static const struct {
		size_t member;
		const char *key, *label;
		double unit;
		const char *unit_name;
	} series[] = {
		{offsetof(struct move, downtime), "downtime_ns", "downtime", 1e6, "ms"},
		{offsetof(struct move, pause), "pause_ns", "stop to running", 1e6, "ms"},
		{offsetof(struct move, total), "total_ns", "begin to running", 1e6, "ms"},
		{offsetof(struct move, passes), "passes", "passes over memory", 1, ""},
		{offsetof(struct move, memory), "memory_bytes", "memory copied", 1024, "KiB"},
		{offsetof(struct move, pages), "late_pages", "pages while stopped", 1, ""},
		{offsetof(struct move, state), "state_bytes", "device state", 1024, "KiB"},
		{offsetof(struct move, late), "late_state_bytes", "of it while stopped", 1024,
	         "KiB"},
	};

	if (!mover->count)
		return;
	report_text(report, NULL, NULL, "  %-24s %10s %10s %10s\n", "", "min", "median", "max");
	for (size_t i = mover->nvme ? 0 : 1; i < ARRAY_SIZE(series); i++)
		print_series(report, mover, series[i].member, series[i].key, series[i].label,
		             series[i].unit, series[i].unit_name);
}

static void print_load(struct report *report, const struct load *load)
{
	uint64_t done = load->reads.count + load->writes.count;

	report_open(report, "load", false, "load:");
	report_number(report, " %llu reads,", "reads", load->reads.count);
	report_number(report, " %llu writes,", "writes", load->writes.count);
	report_number(report, " %llu a second,", "iops",
	              load->elapsed ? (uint64_t)((double)done * 1e9 / (double)load->elapsed) : 0);
	report_number(report, " %llu failed;", "failed_commands", load->failed);
	report_number(report, " %llu blocks verified,", "verified_blocks", load->checked);
	report_number(report, " %llu wrong", "wrong_blocks", load->wrong);
	report_close(report, "\n");
}

static void print(const struct migration *migration)
{
	const struct mover *mover = &migration->mover;
	struct report report;

	report_begin(&report, migration->options->json);
	report_number(&report, "%llu moves", "moves", mover->count);
	report_number(&report, " of %llu\n", "rounds", mover->rounds);
	if (mover->failure.message[0])
		report_text(&report, "failure", mover->failure.message, "not moved: %s\n",
		            mover->failure.message);
	if (migration->recovered)
		report_text(&report, "recovered", migration->lost.message,
		            "lost (%s), and brought up at %s\n", migration->lost.message,
		            mover->sides[mover->at ^ 1].socket);
	print_moves(&report, mover);
	if (migration->nvme)
		print_load(&report, &migration->load);
	report_end(&report, false);
}

/* The command */

static int is_nvme(struct ob_client *client, bool *nvme, struct ob_error *err)
{
	uint8_t code[3];
	int rc = ob_client_read(client, OB_REGION_CONFIG, CLASS_AT, code, sizeof(code));

	if (rc)
		return client_error(client, rc, "reading the class code", err);
	*nvme = (code[0] | code[1] << 8 | code[2] << 16) == CLASS_NVME;
	return 0;
}

static int connect_side(struct migration *migration, unsigned i, const char *path,
                        struct ob_error *err)
{
	struct mover_side *side = &migration->mover.sides[i];
	int rc;

	side->socket = path;
	rc = connect_to(path, &migration->options->connect, false, &side->client, err);
	return rc ? ob_error_prefix(err, rc, "%s", path) : 0;
}

/*
 * A device that takes a state is not itself any more: so it has to be one that waits for that, and
 * none that serves a disk of its own.
 */
static int check_destination(struct ob_client *client, const char *socket, bool destroy,
                             struct ob_error *err)
{
	enum ob_client_state state;

	if (destroy || ob_client_state(client, &state) || state != OB_CLIENT_STATE_RUNNING)
		return 0;
	return ob_error_set(err, -EEXIST,
	                    "%s: the device runs, and would lose its state, and a disk in memory "
	                    "its data: start it with -incoming defer; --destroy overwrites it",
	                    socket);
}

static int check_sides(const struct migration *migration, struct ob_error *err)
{
	const struct migrate_options *options = migration->options;
	const struct mover_side *sides = migration->mover.sides;
	bool nvme = false;
	int rc = options->load ? is_nvme(sides[0].client, &nvme, err) : 0;

	if (!rc && options->load && !nvme)
		rc = ob_error_set(err, -EINVAL, "%s: --load is for NVMe disks", sides[0].socket);
	return rc ? rc : check_destination(sides[1].client, sides[1].socket, options->destroy, err);
}

static int run_moves(struct migration *migration, struct ob_error *err)
{
	const struct migrate_options *options = migration->options;
	const struct nvme_config config = driver_config(options);
	struct mover *mover = &migration->mover;
	bool load = options->load;
	int rc = check_sides(migration, err);

	if (!rc && load)
		rc = nvme_open(mover->sides[0].client, &config, &migration->nvme, err);
	mover->nvme = migration->nvme;
	if (!rc)
		rc = mover_init(mover, options->memory, err);
	if (!rc && load)
		rc = plan_load(migration, err);
	if (!rc)
		rc = load ? move_under_load(migration, err) : move_plainly(migration, err);
	if (mover->progress)
		fputs("\r\033[K", stderr);
	if (rc)
		return rc;
	print(migration);
	if (migration->load.failed + migration->load.wrong)
		return ob_error_set(err, -EIO,
		                    "%" PRIu64 " commands failed, %" PRIu64 " blocks were wrong",
		                    migration->load.failed, migration->load.wrong);
	if (mover->failure.message[0])
		return ob_error_set(err, -EIO, "the device did not move, and goes on: %s",
		                    mover->failure.message);
	return 0;
}

/* The words that are no sockets. */
static int run_file(const char *const *words, const struct migrate_options *options,
                    struct ob_error *err)
{
	cleanup_client struct ob_client *client = NULL;
	bool save = !strcmp(words[0], "save");
	int rc;

	if (!strcmp(words[0], "dump") && !words[2])
		return migrate_dump(words[1], options->json, err);
	if ((!save && strcmp(words[0], "load") != 0) || !words[2])
		return ob_error_set(err, -EINVAL,
		                    "two sockets, or one of dump FILE, save SOCKET FILE and load "
		                    "SOCKET FILE expected");
	rc = connect_to(words[1], &options->connect, false, &client, err);
	if (rc)
		return rc;
	if (save)
		return migrate_save(client, words[2], err);
	rc = check_destination(client, words[1], options->destroy, err);
	return rc ? rc : migrate_load(client, words[2], err);
}

static int run_migrate(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct migrate_options *options = opaque;
	struct migration migration = {
		.options = options,
		.mover = {.rounds = options->rounds,
	                  .interval = options->interval * UINT64_C(1000000),
	                  .compare = true,
	                  .progress = isatty(STDERR_FILENO)},
	};
	struct mover *mover = &migration.mover;
	int rc = 0;

	if (words[2] || !strcmp(words[0], "dump") || !strcmp(words[0], "save") ||
	    !strcmp(words[0], "load"))
		return run_file(words, options, err);
	if (options->block_size % 512)
		return ob_error_set(err, -EINVAL, "block-size: a multiple of 512 expected");
	for (unsigned i = 0; i < 2 && !rc; i++)
		rc = connect_side(&migration, i, words[i], err);
	if (!rc)
		rc = run_moves(&migration, err);
	mover_free(mover);
	nvme_close(migration.nvme);
	nvme_close(migration.second);
	load_free(&migration.load);
	ob_client_free(mover->sides[0].client);
	ob_client_free(mover->sides[1].client);
	return rc;
}

const struct command command_migrate = {
	.name = "migrate",
	.words = "SOCKET OTHER-SOCKET",
	.word_count = 2,
	.more_words = 1,
	.summary = "Moves a device between two servers, as a VMM would",
	.details = "The second server has the same device, started to take a state (outboard "
		   "-incoming "
		   "defer).\n"
		   "With --load, an NVMe disk is written and read by a driver meanwhile, whose "
		   "memory moves with the\n"
		   "device: it is copied while both write to it, by the device's dirty log, and "
		   "compared as a whole\n"
		   "before the device goes on. Printed are its downtime (last completion before a "
		   "move to the first\n"
		   "after it) and what was copied. The load overwrites what the disk holds: it "
		   "needs --destroy, or\n"
		   "a disk that reads as zeroes.\n"
		   "\n"
		   "obctl migrate save SOCKET FILE and load SOCKET FILE write a device's state to "
		   "a file, "
		   "and read it;\n"
		   "dump FILE prints what is in one.\n",
	.options = migrate_options,
	.options_size = sizeof(struct migrate_options),
	.run = run_migrate,
};

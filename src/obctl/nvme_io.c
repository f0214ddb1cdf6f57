/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl nvme-io: reads, writes and verifies a served NVMe disk, and measures it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/list.h"
#include "obctl/command.h"
#include "obctl/load.h"

struct io_options {
	struct connect_options connect;
	bool read, write, verify, random, unshared, json;
	uint32_t mix, depth, queues, count, nsid, interrupts, doorbells;
	uint64_t block_size, size, offset, seed;
	char *time;
};

static const char *const interrupt_names[] = {"poll", "msix", NULL};
static const char *const doorbell_names[] = {"auto", "mmap", "shadow", "eventfd", "message", NULL};

#define OPTION(option_name, option_type, member, ...)                                              \
	{                                                                                          \
		.name = option_name, .type = option_type,                                          \
		.offset = offsetof(struct io_options, member), __VA_ARGS__                         \
	}

static const struct ob_prop io_options[] = {
	OPTION("read", OB_PROP_BOOL, read, .help = "read (what it does if nothing is said)"),
	OPTION("write", OB_PROP_BOOL, write, .help = "write: what is on the disk is lost"),
	OPTION("mix", OB_PROP_UINT32, mix, .min = 1, .max = 99,
               .help = "read and write at random: so many percent are reads"),
	OPTION("verify", OB_PROP_BOOL, verify,
               .help = "write blocks that say what they are, and check what is read"),
	OPTION("block-size", OB_PROP_SIZE, block_size, .min = 512, .max = NVME_MAX_SLOT,
               .preset = "4K", .help = "bytes of one command"),
	OPTION("depth", OB_PROP_UINT32, depth, .min = 1, .max = NVME_MAX_DEPTH, .preset = "1",
               .help = "commands under way in each queue"),
	OPTION("queues", OB_PROP_UINT32, queues, .min = 1, .max = NVME_MAX_QUEUES, .preset = "1",
               .help = "pairs of I/O queues"),
	OPTION("random", OB_PROP_BOOL, random, .help = "blocks at random instead of one by one"),
	OPTION("count", OB_PROP_UINT32, count, .help = "end after so many commands"),
	OPTION("time", OB_PROP_STRING, time, .help = "end after so many seconds (2, 0.5)"),
	OPTION("size", OB_PROP_SIZE, size,
               .help = "bytes of the disk that are used (default: all); without --count and "
                       "--time, "
                       "each once"),
	OPTION("offset", OB_PROP_SIZE, offset, .help = "where they begin"),
	OPTION("namespace", OB_PROP_UINT32, nsid, .min = 1, .max = UINT32_MAX - 1, .preset = "1",
               .help = "namespace id"),
	OPTION("seed", OB_PROP_SIZE, seed, .preset = "1",
               .help = "of random blocks, and in the blocks of --verify"),
	OPTION("no-shared-memory", OB_PROP_BOOL, unshared,
               .help = "send no descriptor: the server reaches memory by messages"),
	OPTION("interrupts", OB_PROP_ENUM, interrupts, .choices = interrupt_names, .preset = "poll",
               .help = "how completions are noticed"),
	OPTION("doorbells", OB_PROP_ENUM, doorbells, .choices = doorbell_names, .preset = "auto",
               .help = "how the controller is told"),
	OPTION("json", OB_PROP_BOOL, json, .help = "print JSON, times in nanoseconds"),
	CONNECT_OPTIONS,
	{0},
};

static const char *workload(const struct io_options *options)
{
	return options->mix ? "mix" : options->write ? "write" : "read";
}

static int check(const struct io_options *options, uint64_t *nanoseconds, struct ob_error *err)
{
	char *end;
	double seconds;

	if (options->read + options->write + !!options->mix > 1)
		return ob_error_set(err, -EINVAL, "one of --read, --write and --mix expected");
	if (options->block_size % 512 || options->offset % options->block_size)
		return ob_error_set(err, -EINVAL,
		                    "block-size: a multiple of 512, and offset one of block-size "
		                    "expected");
	*nanoseconds = UINT64_MAX;
	if (!options->time)
		return 0;
	seconds = strtod(options->time, &end);
	if (*end || end == options->time || !(seconds > 0 && seconds <= 1e9))
		return ob_error_set(err, -EINVAL, "time=%s: a number of seconds above 0 expected",
		                    options->time);
	*nanoseconds = (uint64_t)(seconds * 1e9);
	return 0;
}

static int make_plan(const struct io_options *options, const struct nvme *nvme,
                     struct load_plan *plan, struct ob_error *err)
{
	uint64_t disk = nvme->blocks * nvme->block_size;
	uint64_t size = options->size;

	if (options->block_size % nvme->block_size)
		return ob_error_set(
			err, -EINVAL,
			"block-size: a multiple of the disk's blocks of %u bytes expected",
			nvme->block_size);
	if (options->offset >= disk || size > disk - options->offset)
		return ob_error_set(err, -EINVAL,
		                    "offset and size: within the disk's %" PRIu64 " bytes expected",
		                    disk);
	if (!size)
		size = disk - options->offset;
	plan->read_percent = options->mix ? options->mix : options->write ? 0 : 100;
	plan->verify = options->verify;
	plan->random = options->random;
	plan->seed = options->seed;
	plan->first_unit = options->offset / options->block_size;
	plan->units = size / options->block_size;
	if (!plan->units)
		return ob_error_set(err, -EINVAL, "size: at least block-size expected");
	plan->count = options->count ? options->count : UINT64_MAX;
	/* Neither count nor time: once, or where that may be endless, for a while. */
	if (!options->count && !options->time) {
		if (options->size || options->verify)
			plan->count = plan->units;
		else
			plan->nanoseconds = UINT64_C(5000000000);
	}
	plan->stuck_after = options->connect.timeout * UINT64_C(1000000);
	plan->progress = isatty(STDERR_FILENO);
	return 0;
}

/* Results */

static double per_second(const struct load *load, uint64_t n)
{
	return load->elapsed ? (double)n * 1e9 / (double)load->elapsed : 0;
}

static void print_json_part(const struct load *load, const char *name,
                            const struct histogram *times)
{
	if (!times->count)
		return;
	printf("  \"%s\": {\"iops\": %.1f, \"mib_per_second\": %.3f, ", name,
	       per_second(load, times->count),
	       per_second(load, times->count * load->nvme->config.slot_size) / 1048576);
	histogram_print_json(times, stdout);
	puts("},");
}

static void print_json(const struct io_options *options, const struct load *load)
{
	uint64_t count = load->reads.count + load->writes.count;

	printf("{\n  \"workload\": \"%s\", \"random\": %s, \"block_size\": %" PRIu64
	       ", \"depth\": %u, \"queues\": %u,\n",
	       workload(options), options->random ? "true" : "false", options->block_size,
	       options->depth, options->queues);
	printf("  \"shared_memory\": %s, \"doorbells\": \"%s\", \"interrupts\": \"%s\",\n",
	       options->unshared ? "false" : "true", nvme_doorbells_name(load->nvme->doorbells),
	       interrupt_names[options->interrupts]);
	printf("  \"seconds\": %.6f, \"iops\": %.1f, \"mib_per_second\": %.3f,\n",
	       (double)load->elapsed / 1e9, per_second(load, count),
	       per_second(load, count * load->nvme->config.slot_size) / 1048576);
	print_json_part(load, "read", &load->reads);
	print_json_part(load, "write", &load->writes);
	printf("  \"failed_commands\": %" PRIu64 ", \"verified_blocks\": %" PRIu64
	       ", \"wrong_blocks\": %" PRIu64 "\n}\n",
	       load->failed, load->checked, load->wrong);
}

static void print_part(const struct load *load, const char *name, const struct histogram *times)
{
	if (!times->count)
		return;
	printf("%-6s %" PRIu64 " commands, %.0f IOPS, %.1f MiB/s\n       ", name, times->count,
	       per_second(load, times->count),
	       per_second(load, times->count * load->nvme->config.slot_size) / 1048576);
	histogram_print(times, stdout);
}

static void print_table(const struct io_options *options, const struct load *load)
{
	printf("%s: %s %" PRIu64
	       " bytes, %s, depth %u, %u queue%s, memory %s, doorbells by %s, %s, "
	       "%.2f s\n",
	       load->nvme->model, workload(options), options->block_size,
	       options->random ? "random" : "sequential", options->depth, options->queues,
	       options->queues > 1 ? "s" : "", options->unshared ? "by message" : "shared",
	       nvme_doorbells_name(load->nvme->doorbells),
	       options->interrupts ? "interrupts by MSI-X" : "polled", (double)load->elapsed / 1e9);
	print_part(load, "read", &load->reads);
	print_part(load, "write", &load->writes);
	if (options->verify)
		printf("verify %" PRIu64 " blocks, %" PRIu64 " wrong\n", load->checked,
		       load->wrong);
	if (load->failed)
		printf("failed %" PRIu64 " commands\n", load->failed);
}

static int run_load(const struct io_options *options, struct load *load, struct ob_error *err)
{
	int rc = make_plan(options, load->nvme, &load->plan, err);

	if (!rc)
		rc = load_prepare(load, err);
	if (!rc)
		rc = load_run(load, err);
	if (!rc && options->json)
		print_json(options, load);
	else if (!rc)
		print_table(options, load);
	if (!rc && load->failed + load->wrong)
		rc = ob_error_set(err, -EIO,
		                  "%" PRIu64 " commands failed, %" PRIu64 " blocks were wrong",
		                  load->failed, load->wrong);
	load_free(load);
	return rc;
}

static int run_nvme_io(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct io_options *options = opaque;
	const struct nvme_config config = {
		.queues = options->queues,
		.depth = options->depth,
		.slot_size = options->block_size,
		.nsid = options->nsid,
		.unshared = options->unshared,
		.msix = options->interrupts,
		.doorbells = options->doorbells,
	};
	cleanup_client struct ob_client *client = NULL;
	struct load load = {0};
	int rc = check(options, &load.plan.nanoseconds, err);
	if (!rc)
		rc = connect_to(words[0], &options->connect, false, &client, err);
	if (!rc)
		rc = nvme_open(client, &config, &load.nvme, err);
	if (!rc)
		rc = run_load(options, &load, err);
	nvme_close(load.nvme);
	return rc;
}

const struct command command_nvme_io = {
	.name = "nvme-io",
	.words = "SOCKET",
	.word_count = 1,
	.summary = "Reads, writes, verifies and measures an NVMe disk",
	.details =
		"Drives the disk itself, so nothing else may be using it. With --verify, each "
		"block that is\nwritten carries its number, how often it was written, and a "
		"checksum; all of them are read back\nat the end. --read --verify checks what an "
		"earlier --write --verify with the same --seed left.\n",
	.options = io_options,
	.options_size = sizeof(struct io_options),
	.run = run_nvme_io,
};

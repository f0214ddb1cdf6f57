/* SPDX-License-Identifier: BSD-3-Clause */
/* obctl nvme-io: reads, writes and verifies a served NVMe disk, and measures it. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/list.h"
#include "obctl/command.h"
#include "obctl/empty.h"
#include "obctl/load.h"

struct io_options {
	struct connect_options connect;
	bool read, write, verify, random, destroy, unshared, json;
	uint32_t mix, depth, queues, count, nsid, interrupts, doorbells;
	uint64_t block_size, size, offset, seed;
	char *time, *from, *to;
};

#define OPTION(option_name, option_type, member, ...)                                              \
	{                                                                                          \
		.name = option_name, .type = option_type,                                          \
		.offset = offsetof(struct io_options, member), __VA_ARGS__                         \
	}

static const struct ob_prop io_options[] = {
	OPTION("read", OB_PROP_BOOL, read, .help = "read (what it does if nothing is said)"),
	OPTION("write", OB_PROP_BOOL, write, .help = "write: what is on the disk is lost"),
	OPTION("destroy", OB_PROP_BOOL, destroy, .help = EMPTY_DESTROY_HELP),
	OPTION("mix", OB_PROP_UINT32, mix, .min = 1, .max = 99,
               .help = "read and write at random: so many percent are reads"),
	OPTION("verify", OB_PROP_BOOL, verify,
               .help = "write blocks that say what they are, and check what is read"),
	OPTION("from", OB_PROP_STRING, from,
               .help = "write a file's bytes to the disk, one after the other; -: standard input"),
	OPTION("to", OB_PROP_STRING, to,
               .help = "read the disk into a file; -: standard output, and the report goes to "
                       "standard error"),
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
	OPTION("interrupts", OB_PROP_ENUM, interrupts, .choices = load_interrupt_names,
               .preset = "poll", .help = "how completions are noticed"),
	OPTION("doorbells", OB_PROP_ENUM, doorbells, .choices = load_doorbell_names,
               .preset = "auto", .help = "how the controller is told"),
	OPTION("json", OB_PROP_BOOL, json, .help = "print JSON, times in nanoseconds"),
	CONNECT_OPTIONS,
	{0},
};

static const char *workload(const struct io_options *options)
{
	return options->mix ? "mix" : options->write || options->from ? "write" : "read";
}

/* A copy takes each block once, in order, and nothing else. */
static int check_copy(const struct io_options *options, struct ob_error *err)
{
	const char *name = options->from ? "--from" : "--to";

	if (options->from && options->to)
		return ob_error_set(err, -EINVAL, "one of --from and --to expected");
	if (options->from ? options->read : options->write)
		return ob_error_set(err, -EINVAL, "%s %s the disk: --%s contradicts it", name,
		                    options->from ? "writes" : "reads",
		                    options->from ? "read" : "write");
	if (options->verify || options->random || options->mix || options->time)
		return ob_error_set(err, -EINVAL,
		                    "%s copies: it goes without --verify, --random, --mix and "
		                    "--time",
		                    name);
	return 0;
}

static int check(const struct io_options *options, uint64_t *nanoseconds, struct ob_error *err)
{
	char *end;
	double seconds;

	if (options->read + options->write + !!options->mix > 1)
		return ob_error_set(err, -EINVAL, "one of --read, --write and --mix expected");
	if ((options->from || options->to) && check_copy(options, err))
		return -EINVAL;
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

/* What is copied of space bytes of the disk, the last block in part. */
static int plan_copy(const struct io_options *options, uint64_t space, struct load *load,
                     struct ob_error *err)
{
	struct copy *copy = load->copy;
	uint64_t bound = options->count * options->block_size;

	if (options->from && space % load->nvme->block_size)
		return ob_error_set(err, -EINVAL,
		                    "size: a multiple of the disk's blocks of %u bytes expected",
		                    load->nvme->block_size);
	copy->cut = bound && bound < space;
	copy->limit = copy->cut ? bound : space;
	if (copy->size != UINT64_MAX && copy->size > copy->limit && !copy->cut)
		return ob_error_set(err, -EFBIG,
		                    "%s: %" PRIu64 " bytes are more than the %" PRIu64
		                    " that there is room for",
		                    copy->name, copy->size, copy->limit);
	if (copy->size < copy->limit)
		copy->limit = copy->size;
	load->plan.units = (copy->limit + options->block_size - 1) / options->block_size;
	load->plan.count = load->plan.units;
	copy->client = load->nvme->client;
	return 0;
}

static int make_plan(const struct io_options *options, struct load *load, struct ob_error *err)
{
	const struct nvme *nvme = load->nvme;
	struct load_plan *plan = &load->plan;
	uint64_t disk = nvme->blocks * nvme->block_size;
	uint64_t size = options->size;
	bool writes = options->write || options->from;

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
	plan->read_percent = options->mix ? options->mix : writes ? 0 : 100;
	plan->verify = options->verify;
	plan->random = options->random;
	plan->seed = options->seed;
	plan->first_unit = options->offset / options->block_size;
	plan->stuck_after = options->connect.timeout * UINT64_C(1000000);
	plan->progress = isatty(STDERR_FILENO);
	if (load->copy)
		return plan_copy(options, size, load, err);
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
	return 0;
}

/* What is written is what nobody misses. A sequential load may end before it has been everywhere.
 */
static int check_target(const struct io_options *options, struct load *load, const char *disk,
                        struct ob_error *err)
{
	const struct load_plan *plan = &load->plan;
	uint64_t units = plan->units;

	if (options->destroy || plan->read_percent == 100)
		return 0;
	if (!plan->random && plan->count < units)
		units = plan->count;
	return empty_check(load->nvme, plan,
	                   load->copy ? load->copy->limit : units * options->block_size, disk, err);
}

/* Results */

static double per_second(const struct load *load, uint64_t n)
{
	return load->elapsed ? (double)n * 1e9 / (double)load->elapsed : 0;
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *key, uint64_t number)
{
	json_object_object_add(object, key, json_object_new_uint64(number));
}

static void add_rates(struct json_object *object, const struct load *load, uint64_t count)
{
	json_add_figure(object, "iops", per_second(load, count), 1);
	json_add_figure(object, "mib_per_second",
	                per_second(load, count * load->nvme->config.slot_size) / 1048576, 3);
}

static void add_part(struct json_object *all, const struct load *load, const char *name,
                     const struct histogram *times)
{
	struct json_object *part;

	if (!times->count)
		return;
	part = json_object_new_object();
	add_rates(part, load, times->count);
	histogram_add_json(times, part);
	json_object_object_add(all, name, part);
}

static void print_json(const struct io_options *options, const struct load *load, FILE *out)
{
	struct json_object *all = json_object_new_object();

	add_text(all, "workload", workload(options));
	json_object_object_add(all, "random", json_object_new_boolean(options->random));
	add_number(all, "block_size", options->block_size);
	add_number(all, "depth", options->depth);
	add_number(all, "queues", options->queues);
	json_object_object_add(all, "shared_memory", json_object_new_boolean(!options->unshared));
	add_text(all, "doorbells", nvme_doorbells_name(load->nvme->doorbells));
	add_text(all, "interrupts", load_interrupt_names[options->interrupts]);
	json_add_figure(all, "seconds", (double)load->elapsed / 1e9, 6);
	add_rates(all, load, load->reads.count + load->writes.count);
	add_part(all, load, "read", &load->reads);
	add_part(all, load, "write", &load->writes);
	if (load->copy) {
		add_number(all, "copied_bytes", load->copy->bytes);
		add_number(all, "padded_bytes", load->copy->padded);
	}
	add_number(all, "failed_commands", load->failed);
	add_number(all, "verified_blocks", load->checked);
	add_number(all, "wrong_blocks", load->wrong);
	fprintf(out, "%s\n",
	        json_object_to_json_string_ext(all,
	                                       JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_PRETTY));
	json_object_put(all);
}

static void print_part(const struct load *load, const char *name, const struct histogram *times,
                       FILE *out)
{
	if (!times->count)
		return;
	fprintf(out, "%-6s %" PRIu64 " commands, %.0f IOPS, %.1f MiB/s\n       ", name,
	        times->count, per_second(load, times->count),
	        per_second(load, times->count * load->nvme->config.slot_size) / 1048576);
	histogram_print(times, out);
}

static void print_copy(const struct io_options *options, const struct copy *copy, FILE *out)
{
	fprintf(out, "copied %" PRIu64 " bytes %s %s", copy->bytes, options->from ? "from" : "to",
	        copy->name);
	if (copy->padded)
		fprintf(out, ", and %zu zeroes to fill the last block", copy->padded);
	fputc('\n', out);
}

static void print_table(const struct io_options *options, const struct load *load, FILE *out)
{
	fprintf(out,
	        "%s: %s %" PRIu64
	        " bytes, %s, depth %u, %u queue%s, memory %s, doorbells by %s, %s, "
	        "%.2f s\n",
	        load->nvme->model, workload(options), options->block_size,
	        options->random ? "random" : "sequential", options->depth, options->queues,
	        options->queues > 1 ? "s" : "", options->unshared ? "by message" : "shared",
	        nvme_doorbells_name(load->nvme->doorbells),
	        options->interrupts ? "interrupts by MSI-X" : "polled",
	        (double)load->elapsed / 1e9);
	print_part(load, "read", &load->reads, out);
	print_part(load, "write", &load->writes, out);
	if (load->copy)
		print_copy(options, load->copy, out);
	if (options->verify)
		fprintf(out, "verify %" PRIu64 " blocks, %" PRIu64 " wrong\n", load->checked,
		        load->wrong);
	if (load->failed)
		fprintf(out, "failed %" PRIu64 " commands\n", load->failed);
}

/* Not before all else is known to be right: what was in the file is lost. */
static int open_output(const struct io_options *options, struct copy *copy, struct ob_error *err)
{
	const struct copy plan = *copy;
	int rc = copy_open_output(copy, options->to, err);

	copy->limit = plan.limit;
	copy->client = plan.client;
	return rc;
}

static int run_load(const struct io_options *options, const char *disk, struct load *load,
                    struct ob_error *err)
{
	FILE *out = options->to && !strcmp(options->to, "-") ? stderr : stdout;
	int rc = make_plan(options, load, err);

	if (!rc)
		rc = check_target(options, load, disk, err);
	if (!rc && options->to)
		rc = open_output(options, load->copy, err);
	if (!rc)
		rc = load_prepare(load, err);
	if (!rc)
		rc = load_run(load, err);
	if (!rc && load->copy)
		rc = copy_end(load->copy, err);
	if (!rc && options->json)
		print_json(options, load, out);
	else if (!rc)
		print_table(options, load, out);
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
	struct copy copy = {.fd = -1, .size = UINT64_MAX};
	struct load load = {.copy = options->from || options->to ? &copy : NULL};
	int rc = check(options, &load.plan.nanoseconds, err);

	if (!rc && options->from)
		rc = copy_open_input(&copy, options->from, err);
	if (!rc)
		rc = connect_to(words[0], &options->connect, false, &client, err);
	if (!rc)
		rc = nvme_open(client, &config, &load.nvme, err);
	if (!rc)
		rc = run_load(options, words[0], &load, err);
	nvme_close(load.nvme);
	copy_end(&copy, NULL);
	return rc;
}

const struct command command_nvme_io = {
	.name = "nvme-io",
	.words = "SOCKET",
	.word_count = 1,
	.summary = "Reads, writes, verifies and measures an NVMe disk",
	.details =
		"Drives the disk itself, so nothing else may be using it. --write, --mix and "
		"--from "
		"overwrite what it\nholds: they need --destroy, or find zeroes wherever they would "
		"write. With --verify, each "
		"block that is\nwritten carries its number, how often it was written, and a "
		"checksum; all of them are read back\nat the end. --read --verify checks what an "
		"earlier --write --verify with the same --seed "
		"left.\n--from and --to copy a file to the disk, or the disk to a file, in "
		"commands "
		"of --block-size\nbytes. --size, --offset and --count say how much.\n",
	.options = io_options,
	.options_size = sizeof(struct io_options),
	.run = run_nvme_io,
};

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * obctl top: what devices do right now, as a page that is drawn again and again; without a
 * terminal, as one table after another. Rates are differences between two inventories.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "obctl/inventory.h"
#include "obctl/screen.h"
#include "obctl/table.h"

enum sort { SORT_IOPS, SORT_BYTES, SORT_LATENCY, SORT_MESSAGES, SORT_DEVICE };
static const char *const sorts[] = {"iops", "bytes", "latency", "messages", "device", NULL};

struct top_options {
	struct monitor_options monitor;
	uint32_t number, sort;
	char *delay;
};

static const struct ob_prop top_options[] = {
	MONITOR_OPTIONS,
	{.name = "number",
         .type = OB_PROP_UINT32,
         .offset = offsetof(struct top_options, number),
         .help = "end after so many intervals; 0: do not end"},
	{.name = "delay",
         .type = OB_PROP_STRING,
         .offset = offsetof(struct top_options, delay),
         .help = "seconds between two looks, 0.1 to 3600 (default: 1)"},
	{.name = "order",
         .type = OB_PROP_ENUM,
         .offset = offsetof(struct top_options, sort),
         .choices = sorts,
         .preset = "iops",
         .help = "what to sort by, the most first"},
	{0},
};

/* What is known at a moment. */
struct sample {
	uint64_t ns;
	double cpu;      /* seconds that the process has used; < 0: not known */
	uint64_t memory; /* bytes that are resident */
	bool running;
	struct inventory inventory;
};

/* What disks did between two moments, by the second. */
struct disk_rates {
	double iops, read, write;
	double io_ns; /* each, on average */
};

/* And what a device did. */
struct rates {
	const struct inventory_row *row;
	struct disk_rates disks; /* all of them together */
	double messages;
	double message_ns; /* each, on average */
};

struct top {
	const struct top_options *options;
	struct qmp *qmp;
	enum sort sort;
	int delay_ms;
	struct sample before, now;
	struct rates *rates;
	size_t count;
};

/* Sampling */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Fields of /proc/PID/stat, counted from 1 as in proc(5). */
enum { STAT_STATE = 3, STAT_UTIME = 14, STAT_STIME = 15, STAT_RSS = 24 };

/* text: behind the name, which may hold anything. 0: there is no such field. */
static uint64_t stat_field(const char *text, unsigned field)
{
	for (unsigned at = STAT_STATE; at < field && *text; at++) {
		text += strspn(text, " ");
		text += strcspn(text, " ");
	}
	return strtoull(text, NULL, 10);
}

/* From /proc, if the process is where we can see it. */
static void look_at_process(pid_t pid, struct sample *sample)
{
	char path[64], text[1024];
	const char *rest;
	size_t length;
	FILE *file;

	sample->cpu = -1;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = pid > 0 ? fopen(path, "re") : NULL;
	if (!file)
		return;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	rest = strrchr(text, ')');
	if (!rest)
		return;
	sample->cpu =
		(double)(stat_field(rest + 1, STAT_UTIME) + stat_field(rest + 1, STAT_STIME)) /
		(double)sysconf(_SC_CLK_TCK);
	sample->memory = stat_field(rest + 1, STAT_RSS) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int take_sample(struct top *top, struct ob_error *err)
{
	cleanup_json struct json_object *status = NULL;
	int rc;

	inventory_free(&top->before.inventory);
	top->before = top->now;
	top->now = (struct sample){.cpu = -1};
	rc = inventory_fetch(&top->now.inventory, top->qmp, err);
	if (!rc)
		rc = qmp_call(top->qmp, "query-status", NULL, &status, err);
	top->now.ns = now_ns();
	top->now.running = json_flag(status, "running");
	look_at_process(qmp_server_pid(top->qmp), &top->now);
	return rc;
}

/* Counters begin again at 0 when a device or a client is another one. */
static double rate(uint64_t before, uint64_t now, double seconds)
{
	return now > before ? (double)(now - before) / seconds : 0;
}

/* What each of so many took; 0: there were none. */
static double mean(uint64_t before, uint64_t now, double count)
{
	return count > 0 ? rate(before, now, 1) / count : 0;
}

static struct disk_rates disk_rates_of(const struct disk_counts *was, const struct disk_counts *now,
                                       double seconds)
{
	struct disk_rates rates = {
		.iops = rate(was->reads + was->writes, now->reads + now->writes, seconds),
		.read = rate(was->read_bytes, now->read_bytes, seconds),
		.write = rate(was->write_bytes, now->write_bytes, seconds),
	};

	rates.io_ns = mean(was->read_ns + was->write_ns, now->read_ns + now->write_ns,
	                   rates.iops * seconds);
	return rates;
}

/* was: the same device at the moment before; NULL: it was not there, or there was none. */
static struct rates rates_of(const struct inventory_row *was, const struct inventory_row *row,
                             double seconds)
{
	struct client_counts client = client_counts(row->client), before = {0};
	struct rates rates = {.row = row};

	if (!was)
		return rates;
	if (json_number(row->client, "since") == json_number(was->client, "since"))
		before = client_counts(was->client);
	rates.disks = disk_rates_of(&was->counts, &row->counts, seconds);
	rates.messages = rate(before.messages, client.messages, seconds);
	rates.message_ns =
		mean(before.total_ns, client.total_ns, rate(before.timed, client.timed, 1));
	return rates;
}

static double weight(const struct rates *rates, enum sort sort)
{
	switch (sort) {
	case SORT_IOPS:
		return rates->disks.iops;
	case SORT_BYTES:
		return rates->disks.read + rates->disks.write;
	case SORT_MESSAGES:
		return rates->messages;
	case SORT_LATENCY:
		return rates->disks.io_ns;
	case SORT_DEVICE:
	default:
		return 0;
	}
}

/* The most first; among equals, by name, which is the order they come in. */
static int compare(const void *a, const void *b, void *context)
{
	const struct rates *one = a, *other = b;
	enum sort sort = *(enum sort *)context;
	double difference = weight(other, sort) - weight(one, sort);

	if (difference != 0)
		return difference > 0 ? 1 : -1;
	return strcmp(one->row->id, other->row->id);
}

static int work_out(struct top *top, struct ob_error *err)
{
	const struct inventory *now = &top->now.inventory;
	double seconds = (double)(top->now.ns - top->before.ns) / 1e9;

	free(top->rates);
	top->count = 0;
	top->rates = calloc(now->count + 1, sizeof(*top->rates));
	if (!top->rates)
		return ob_error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < now->count; i++) {
		const struct inventory_row *row = &now->rows[i];

		/* Roots do nothing. */
		if (row->pci)
			top->rates[top->count++] = rates_of(
				inventory_find(&top->before.inventory, row->id), row, seconds);
	}
	qsort_r(top->rates, top->count, sizeof(*top->rates), compare, &top->sort);
	return 0;
}

/* Printing */

/* In percent of one processor; < 0: not known. */
static double cpu_share(const struct top *top)
{
	double seconds = (double)(top->now.ns - top->before.ns) / 1e9;

	if (top->now.cpu < 0 || top->before.cpu < 0)
		return -1;
	return (top->now.cpu - top->before.cpu) / seconds * 100;
}

struct totals {
	unsigned clients;
	double iops, read, write;
};

static struct totals add_up(const struct top *top)
{
	struct totals totals = {0};

	for (size_t i = 0; i < top->count; i++) {
		totals.clients += top->rates[i].row->client != NULL;
		totals.iops += top->rates[i].disks.iops;
		totals.read += top->rates[i].disks.read;
		totals.write += top->rates[i].disks.write;
	}
	return totals;
}

static void print_summary(const struct top *top, FILE *out)
{
	struct totals totals = add_up(top);
	char iops[SIZE_TEXT], read[SIZE_TEXT], written[SIZE_TEXT], memory[SIZE_TEXT], cpu[32] = "?";

	if (cpu_share(top) >= 0)
		snprintf(cpu, sizeof(cpu), "%.1f %%", cpu_share(top));
	fprintf(out, "outboard, pid %d, %s: CPU %s, memory %s\n", (int)qmp_server_pid(top->qmp),
	        top->now.running ? "running" : "stopped", cpu, size_text(top->now.memory, memory));
	fprintf(out, "%zu device%s, %u client%s: %s IOPS, %s/s read, %s/s written\n", top->count,
	        top->count == 1 ? "" : "s", totals.clients, totals.clients == 1 ? "" : "s",
	        count_text(totals.iops, iops), size_text((uint64_t)totals.read, read),
	        size_text((uint64_t)totals.write, written));
}

static void print_disk_rates(struct table *table, const struct disk_rates *rates,
                             uint64_t in_flight)
{
	char text[SIZE_TEXT];

	table_cell(table, "%s", count_text(rates->iops, text));
	table_cell(table, "%s", size_text((uint64_t)rates->read, text));
	table_cell(table, "%s", size_text((uint64_t)rates->write, text));
	table_cell(table, "%" PRIu64, in_flight);
	table_cell(table, "%s", time_text(rates->io_ns, text));
}

static struct disk_rates rates_of_disk(const struct top *top, const struct inventory_disk *disk)
{
	const struct inventory_disk *was = inventory_find_disk(&top->before.inventory, disk->node);
	double seconds = (double)(top->now.ns - top->before.ns) / 1e9;

	if (!was || strcmp(was->device, disk->device) != 0)
		return (struct disk_rates){0};
	return disk_rates_of(&was->counts, &disk->counts, seconds);
}

/* The disks of a device that has several, a line for each below its own. */
static void print_disks(const struct top *top, struct table *table, const struct inventory_row *row)
{
	const struct inventory *inventory = &top->now.inventory;

	for (size_t i = 0; row->disks > 1 && i < inventory->disk_count; i++) {
		const struct inventory_disk *disk = &inventory->disks[i];
		struct disk_rates rates;

		if (strcmp(disk->device, row->id) != 0)
			continue;
		rates = rates_of_disk(top, disk);
		table_cell(table, "  %s", disk->node);
		table_cell(table, " ");
		table_cell(table, " ");
		print_disk_rates(table, &rates, disk->counts.in_flight);
		for (unsigned at = 0; at < 3; at++)
			table_cell(table, " ");
	}
}

/* characters: of a line; 0: any number. */
static int print_table(const struct top *top, unsigned characters, FILE *out)
{
	enum {
		DEVICE,
		MODEL,
		CLIENT,
		IOPS,
		READ,
		WRITTEN,
		IN_FLIGHT,
		LATENCY,
		MESSAGES,
		EACH,
		SERVER
	};
	static const char *const heads[] = {"DEVICE",      "MODEL",      ">CLIENT",    ">IOPS",
	                                    ">READ/s",     ">WRITTEN/s", ">IN FLIGHT", ">LATENCY",
	                                    ">MESSAGES/s", ">TIME EACH", "SERVER",     NULL};
	static const uint8_t expendable[] = {SERVER, EACH,      MESSAGES,     MODEL,
	                                     CLIENT, IN_FLIGHT, LATENCY,      WRITTEN,
	                                     READ,   IOPS,      TABLE_COLUMNS};
	struct table table;
	char text[SIZE_TEXT];

	table_begin(&table, heads);
	table_fit(&table, characters, expendable);
	for (size_t i = 0; i < top->count; i++) {
		const struct rates *rates = &top->rates[i];
		const struct inventory_row *row = rates->row;

		table_cell(&table, "%s", row->id);
		table_cell(&table, "%s", row->type);
		if (row->client)
			table_cell(&table, "%" PRIu64, json_number(row->client, "pid"));
		else
			table_cell(&table, "-");
		print_disk_rates(&table, &rates->disks, row->counts.in_flight);
		table_cell(&table, "%s", count_text(rates->messages, text));
		table_cell(&table, "%s", time_text(rates->message_ns, text));
		table_cell(&table, "%s", json_text(row->server, "id"));
		print_disks(top, &table, row);
	}
	return table_end(&table, out);
}

static void add_number(struct json_object *object, const char *key, double value)
{
	json_object_object_add(object, key, json_object_new_uint64((uint64_t)(value + 0.5)));
}

static void add_disk_numbers(struct json_object *object, const struct disk_rates *rates,
                             uint64_t in_flight)
{
	add_number(object, "iops", rates->iops);
	add_number(object, "read-bytes-per-second", rates->read);
	add_number(object, "write-bytes-per-second", rates->write);
	add_number(object, "in-flight", (double)in_flight);
	add_number(object, "mean-io-ns", rates->io_ns);
}

static struct json_object *disks_json(const struct top *top, const struct inventory_row *row)
{
	const struct inventory *inventory = &top->now.inventory;
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < inventory->disk_count; i++) {
		const struct inventory_disk *disk = &inventory->disks[i];
		struct disk_rates rates;
		struct json_object *object;

		if (strcmp(disk->device, row->id) != 0)
			continue;
		rates = rates_of_disk(top, disk);
		object = json_object_new_object();
		json_add_text(object, "node-name", disk->node);
		add_disk_numbers(object, &rates, disk->counts.in_flight);
		json_object_array_add(list, object);
	}
	return list;
}

static void print_top_json(const struct top *top)
{
	cleanup_json struct json_object *all = json_object_new_object();
	struct json_object *devices = json_object_new_array();

	json_object_object_add(all, "pid", json_object_new_int(qmp_server_pid(top->qmp)));
	json_object_object_add(all, "running", json_object_new_boolean(top->now.running));
	if (cpu_share(top) >= 0)
		json_object_object_add(all, "cpu-percent", json_object_new_double(cpu_share(top)));
	json_object_object_add(all, "memory", json_object_new_uint64(top->now.memory));
	json_object_object_add(all, "devices", devices);
	for (size_t i = 0; i < top->count; i++) {
		const struct rates *rates = &top->rates[i];
		struct json_object *device = json_object_new_object();

		json_add_text(device, "id", rates->row->id);
		json_add_text(device, "type", rates->row->type);
		if (rates->row->client)
			add_number(device, "client-pid",
			           (double)json_number(rates->row->client, "pid"));
		add_disk_numbers(device, &rates->disks, rates->row->counts.in_flight);
		add_number(device, "messages-per-second", rates->messages);
		add_number(device, "mean-message-ns", rates->message_ns);
		if (rates->row->disks)
			json_object_object_add(device, "disks", disks_json(top, rates->row));
		json_object_array_add(devices, device);
	}
	print_json(all, false);
}

static int print_plainly(const struct top *top, struct ob_error *err)
{
	if (top->options->monitor.json) {
		print_top_json(top);
	} else {
		print_summary(top, stdout);
		if (print_table(top, 0, stdout))
			return ob_error_set(err, -ENOMEM, "out of memory");
		putchar('\n');
	}
	return fflush(stdout) ? -errno : 0;
}

static int run_plainly(struct top *top, struct ob_error *err)
{
	const struct timespec delay = {.tv_sec = top->delay_ms / 1000,
	                               .tv_nsec = top->delay_ms % 1000 * 1000000L};
	uint32_t number = top->options->number;
	int rc = take_sample(top, err);

	for (uint32_t i = 0; !rc && (!number || i < number); i++) {
		nanosleep(&delay, NULL);
		rc = take_sample(top, err);
		if (!rc)
			rc = work_out(top, err);
		if (!rc)
			rc = print_plainly(top, err);
	}
	return rc;
}

/* The page */

enum { HEAD_LINE = 3 };

static void print_keys(const struct top *top, unsigned characters, FILE *out)
{
	static const char all[] = "sort by i(ops) b(ytes) l(atency) m(essages) d(evice), q(uit)";

	if (characters >= sizeof(all) + strlen("by messages; "))
		fprintf(out, "by %s; %s\n", sorts[top->sort], all);
	else
		fprintf(out, "keys i b l m d q; by %s\n", sorts[top->sort]);
}

static int draw(const struct top *top, const struct screen *screen, struct ob_error *err)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int rc;

	if (!out)
		return ob_error_set(err, -ENOMEM, "out of memory");
	print_summary(top, out);
	print_keys(top, screen->columns, out);
	rc = print_table(top, screen->columns, out);
	if (fclose(out) || rc)
		rc = ob_error_set(err, -ENOMEM, "out of memory");
	else
		screen_draw(screen, text, HEAD_LINE);
	free(text);
	return rc;
}

/* Whether to go on. */
static bool take_key(struct top *top, char key)
{
	static const char keys[] = "iblmd"; /* as enum sort */
	const char *at = key ? strchr(keys, key) : NULL;

	if (at)
		top->sort = (enum sort)(at - keys);
	return key != 'q' && key != 'Q';
}

/* Until it is time for the next look. 0: it is; 1: to leave. */
static int show(struct top *top, struct screen *screen, struct ob_error *err)
{
	uint64_t end = top->now.ns + (uint64_t)top->delay_ms * 1000000;
	int rc = work_out(top, err);

	if (!rc)
		rc = draw(top, screen, err);
	while (!rc && now_ns() < end) {
		uint64_t left = (end - now_ns()) / 1000000 + 1;
		char key = '\0';

		switch (screen_wait(screen, (int)left, &key)) {
		case SCREEN_LEAVE:
			return 1;
		case SCREEN_KEY:
			if (!take_key(top, key))
				return 1;
			qsort_r(top->rates, top->count, sizeof(*top->rates), compare, &top->sort);
			rc = draw(top, screen, err);
			break;
		case SCREEN_RESIZED:
			rc = draw(top, screen, err);
			break;
		case SCREEN_TIMEOUT:
		default:
			break;
		}
	}
	return rc;
}

static int run_page(struct top *top, struct ob_error *err)
{
	uint32_t number = top->options->number;
	struct screen screen;
	int rc = screen_begin(&screen, err);

	if (!rc)
		rc = take_sample(top, err);
	/* The first page shows what there is; rates come with the second. */
	for (uint32_t i = 0; !rc && (!number || i <= number); i++) {
		rc = show(top, &screen, err);
		if (!rc)
			rc = take_sample(top, err);
	}
	screen_end(&screen);
	return rc < 0 ? rc : 0;
}

static int parse_delay(const char *text, int *ms, struct ob_error *err)
{
	char *end;
	double seconds = text ? strtod(text, &end) : 1;

	if (text && (*end || end == text || !(seconds >= 0.1 && seconds <= 3600)))
		return ob_error_set(err, -EINVAL, "--delay=%s: seconds expected, from 0.1 to 3600",
		                    text);
	*ms = (int)(seconds * 1000);
	return 0;
}

static int run_top(const char *const *words, const void *options, struct ob_error *err)
{
	struct top top = {.options = options, .now.cpu = -1};
	int rc = parse_delay(top.options->delay, &top.delay_ms, err);

	top.sort = (enum sort)top.options->sort;
	if (!rc)
		rc = monitor_connect(&top.options->monitor, &top.qmp, err);
	if (!rc && screen_is_there() && !top.options->monitor.json)
		rc = run_page(&top, err);
	else if (!rc)
		rc = run_plainly(&top, err);
	free(top.rates);
	inventory_free(&top.before.inventory);
	inventory_free(&top.now.inventory);
	qmp_free(top.qmp);
	return rc;
}

const struct command command_top = {
	.name = "top",
	.words = "",
	.summary = "Shows what devices do right now",
	.details =
		"A page in the terminal, or without one a table for each interval. Keys: i, b, l, "
		"m, d sort by\ncommands, bytes, latency, messages, name; q leaves. Columns that "
		"the terminal has no room for\nare left out. A device with several disks has a "
		"line for each below its own. Rates are those "
		"of the\nlast interval. LATENCY is that of a disk's reads and writes, TIME EACH "
		"what "
		"the server itself\nneeded for a message, both on average.\n",
	.options = top_options,
	.options_size = sizeof(struct top_options),
	.monitor = true,
	.run = run_top,
};

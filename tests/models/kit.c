/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver kit (kit.h). Guest memory by messages is played by a task that answers what was asked
 * since the last turn, in an order that changes, and often only a part of it.
 */
#include "kit.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/list.h"
#include "line.h"
#include "migrate/migrate.h"

enum { SETTLE_TURNS = 200, KIT_STREAM = 4 << 20 };

uint32_t kit_random(struct kit *kit, uint32_t below)
{
	kit->random ^= kit->random << 13;
	kit->random ^= kit->random >> 7;
	kit->random ^= kit->random << 17;
	return (uint32_t)((kit->random >> 16) % below);
}

/* Drives */

static int do_request(struct kit_drive *drive, struct ob_block_request *request)
{
	uint64_t bad = drive->fail_offset, offset = request->offset, length = request->length;

	if (drive->fail[request->op] &&
	    (bad == UINT64_MAX || (bad >= offset && bad - offset < request->length)))
		return drive->fail[request->op];
	if (drive->partly && request->flags & OB_BLOCK_PARTLY)
		request->left = length / 2 & ~UINT64_C(511);
	if (!drive->data)
		return 0;
	if (request->op == OB_BLOCK_WRITE_ZEROES || request->op == OB_BLOCK_DISCARD)
		memset(drive->data + offset, 0, length - request->left);
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
	struct kit_drive *drive = container_of(task, struct kit_drive, finish);
	struct ob_block_request *held = drive->held;

	drive->held = NULL;
	while (held) {
		struct ob_block_request *next = held->next;

		block_complete(held, do_request(drive, held));
		held = next;
	}
}

static int drive_submit(struct ob_block *block, struct ob_block_request *request)
{
	struct kit_drive *drive = (struct kit_drive *)block;

	if (drive->call_count < KIT_CALLS)
		drive->calls[drive->call_count++] = (struct kit_call){
			request->op, request->flags, request->offset, request->length};
	if (!drive->hold && !drive->later)
		return do_request(drive, request);
	request->next = drive->held;
	drive->held = request;
	if (!drive->hold)
		ob_task_schedule(block->loop, &drive->finish);
	return -EINPROGRESS;
}

static const struct block_driver kit_driver = {.name = "kit", .submit = drive_submit};

struct kit_drive *kit_add_drive(struct kit *kit, const char *name, uint64_t size)
{
	struct kit_drive *drive = &kit->drives[kit->drive_count++];

	drive->data = size <= KIT_KEPT ? calloc(1, size) : NULL;
	drive->finish.run = finish;
	drive->fail_offset = UINT64_MAX;
	drive->block.driver = &kit_driver;
	drive->block.loop = kit->loop;
	drive->block.info = (struct ob_block_info){.size = size,
	                                           .size_given = true,
	                                           .block_size = 512,
	                                           .optimal_io = 4096,
	                                           .discard = true,
	                                           .discard_zeroes = true,
	                                           .volatile_cache = true};
	snprintf(drive->block.name, sizeof(drive->block.name), "%s", name);
	return drive;
}

void kit_drive_release(struct kit *kit, struct kit_drive *drive)
{
	drive->hold = false;
	ob_task_schedule(kit->loop, &drive->finish);
}

unsigned kit_drive_count(const struct kit_drive *drive, enum ob_block_op op)
{
	unsigned count = 0;

	for (unsigned i = 0; i < drive->call_count; i++)
		count += drive->calls[i].op == op;
	return count;
}

unsigned kit_drive_held(const struct kit_drive *drive)
{
	unsigned count = 0;

	for (const struct ob_block_request *at = drive->held; at; at = at->next)
		count++;
	return count;
}

static struct ob_block *claim(void *context, const char *name, const char *user,
                              struct ob_error *err)
{
	struct kit *kit = context;

	for (unsigned i = 0; i < kit->drive_count; i++) {
		if (!strcmp(kit->drives[i].block.name, name))
			return &kit->drives[i].block;
	}
	ob_error_set(err, -ENOENT, "no node %s", name);
	return NULL;
}

static void release(void *context, struct ob_block *block, const char *user)
{
}

/* Guest memory by messages */

static void answer_one(struct kit *kit, unsigned index)
{
	struct ob_dma_op *op = kit->asked[index];
	uint8_t *memory = kit_at(kit, op->address + op->transferred);
	uint8_t *buffer = (uint8_t *)op->buffer + op->transferred;

	kit->asked[index] = kit->asked[--kit->asked_count];
	kit->answered++;
	if (op->write)
		memcpy(memory, buffer, op->piece);
	else
		memcpy(buffer, memory, op->piece);
	dma_op_finish(device_dma(kit->dev), op, 0);
}

static bool is_held(const struct kit *kit, const struct ob_dma_op *op)
{
	uint64_t address = op->address + op->transferred;

	return kit->hold_dma && (!kit->hold_length || (address < kit->hold_at + kit->hold_length &&
	                                               address + op->piece > kit->hold_at));
}

static void answer(struct ob_task *task)
{
	struct kit *kit = container_of(task, struct kit, answer);
	unsigned count = kit->asked_count;

	while (count-- && kit->asked_count) {
		unsigned index = kit_random(kit, kit->asked_count);

		if (!is_held(kit, kit->asked[index]))
			answer_one(kit, index);
	}
	if (kit->asked_count)
		ob_task_schedule(kit->loop, &kit->answer);
}

static int remote_start(struct dma_remote *remote, struct ob_dma_op *op)
{
	struct kit *kit = container_of(remote, struct kit, remote);

	assert_true(kit->asked_count < KIT_ASKED);
	if (op->piece > 256 && kit_random(kit, 4) == 0)
		op->piece = 1 + kit_random(kit, (uint32_t)op->piece);
	kit->asked[kit->asked_count++] = op;
	ob_task_schedule(kit->loop, &kit->answer);
	return -EINPROGRESS;
}

static void remote_cancel(struct dma_remote *remote, struct ob_dma_op *op)
{
	struct kit *kit = container_of(remote, struct kit, remote);

	for (unsigned i = 0; i < kit->asked_count; i++) {
		if (kit->asked[i] == op) {
			kit->asked[i] = kit->asked[--kit->asked_count];
			return;
		}
	}
	fail_msg("an operation was cancelled that was not under way");
}

/* The kit */

static bool signal_counted(struct pci_irq_sink *sink, enum pci_irq kind, unsigned vector)
{
	struct kit *kit = container_of(sink, struct kit, sink);

	assert_true(vector < KIT_VECTORS);
	kit->signals[kind][vector]++;
	return true;
}

struct kit *kit_new(enum kit_mode mode)
{
	struct kit *kit = calloc(1, sizeof(*kit));

	kit->mode = mode;
	kit->random = 88172645463325252u;
	kit->log.fd = getenv("KIT_LOG") ? STDERR_FILENO : -1;
	kit->log.level = LOG_DEBUG;
	kit->loop = loop_new();
	loop_set_share(kit->loop, UINT64_MAX);
	kit->next = KIT_BASE + 4096;
	kit->answer.run = answer;
	kit->remote.start = remote_start;
	kit->remote.cancel = remote_cancel;
	kit->sink.signal = signal_counted;
	return kit;
}

static void make_memory(struct kit *kit)
{
	kit->fd = memfd_create("guest", MFD_CLOEXEC);
	assert_int_equal(ftruncate(kit->fd, (off_t)KIT_MEMORY), 0);
	kit->memory = mmap(NULL, KIT_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, kit->fd, 0);
	dma_set_remote(device_dma(kit->dev), &kit->remote);
}

void kit_map(struct kit *kit)
{
	int fd = kit->mode == KIT_SHARED ? dup(kit->fd) : -1;

	kit->is_unmapped = false;
	assert_int_equal(dma_map(device_dma(kit->dev), KIT_BASE, KIT_MEMORY,
	                         DMA_READABLE | DMA_WRITEABLE, fd, 0),
	                 0);
}

static void unmapped(struct dma_waiter *waiter)
{
	container_of(waiter, struct kit, unmapped)->is_unmapped = true;
}

void kit_unmap(struct kit *kit)
{
	kit->unmapped.done = unmapped;
	if (!dma_unmap_all(device_dma(kit->dev), &kit->unmapped))
		kit->is_unmapped = true;
}

static void on_block_error(void *context, struct ob_dev *dev, const struct device_error *error)
{
	struct kit *kit = context;

	kit->errors++;
	kit->last_error = *error;
}

static struct ob_chardev *claim_line(void *context, const char *id, const char *user,
                                     struct ob_error *err)
{
	struct kit *kit = context;

	assert_true(kit->line_count < KIT_LINES);
	kit->lines[kit->line_count] = line_new(kit->loop, &kit->log);
	return kit->lines[kit->line_count++];
}

static void release_line(void *context, struct ob_chardev *line, const char *user)
{
}

struct ob_chardev *kit_line(struct kit *kit)
{
	return kit->line_count ? kit->lines[kit->line_count - 1] : NULL;
}

bool kit_try_start(struct kit *kit, const char *model, const char *options, struct ob_error *err)
{
	const struct device_env env = {.loop = kit->loop,
	                               .log = &kit->log,
	                               .claim_block = claim,
	                               .release_block = release,
	                               .block_error = on_block_error,
	                               .claim_chardev = claim_line,
	                               .release_chardev = release_line,
	                               .context = kit};
	cleanup_opts struct opts opts = {0};

	if (opts_parse(&opts, options, NULL, err))
		return false;
	kit->dev = device_new(device_model_find(model), "kit", &env, &opts, err);
	if (!kit->dev)
		return false;
	if (opts_refuse_rest(&opts, model, err)) {
		device_free(kit->dev);
		kit->dev = NULL;
		return false;
	}
	device_client_came(kit->dev);
	make_memory(kit);
	kit_map(kit);
	pci_irq_set_sink(device_pci(kit->dev), &kit->sink);
	snprintf(kit->model, sizeof(kit->model), "%s", model);
	snprintf(kit->options, sizeof(kit->options), "%s", options);
	return true;
}

void kit_start(struct kit *kit, const char *model, const char *options)
{
	struct ob_error err = {""};

	if (!kit_try_start(kit, model, options, &err))
		fail_msg("%s", err.message);
}

static void quiesced(struct device_hold *hold)
{
	(void)hold;
}

bool kit_quiesce(struct kit *kit)
{
	struct device_hold *hold = &kit->holds[kit->held++];

	hold->done = quiesced;
	if (!device_hold(kit->dev, hold, DEVICE_HOLD_RESET))
		return true;
	for (unsigned i = 0; i < SETTLE_TURNS; i++) {
		kit_turn(kit);
		if (!hold->waiting)
			return true;
	}
	kit_resume(kit);
	return false;
}

void kit_resume(struct kit *kit)
{
	device_release(kit->dev, &kit->holds[--kit->held]);
}

void kit_reset(struct kit *kit)
{
	assert_true(kit_quiesce(kit));
	device_reset(kit->dev);
	kit_resume(kit);
}

void kit_stop(struct kit *kit)
{
	struct dma_space *dma = device_dma(kit->dev);

	for (unsigned i = 0; i < kit->drive_count; i++)
		kit_drive_release(kit, &kit->drives[i]);
	assert_true(kit_quiesce(kit));
	assert_int_equal(kit->asked_count, 0);
	pci_irq_set_sink(device_pci(kit->dev), NULL);
	dma_set_remote(dma, NULL);
	/* Nothing may be pinned in a quiet device. */
	assert_int_equal(dma_unmap_all(dma, NULL), 0);
	device_free(kit->dev);
	kit->dev = NULL;
	kit->held = 0;
	munmap(kit->memory, KIT_MEMORY);
	close(kit->fd);
}

/* Moving to another device */

static void arrived(struct migrate_waiter *waiter, int status)
{
	waiter->done = NULL;
	assert_int_equal(status, 0);
}

static void go_to(struct kit *kit, unsigned state)
{
	struct migration *migration = migrate_of(kit->dev);
	struct migrate_waiter waiter = {.done = arrived};
	int rc = migrate_set_state(migration, state, &waiter);

	for (unsigned i = 0; rc == -EINPROGRESS && waiter.done && i < SETTLE_TURNS; i++)
		kit_turn(kit);
	if (rc && rc != -EINPROGRESS)
		fail_msg("%s", migrate_why(migration));
	assert_int_equal(migrate_state(migration), state);
}

static struct ob_dev *another(struct kit *kit)
{
	const struct device_env env = {.loop = kit->loop,
	                               .log = &kit->log,
	                               .claim_block = claim,
	                               .release_block = release,
	                               .block_error = on_block_error,
	                               .claim_chardev = claim_line,
	                               .release_chardev = release_line,
	                               .context = kit};
	cleanup_opts struct opts opts = {0};
	struct ob_error err = {""};
	struct ob_dev *dev;

	assert_int_equal(opts_parse(&opts, kit->options, NULL, &err), 0);
	dev = device_new(device_model_find(kit->model), "kit", &env, &opts, &err);
	if (!dev)
		fail_msg("%s", err.message);
	device_client_came(dev);
	return dev;
}

static void connect_client(struct kit *kit)
{
	struct pci *pci = device_pci(kit->dev);

	pci_irq_set_sink(pci, &kit->sink);
	pci_irq_wire(pci, PCI_IRQ_INTX, 0, kit->wired_pin);
	for (unsigned i = 0; i < kit->wired; i++)
		pci_irq_wire(pci, PCI_IRQ_MSIX, i, true);
}

uint8_t *kit_save(struct kit *kit, size_t *size)
{
	uint8_t *stream = malloc(KIT_STREAM);
	ssize_t got;

	for (unsigned i = 0; i < kit->drive_count; i++)
		kit_drive_release(kit, &kit->drives[i]);
	go_to(kit, MIGRATE_STOP_COPY);
	got = migrate_read(migrate_of(kit->dev), stream, KIT_STREAM);
	assert_in_range(got, 500, KIT_STREAM - 1);
	assert_int_equal(kit->asked_count, 0);
	*size = (size_t)got;
	return stream;
}

static void replace_device(struct kit *kit)
{
	bool was_mapped = dma_map_count(device_dma(kit->dev)) > 0;

	pci_irq_set_sink(device_pci(kit->dev), NULL);
	dma_set_remote(device_dma(kit->dev), NULL);
	assert_int_equal(dma_unmap_all(device_dma(kit->dev), NULL), 0);
	device_free(kit->dev);
	kit->dev = another(kit);
	for (unsigned i = 0; i < kit->drive_count; i++)
		assert_int_equal(block_activate(&kit->drives[i].block, NULL), 0);
	dma_set_remote(device_dma(kit->dev), &kit->remote);
	if (was_mapped)
		kit_map(kit);
}

/* The device refuses what it is to load, and works once it was reset. */
static void recover(struct kit *kit)
{
	assert_int_equal(migrate_state(migrate_of(kit->dev)), MIGRATE_ERROR);
	assert_true(kit_quiesce(kit));
	device_reset(kit->dev);
	(void)migrate_reset(migrate_of(kit->dev), NULL);
	kit_resume(kit);
	assert_int_equal(migrate_state(migrate_of(kit->dev)), MIGRATE_RUNNING);
}

const char *kit_load(struct kit *kit, const uint8_t *stream, size_t size)
{
	struct migration *migration;
	bool early = kit_random(kit, 2);

	replace_device(kit);
	migration = migrate_of(kit->dev);
	/* A client may set up interrupts before or after. */
	if (early)
		connect_client(kit);
	go_to(kit, MIGRATE_RESUMING);
	migrate_write(migration, stream, size);
	if (migrate_set_state(migration, MIGRATE_STOP, NULL)) {
		snprintf(kit->why, sizeof(kit->why), "%s", migrate_why(migration));
		recover(kit);
		return kit->why;
	}
	if (!early)
		connect_client(kit);
	go_to(kit, MIGRATE_RUNNING);
	return NULL;
}

void kit_migrate(struct kit *kit)
{
	size_t size;
	cleanup_free uint8_t *stream = kit_save(kit, &size);
	const char *why = kit_load(kit, stream, size);

	if (why)
		fail_msg("%s", why);
}

bool kit_read_stream(const char *name, uint8_t *stream, size_t room, size_t *size)
{
	char path[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", MIGRATION_DATA, name);
	file = fopen(path, "rb");
	if (!file)
		return false;
	*size = fread(stream, 1, room, file);
	assert_in_range(*size, 1, room - 1);
	fclose(file);
	return true;
}

void kit_write_stream(struct kit *kit, const char *name)
{
	const char *folder = getenv("MIGRATION_WRITE");
	cleanup_free uint8_t *stream = NULL;
	char path[512];
	size_t size;
	FILE *file;

	if (!folder || kit->mode != KIT_SHARED)
		return;
	stream = kit_save(kit, &size);
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(stream, 1, size, file), size);
	fclose(file);
	assert_null(kit_load(kit, stream, size));
}

void kit_free(struct kit *kit)
{
	if (kit->dev)
		kit_stop(kit);
	ob_task_cancel(&kit->answer);
	for (unsigned i = 0; i < kit->drive_count; i++) {
		ob_task_cancel(&kit->drives[i].finish);
		assert_int_equal(kit->drives[i].block.in_flight, 0);
		free(kit->drives[i].data);
	}
	while (kit->line_count)
		line_free(kit->lines[--kit->line_count]);
	loop_free(kit->loop);
	free(kit);
}

void kit_turn(struct kit *kit)
{
	assert_int_equal(loop_turn(kit->loop, 0), 0);
}

void kit_wait(struct kit *kit, int ms)
{
	assert_int_equal(loop_turn(kit->loop, ms), 0);
}

void kit_settle(struct kit *kit)
{
	for (unsigned i = 0; i < SETTLE_TURNS; i++)
		kit_turn(kit);
}

uint64_t kit_alloc(struct kit *kit, uint64_t size, uint64_t align)
{
	uint64_t address = (kit->next + align - 1) & ~(align - 1);

	kit->next = address + size;
	assert_true(kit->next <= KIT_BASE + KIT_MEMORY);
	return address;
}

void *kit_at(struct kit *kit, uint64_t address)
{
	assert_true(address >= KIT_BASE && address < KIT_BASE + KIT_MEMORY);
	return kit->memory + (address - KIT_BASE);
}

uint64_t kit_read(struct kit *kit, unsigned region, uint64_t offset, unsigned size)
{
	uint8_t bytes[8] = {0};

	assert_int_equal(device_region_read(kit->dev, region, offset, bytes, size), 0);
	return ob_get_le64(bytes);
}

void kit_write(struct kit *kit, unsigned region, uint64_t offset, uint64_t value, unsigned size)
{
	uint8_t bytes[8];

	ob_put_le64(bytes, value);
	assert_int_equal(device_region_write(kit->dev, region, offset, bytes, size), 0);
}

/* Interrupts */

void kit_use_msix(struct kit *kit, unsigned vectors)
{
	kit->wired = vectors;
	for (unsigned i = 0; i < vectors; i++)
		pci_irq_wire(device_pci(kit->dev), PCI_IRQ_MSIX, i, true);
}

void kit_use_intx(struct kit *kit)
{
	kit->wired_pin = true;
	pci_irq_wire(device_pci(kit->dev), PCI_IRQ_INTX, 0, true);
}

unsigned kit_signals(struct kit *kit, enum pci_irq kind, unsigned vector)
{
	return kit->signals[kind][vector];
}

bool kit_intx_again(struct kit *kit)
{
	unsigned before = kit->signals[PCI_IRQ_INTX][0];

	pci_irq_mask(device_pci(kit->dev), PCI_IRQ_INTX, 0, false);
	return kit->signals[PCI_IRQ_INTX][0] > before;
}

/* Running */

struct prestate {
	enum kit_mode mode;
	void *(*setup)(enum kit_mode mode);
	void (*teardown)(void *fixture);
	void *fixture;
};

static int set_up(void **state)
{
	struct prestate *pre = *state;

	pre->fixture = pre->setup(pre->mode);
	*state = pre->fixture;
	return 0;
}

/* What a test left in *state is its fixture; whose it is, the fixture does not say. */
static void (*current_teardown)(void *fixture);

static int tear_down(void **state)
{
	current_teardown(*state);
	return 0;
}

int kit_run(const char *group, const struct kit_test *tests, unsigned count,
            void *(*setup)(enum kit_mode mode), void (*teardown)(void *fixture))
{
	static const char *const modes[] = {"shared memory", "messages"};
	struct CMUnitTest *all = calloc(count * 2, sizeof(*all));
	struct prestate *pre = calloc(count * 2, sizeof(*pre));
	char(*names)[128] = calloc(count * 2, sizeof(*names));
	int failed;

	current_teardown = teardown;
	for (unsigned i = 0; i < count * 2; i++) {
		const struct kit_test *test = &tests[i % count];

		pre[i] = (struct prestate){i / count, setup, teardown, NULL};
		snprintf(names[i], sizeof(names[i]), "%s: %s", test->name, modes[i / count]);
		all[i] = (struct CMUnitTest){names[i], test->run, set_up, tear_down, &pre[i]};
	}
	failed = _cmocka_run_group_tests(group, all, count * 2, NULL, NULL);
	free(all);
	free(pre);
	free(names);
	return failed;
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* nvme: namespaces that come and go by themselves (nvme-ns). */
#include <string.h>

#include "base/opts.h"
#include "nvme_kit.h"

enum {
	FLUSH = 0x00,
	ASYNC_EVENT = 0x0c,
	FORMAT = 0x80,
	INVALID_FIELD = 0x002,
	INVALID_NAMESPACE = 0x00b,
	ASYNC_CONFIG = 0x0b,
	NAMESPACE_NOTICES = 1 << 8,
	CHANGED_LIST = 0x04,
	SIZE = 1 << 20,
};

/* A controller without namespaces, and drives d0 to d3. */
static void *setup(enum kit_mode mode)
{
	struct nk *nk = nk_new(mode);

	for (unsigned i = 1; i < KIT_DRIVES; i++)
		kit_add_drive(nk->kit, i == 1 ? "d1" : i == 2 ? "d2" : "d3", SIZE * (i + 1));
	return nk;
}

static void begin(struct nk *nk, const char *options)
{
	nk_start(nk, options);
	kit_use_msix(nk->kit, 16);
	nk_enable(nk);
	nk_create_io(nk);
}

static struct device_part *try_add(struct nk *nk, const char *options, struct ob_error *err)
{
	struct device_part *part;
	struct opts opts = {0};

	assert_int_equal(opts_parse(&opts, options, NULL, err), 0);
	part = device_part_add(nk->kit->dev, &opts, err);
	opts_free(&opts);
	return part;
}

static struct device_part *add(struct nk *nk, const char *options)
{
	struct ob_error err = {""};
	struct device_part *part = try_add(nk, options, &err);

	if (!part)
		fail_msg("%s", err.message);
	return part;
}

static void refuse(struct nk *nk, const char *options, const char *why)
{
	struct ob_error err = {""};

	assert_null(try_add(nk, options, &err));
	if (!strstr(err.message, why))
		fail_msg("%s: %s", options, err.message);
}

static void drop(struct nk *nk, struct device_part *part)
{
	assert_true(kit_quiesce(nk->kit));
	device_part_remove(nk->kit->dev, part);
	kit_resume(nk->kit);
}

/* The active list is these numbers. */
static void is_active(struct nk *nk, const uint32_t *numbers, unsigned count)
{
	uint8_t page[PAGE];

	assert_int_equal(nk_identify(nk, 2, 0, page), 0);
	for (unsigned i = 0; i <= count; i++)
		assert_int_equal(ob_get_le32(page + (size_t)i * 4), i < count ? numbers[i] : 0);
}

static void numbers(void **state)
{
	struct nk *nk = *state;
	uint8_t page[PAGE], zeroes[PAGE] = {0};

	begin(nk, "serial=kit");
	is_active(nk, NULL, 0);
	assert_int_equal(nk_identify(nk, 1, 0, page), 0);
	assert_int_equal(ob_get_le32(page + 516), 0);
	add(nk, "drive=d1,nsid=3");
	add(nk, "drive=d2");
	is_active(nk, (const uint32_t[]){1, 3}, 2);
	assert_int_equal(nk_identify(nk, 1, 0, page), 0);
	assert_int_equal(ob_get_le32(page + 516), 3);
	/* Number 2 is a valid one that nothing has; number 4 is none. */
	assert_int_equal(nk_identify(nk, 0, 2, page), 0);
	assert_memory_equal(page, zeroes, PAGE);
	assert_int_equal(nk_identify(nk, 3, 2, page) & ~DNR, INVALID_FIELD);
	assert_int_equal(nk_identify(nk, 0, 4, page) & ~DNR, INVALID_NAMESPACE);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 2)) & ~DNR, INVALID_FIELD);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 4)) & ~DNR, INVALID_NAMESPACE);
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, 1)), 0);
	assert_int_equal(kit_drive_count(&nk->kit->drives[2], OB_BLOCK_FLUSH), 1);
}

static void data_goes_to_its_drive(void **state)
{
	struct nk *nk = *state;
	uint8_t data[4096];

	begin(nk, "serial=kit");
	add(nk, "drive=d1,nsid=2,block-size=4096");
	add(nk, "drive=d2,nsid=1");
	memset(data, 0x42, sizeof(data));
	assert_int_equal(nk_write(nk, 2, 1, data, 1, 4096), 0);
	assert_memory_equal(nk->kit->drives[1].data + 4096, data, sizeof(data));
	assert_int_equal(nk_write(nk, 1, 1, data, 1, 512), 0);
	assert_memory_equal(nk->kit->drives[2].data + 512, data, 512);
	/* All drives, each once. */
	assert_int_equal(nk_run(nk, &nk->io, nk_sqe(FLUSH, UINT32_MAX)), 0);
	for (unsigned i = 1; i <= 2; i++)
		assert_int_equal(kit_drive_count(&nk->kit->drives[i], OB_BLOCK_FLUSH), 1);
}

static void names(void **state)
{
	static const uint8_t nguid[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
	                                  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
	static const uint8_t eui64[8] = {0x52, 0x54, 0, 0, 0, 0, 0, 1};
	static const uint8_t uuid[16] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0x4d, 0xef,
	                                 0x81, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
	struct nk *nk = *state;
	uint8_t page[PAGE];

	begin(nk, "serial=kit");
	add(nk, "drive=d1,uuid=12345678-9abc-4def-8123-456789abcdef,eui64=0x5254000000000001,"
	        "nguid=00112233445566778899aabbccddeeff");
	add(nk, "drive=d2");
	assert_int_equal(nk_identify(nk, 0, 1, page), 0);
	assert_memory_equal(page + 104, nguid, sizeof(nguid));
	assert_memory_equal(page + 120, eui64, sizeof(eui64));
	assert_int_equal(nk_identify(nk, 3, 1, page), 0);
	assert_int_equal(page[0], 1);
	assert_memory_equal(page + 4, eui64, sizeof(eui64));
	assert_int_equal(page[12], 2);
	assert_memory_equal(page + 16, nguid, sizeof(nguid));
	assert_int_equal(page[32], 3);
	assert_memory_equal(page + 36, uuid, sizeof(uuid));
	assert_int_equal(page[52], 0);
	/* One that is made of the serial number. */
	assert_int_equal(nk_identify(nk, 3, 2, page), 0);
	assert_int_equal(page[0], 3);
	assert_int_equal(page[10] >> 4, 8);
}

static void refused(void **state)
{
	struct nk *nk = *state;

	begin(nk, "serial=kit,drive=d0");
	refuse(nk, "nsid=2", "drive=");
	refuse(nk, "drive=d1,nsid=1", "such a namespace already");
	refuse(nk, "drive=d1,nsid=257", "nsid=257");
	refuse(nk, "drive=d1,drive=d2", "one drive");
	refuse(nk, "drive=d1,detached=on", "device_add");
	refuse(nk, "drive=d1,uuid=no", "32 hexadecimal digits");
	refuse(nk, "drive=d1,nguid=auto", "another one after each start");
	refuse(nk, "drive=d1,eui64=-1", "number of 64 bits");
	refuse(nk, "drive=d1,eui64=0x10000000000000000", "number of 64 bits");
	refuse(nk, "drive=d1,colour=red", "colour");
	is_active(nk, (const uint32_t[]){1}, 1);
	/* What was refused let go of its drive, and a shared one is as any. */
	add(nk, "drive=d1,shared=off,detached=off");
	is_active(nk, (const uint32_t[]){1, 2}, 2);
}

static void without_serial_there_has_to_be_a_drive(void **state)
{
	struct nk *nk = *state;
	struct ob_error err = {""};

	assert_false(kit_try_start(nk->kit, "nvme", "num-queues=2", &err));
	assert_non_null(strstr(err.message, "nvme-ns"));
	begin(nk, "serial=kit");
}

/* One notice for whatever changed until the list is read; the list has the numbers. */
static void hears_of(struct nk *nk, const uint32_t *numbers, unsigned count)
{
	uint8_t list[PAGE];
	struct cqe cqe = nk_wait(nk, &nk->admin);

	assert_int_equal(cqe.result, 0x040002);
	assert_int_equal(nk_log(nk, CHANGED_LIST, false, 0, list, sizeof(list)), 0);
	for (unsigned i = 0; i <= count; i++)
		assert_int_equal(ob_get_le32(list + (size_t)i * 4), i < count ? numbers[i] : 0);
	nk_submit(nk, &nk->admin, nk_sqe(ASYNC_EVENT, 0));
}

static void the_guest_hears(void **state)
{
	struct nk *nk = *state;
	struct device_part *part;
	uint32_t result;

	begin(nk, "serial=kit");
	assert_int_equal(nk_set_feature(nk, ASYNC_CONFIG, NAMESPACE_NOTICES, &result), 0);
	nk_submit(nk, &nk->admin, nk_sqe(ASYNC_EVENT, 0));
	kit_settle(nk->kit);
	part = add(nk, "drive=d1,nsid=5");
	hears_of(nk, (const uint32_t[]){5}, 1);
	add(nk, "drive=d2,nsid=2");
	hears_of(nk, (const uint32_t[]){2}, 1);
	drop(nk, part);
	hears_of(nk, (const uint32_t[]){5}, 1);
	is_active(nk, (const uint32_t[]){2}, 1);
}

/* The guest would take a new disk for the one that it knows by that number. */
static void a_number_is_not_used_again_at_once(void **state)
{
	struct nk *nk = *state;
	struct device_part *part;
	uint8_t list[PAGE];
	uint32_t result;

	begin(nk, "serial=kit");
	part = add(nk, "drive=d1");
	assert_int_equal(nk_set_feature(nk, ASYNC_CONFIG, NAMESPACE_NOTICES, &result), 0);
	drop(nk, part);
	part = add(nk, "drive=d1");
	is_active(nk, (const uint32_t[]){2}, 1);
	assert_int_equal(nk_log(nk, CHANGED_LIST, false, 0, list, sizeof(list)), 0);
	drop(nk, part);
	part = add(nk, "drive=d2");
	is_active(nk, (const uint32_t[]){1}, 1);
	/* Whoever names it gets it. */
	drop(nk, part);
	add(nk, "drive=d1,nsid=1");
	is_active(nk, (const uint32_t[]){1}, 1);
}

/* What its drive works on ends before; what waits finds no such namespace. */
static void goes_while_in_use(void **state)
{
	struct nk *nk = *state;
	struct buffer b = nk_buffer(nk, 0, 512);
	struct kit_drive *drive = &nk->kit->drives[1];
	struct device_part *part;
	struct sqe sqe = nk_rw(2, 1, 0, 1);

	begin(nk, "serial=kit");
	part = add(nk, "drive=d1");
	add(nk, "drive=d2");
	nk_prp(nk, &sqe, &b);
	drive->hold = true;
	nk_submit(nk, &nk->io, sqe);
	kit_settle(nk->kit);
	assert_int_equal(kit_drive_held(drive), 1);
	kit_drive_release(nk->kit, drive);
	drop(nk, part);
	/* Where the guest's memory is reached by messages, it began again. */
	assert_int_equal(nk_wait(nk, &nk->io).status,
	                 nk->kit->mode == KIT_SHARED ? 0 : INVALID_FIELD);
	assert_int_equal(nk_run(nk, &nk->io, sqe) & ~DNR, INVALID_FIELD);
	/* Its number and its drive are free. */
	add(nk, "drive=d1,nsid=1");
	assert_int_equal(nk_run(nk, &nk->io, sqe), 0);
}

/* One that is added while all are formatted has data that nobody asked to erase. */
static void a_format_leaves_what_came_since(void **state)
{
	struct nk *nk = *state;
	struct kit_drive *first = &nk->kit->drives[1], *later = &nk->kit->drives[2];

	begin(nk, "serial=kit");
	add(nk, "drive=d1");
	first->hold = true;
	nk_submit(nk, &nk->admin, nk_sqe(FORMAT, UINT32_MAX));
	kit_settle(nk->kit);
	assert_true(kit_drive_held(first) > 0);
	add(nk, "drive=d2");
	kit_drive_release(nk->kit, first);
	assert_int_equal(nk_wait(nk, &nk->admin).status, 0);
	assert_int_equal(later->call_count, 0);
	/* The next one is of both. */
	assert_int_equal(nk_run(nk, &nk->admin, nk_sqe(FORMAT, UINT32_MAX)), 0);
	assert_true(later->call_count > 0);
}

static void a_shutdown_flushes_all(void **state)
{
	struct nk *nk = *state;

	begin(nk, "serial=kit");
	add(nk, "drive=d1,nsid=2");
	add(nk, "drive=d2,nsid=7");
	nk_set(nk, REG_CC, CC_ON | 1 << 14);
	kit_settle(nk->kit);
	assert_int_equal(nk_reg(nk, REG_CSTS) >> 2 & 3, 2);
	for (unsigned i = 1; i <= 2; i++)
		assert_int_equal(kit_drive_count(&nk->kit->drives[i], OB_BLOCK_FLUSH), 1);
}

static void drives_are_known_by_number(void **state)
{
	struct nk *nk = *state;

	begin(nk, "serial=kit,drive=d0");
	add(nk, "drive=d1,nsid=9");
	add(nk, "drive=d2,nsid=3");
	assert_ptr_equal(device_drive(nk->kit->dev, 0), &nk->kit->drives[0].block);
	assert_ptr_equal(device_drive(nk->kit->dev, 1), &nk->kit->drives[2].block);
	assert_ptr_equal(device_drive(nk->kit->dev, 2), &nk->kit->drives[1].block);
	assert_null(device_drive(nk->kit->dev, 3));
}

static void resizes(void **state)
{
	struct nk *nk = *state;
	uint8_t page[PAGE];

	begin(nk, "serial=kit");
	add(nk, "drive=d1");
	assert_int_equal(device_resize_block(nk->kit->dev, &nk->kit->drives[1].block, SIZE, NULL),
	                 0);
	assert_int_equal(nk_identify(nk, 0, 1, page), 0);
	assert_int_equal(ob_get_le64(page), SIZE / 512);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(numbers),
		KIT_TEST(data_goes_to_its_drive),
		KIT_TEST(names),
		KIT_TEST(refused),
		KIT_TEST(without_serial_there_has_to_be_a_drive),
		KIT_TEST(the_guest_hears),
		KIT_TEST(a_number_is_not_used_again_at_once),
		KIT_TEST(goes_while_in_use),
		KIT_TEST(a_format_leaves_what_came_since),
		KIT_TEST(a_shutdown_flushes_all),
		KIT_TEST(drives_are_known_by_number),
		KIT_TEST(resizes),
	};

	return KIT_RUN("nvme_namespace", tests, setup, nk_free);
}

/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes the loading of a device's state. What is checked: a stream is loaded or refused, with a
 * reason; a device that refused one is as good as new after a reset; and one that took it over can
 * be used, saved, and loaded once more.
 *
 * An input: which model (a byte), how (a byte: whether checksums are mended first, so that what
 * they protect is fuzzed too, and the size of pieces), then the stream.
 */
#include <errno.h>
#include <string.h>

#include "base/crc32c.h"
#include "input.h"
#include "migrate/migrate.h"
#include "outboard/endian.h"
#include "stage.h"
#include "wire/mstream.h"

/* What the saved streams of the corpus have. */
#define IDENT ",vendor-id=0x1b36,device-id=0x0010"

enum { MAX_INPUT = 1 << 16, MAX_SAVED = 4 << 20, MENDED = 1 << 0, SECTION_LENGTH_AT = 12 };

static bool on_signal(struct pci_irq_sink *sink, enum pci_irq kind, unsigned vector)
{
	return true;
}

/* Puts right checksums where sections are, and where an end is, what it says. */
static void mend(uint8_t *bytes, size_t size)
{
	struct mstream_sum sum = {0};

	for (size_t at = MSTREAM_HEADER; at + MSTREAM_SECTION_EXTRA <= size;) {
		uint8_t *section = bytes + at;
		uint32_t length = ob_get_le32(section + SECTION_LENGTH_AT), crc;

		if (length > size - at - MSTREAM_SECTION_EXTRA)
			return;
		if (ob_get_le16(section + 4) == MSTREAM_END && length >= 8) {
			ob_put_le32(section + MSTREAM_SECTION_HEADER, sum.sections);
			ob_put_le32(section + MSTREAM_SECTION_HEADER + 4, sum.crc);
		}
		crc = crc32c(0, section, MSTREAM_SECTION_HEADER + length);
		ob_put_le32(section + MSTREAM_SECTION_HEADER + length, crc);
		mstream_add(&sum, crc);
		at += MSTREAM_SECTION_EXTRA + length;
	}
}

static void nobody_waits(struct migrate_waiter *waiter, int status)
{
}

/* The device has nothing in flight that is not done after some turns. */
static int go(struct stage *stage, enum migrate_state state)
{
	struct migration *migration = migrate_of(stage->dev);
	struct migrate_waiter waiter = {nobody_waits};
	int rc = migrate_set_state(migration, state, &waiter);

	if (rc == -EINPROGRESS) {
		stage_turns(stage, STAGE_SETTLE);
		must(migrate_state(migration) == state);
		return 0;
	}
	must(!rc || migrate_why(migration)[0]);
	return rc;
}

static int load(struct stage *stage, const uint8_t *bytes, size_t size, size_t piece)
{
	struct migration *migration = migrate_of(stage->dev);
	int rc;

	must(!go(stage, MIGRATE_RESUMING));
	for (size_t at = 0; at < size; at += piece) {
		rc = migrate_write(migration, bytes + at, size - at < piece ? size - at : piece);
		must(!rc || migrate_why(migration)[0]);
		if (rc)
			break;
	}
	rc = go(stage, MIGRATE_STOP);
	must(migrate_state(migration) == (rc ? MIGRATE_ERROR : MIGRATE_STOP));
	return rc;
}

static void reset(struct stage *stage)
{
	stage_quiesce(stage);
	device_reset(stage->dev);
	(void)migrate_reset(migrate_of(stage->dev), NULL);
	device_release(stage->dev, &stage->hold);
	must(migrate_state(migrate_of(stage->dev)) == MIGRATE_RUNNING);
}

/* As a driver that knows nothing of what happened. */
static void use(struct stage *stage)
{
	uint8_t bytes[64];

	must(!go(stage, MIGRATE_RUNNING));
	for (uint64_t offset = 0; offset < 0x40; offset += 8)
		device_region_read(stage->dev, 0, offset, bytes, 8);
	for (uint64_t offset = 0; offset < 0x60; offset += 4) {
		ob_put_le32(bytes, (uint32_t)offset % 8);
		device_region_write(stage->dev, 0, 0x1000 + offset, bytes, 4);
	}
	stage_turns(stage, 20);
}

/* What a device was told it can tell again. */
static void save_and_load(struct stage *stage)
{
	struct migration *migration = migrate_of(stage->dev);
	uint8_t *bytes = malloc(MAX_SAVED);
	ssize_t size;

	must(!go(stage, MIGRATE_STOP_COPY));
	size = migrate_read(migration, bytes, MAX_SAVED);
	must(size > 0 && size < MAX_SAVED);
	if (load(stage, bytes, (size_t)size, 4096)) {
		fprintf(stderr, "what was saved is refused: %s\n", migrate_why(migration));
		must(false);
	}
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct {
		const char *name, *options;
	} models[] = {
		{"nvme", "drive=d0,serial=s,num-queues=4" IDENT},
		{"edu", ""},
		{"nvme", "drive=m0,serial=s,num-queues=4,mmap-doorbells=on" IDENT},
	};
	struct input in = {data, size};
	struct pci_irq_sink sink = {on_signal};
	unsigned model = (unsigned)input_number(&in, 1) % 3, how = (unsigned)input_number(&in, 1);
	size_t piece = how >> 1 ? (size_t)(how >> 1) * 17 : 1 << 20;
	struct stage stage = {0};
	uint8_t *stream;

	if (size < 2 || size > MAX_INPUT)
		return 0;
	stream = malloc(in.left + 1);
	memcpy(stream, in.at, in.left);
	if (how & MENDED)
		mend(stream, in.left);
	stage_begin(&stage, models[model].name, models[model].options);
	must(!dma_map(device_dma(stage.dev), STAGE_BASE, STAGE_MEMORY, DMA_READABLE | DMA_WRITEABLE,
	              stage_dup(&stage, STAGE_FD_MEMORY), 0));
	pci_irq_set_sink(device_pci(stage.dev), &sink);
	pci_irq_wire(device_pci(stage.dev), PCI_IRQ_INTX, 0, true);
	if (load(&stage, stream, in.left, piece)) {
		reset(&stage);
		use(&stage);
	} else {
		use(&stage);
		save_and_load(&stage);
	}
	use(&stage);
	reset(&stage);
	stage_quiesce(&stage);
	pci_irq_set_sink(device_pci(stage.dev), NULL);
	must(!dma_unmap_all(device_dma(stage.dev), NULL));
	device_release(stage.dev, &stage.hold);
	stage_end(&stage);
	free(stream);
	return 0;
}

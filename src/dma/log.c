/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log of pages that the device wrote: a bitmap for each range that the client wants to hear of.
 *
 * A bit is set by dma_wrote(), which every write passes, and cleared when it is reported; both on
 * the one thread of the loop, so neither can lose the other. What matters is the order of setting
 * the bit and changing the bytes. A copy sets it and copies before anybody can ask. A pointer that
 * was given out is used before control returns to the loop. A message's bit is set when the client
 * has acknowledged that it wrote, and also when it failed or nobody waits for it any more: it may
 * have been written, or be on its way. Pinned memory is filled by the kernel while the loop runs
 * on, and its bit is set when the pin is given back, which is after the last byte: a report in
 * between says nothing of it, and a later one does. There is a later one, since a client takes its
 * last report when the device is stopped, and a device that is quiet holds no pins.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "internal.h"

enum {
	WORD = 64,
	MIN_SHIFT = 12,
	MAX_SHIFT = 30,
	FIRST_ROOM = 16,
	BLOCK_SHIFT = 19,     /* pages of a block, where everything is logged: 64 KiB of bits */
	GRANULE_WORDS = 8192, /* 64 KiB are whole pages on every machine */
	REAP_WORDS = 65536,   /* given back at a time */
	REPORT_WORDS = 8192,  /* reported at a time; or pages, where words don't match */
};

struct range {
	uint64_t first, last; /* bytes */
	uint64_t *bits;       /* of pages from first on, */
	uint64_t words;       /* and how many words these are */
};

struct dma_log {
	struct range *last; /* the last hit; never NULL */
	struct range none;  /* what that is when there is none: nothing lies in it */
	struct range *ranges;
	unsigned count, room;
	unsigned shift;
	uint64_t bytes;  /* of bitmaps */
	bool everything; /* ranges are added where something is written */
	bool overflow;   /* one could not be: what no range has counts as written */
};

static uint64_t pages_of(const struct dma_log *log, const struct range *range)
{
	return ((range->last - range->first) >> log->shift) + 1;
}

/* The place of the first range that ends at or behind address. */
static unsigned search(const struct dma_log *log, uint64_t address)
{
	unsigned low = 0, high = log->count;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (log->ranges[middle].last < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void set_bits(uint64_t *bits, uint64_t from, uint64_t to)
{
	for (; from <= to; from++) {
		/* Whole words at once: one write may be of many pages. */
		if (from % WORD == 0 && to - from >= WORD - 1) {
			bits[from / WORD] = UINT64_MAX;
			from += WORD - 1;
		} else {
			bits[from / WORD] |= UINT64_C(1) << (from % WORD);
		}
	}
}

static void mark(const struct dma_log *log, struct range *range, uint64_t first, uint64_t last)
{
	if (first < range->first)
		first = range->first;
	if (last > range->last)
		last = range->last;
	set_bits(range->bits, (first - range->first) >> log->shift,
	         (last - range->first) >> log->shift);
}

/* Bits are mapped, not allocated: so they can be given back in pieces, see dma_log_reap(). */
static uint64_t *map_bits(uint64_t words)
{
	void *bits =
		mmap(NULL, words * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return bits == MAP_FAILED ? NULL : bits;
}

/* How many words a range's bits take, in whole granules. */
static uint64_t words_of(const struct dma_log *log, const struct range *range)
{
	uint64_t words = (pages_of(log, range) + WORD - 1) / WORD;

	return (words + GRANULE_WORDS - 1) & ~(uint64_t)(GRANULE_WORDS - 1);
}

/*
 * Adds a range at a place of the list: 0, -ENOMEM, -ENOSPC. bits as words_of() says; NULL: not
 * mapped yet.
 */
static int insert(struct dma_log *log, unsigned place, uint64_t first, uint64_t last,
                  uint64_t *bits)
{
	struct range range = {.first = first, .last = last, .bits = bits};

	range.words = words_of(log, &range);
	if (range.words > (DMA_LOG_BYTES - log->bytes) / 8)
		return -ENOSPC;
	if (log->count == log->room) {
		unsigned room = log->room ? 2 * log->room : FIRST_ROOM;
		struct range *ranges = reallocarray(log->ranges, room, sizeof(*ranges));

		if (!ranges)
			return -ENOMEM;
		log->ranges = ranges;
		log->room = room;
	}
	if (!bits)
		range.bits = map_bits(range.words);
	if (!range.bits)
		return -ENOMEM;
	memmove(&log->ranges[place + 1], &log->ranges[place],
	        (log->count - place) * sizeof(*log->ranges));
	log->ranges[place] = range;
	log->count++;
	log->bytes += range.words * 8;
	log->last = log->ranges;
	return 0;
}

/*
 * Where everything is logged: adds the blocks of memory that [first, last] lies in and that are not
 * there yet. All ranges are such blocks then. How many maps there are does not matter so.
 */
static int add_blocks(struct dma_log *log, uint64_t first, uint64_t last)
{
	uint64_t mask = (UINT64_C(1) << (log->shift + BLOCK_SHIFT)) - 1;

	for (first &= ~mask; first <= last; first = (first | mask) + 1) {
		unsigned place = search(log, first);
		int rc = 0;

		if (place == log->count || log->ranges[place].first != first)
			rc = insert(log, place, first, first | mask, NULL);
		if (rc)
			return rc;
		if ((first | mask) == UINT64_MAX)
			break;
	}
	return 0;
}

static void mark_ranges(struct dma_log *log, uint64_t first, uint64_t last)
{
	if (log->everything && add_blocks(log, first, last))
		log->overflow = true;
	for (unsigned i = search(log, first); i < log->count; i++) {
		if (log->ranges[i].first > last)
			return;
		log->last = &log->ranges[i];
		mark(log, log->last, first, last);
	}
}

void dma_log_wrote(struct dma_log *log, uint64_t address, uint64_t length)
{
	struct range *range = log->last;
	uint64_t last = address + (length - 1), from, to;

	if (__builtin_expect(address < range->first || last > range->last, 0)) {
		mark_ranges(log, address, last);
		return;
	}
	from = (address - range->first) >> log->shift;
	to = (last - range->first) >> log->shift;
	if (__builtin_expect(from == to, 1))
		range->bits[from / WORD] |= UINT64_C(1) << (from % WORD);
	else
		set_bits(range->bits, from, to);
}

/* Gives back some of the bits. Whether that was all. */
static bool unmap_some(struct dma_log *log)
{
	for (uint64_t left = REAP_WORDS; log->count; log->count--) {
		struct range *range = &log->ranges[log->count - 1];
		uint64_t words = range->words < left ? range->words : left;

		if (!words)
			return false;
		range->words -= words;
		munmap(range->bits + range->words, words * 8);
		left -= words;
		if (range->words)
			return false;
	}
	return true;
}

bool dma_log_reap(struct dma_space *space)
{
	struct dma_log *log = space->old_log;

	if (!log)
		return true;
	if (!unmap_some(log))
		return false;
	free(log->ranges);
	free(log);
	space->old_log = NULL;
	return true;
}

/* The page size that is used where this one is asked for. */
static unsigned choose_shift(uint64_t page_size)
{
	unsigned shift = page_size ? 63 - (unsigned)__builtin_clzll(page_size) : MIN_SHIFT;

	if (shift < MIN_SHIFT)
		return MIN_SHIFT;
	return shift > MAX_SHIFT ? MAX_SHIFT : shift;
}

static int compare(const void *a, const void *b)
{
	const struct dma_log_range *x = a, *y = b;

	return x->address < y->address ? -1 : x->address > y->address;
}

static int check_ranges(const struct dma_log *log, struct dma_log_range *ranges, unsigned count)
{
	uint64_t mask = (UINT64_C(1) << log->shift) - 1;

	if (count > DMA_LOG_RANGES)
		return -E2BIG;
	if (count)
		qsort(ranges, count, sizeof(*ranges), compare);
	for (unsigned i = 0; i < count; i++) {
		uint64_t address = ranges[i].address, length = ranges[i].length;

		if (!length || (address | length) & mask)
			return -EINVAL;
		if (length - 1 > UINT64_MAX - address)
			return -EOVERFLOW;
		if (i && address - ranges[i - 1].address < ranges[i - 1].length)
			return -EINVAL;
	}
	return 0;
}

static struct range to_range(const struct dma_log_range *range)
{
	return (struct range){.first = range->address,
	                      .last = range->address + (range->length - 1)};
}

/* All bits are mapped together: many calls would take long. */
static int add_all(struct dma_log *log, const struct dma_log_range *ranges, unsigned count)
{
	uint64_t words = 0, *bits;
	int rc = 0;

	log->everything = !count;
	for (unsigned i = 0; i < count; i++) {
		struct range range = to_range(&ranges[i]);

		words += words_of(log, &range);
		if (words > DMA_LOG_BYTES / 8)
			return -ENOSPC;
	}
	bits = words ? map_bits(words) : NULL;
	if (words && !bits)
		return -ENOMEM;
	for (unsigned i = 0; i < count && !rc; i++) {
		struct range range = to_range(&ranges[i]);

		rc = insert(log, i, range.first, range.last, bits);
		if (!rc)
			bits += words_of(log, &range);
		else
			munmap(bits, words * 8);
		words -= words_of(log, &range);
	}
	return rc;
}

int dma_log_start(struct dma_space *space, uint64_t *page_size, struct dma_log_range *ranges,
                  unsigned count)
{
	struct dma_log *log;
	int rc;

	if (space->log || space->old_log)
		return -EBUSY;
	log = calloc(1, sizeof(*log));
	if (!log)
		return -ENOMEM;
	log->none.first = 1;
	log->last = &log->none;
	log->shift = choose_shift(*page_size);
	rc = check_ranges(log, ranges, count);
	if (!rc)
		rc = add_all(log, ranges, count);
	if (rc) {
		space->old_log = log;
		while (!dma_log_reap(space)) /* nothing was touched: fast */
			;
		return rc;
	}
	*page_size = UINT64_C(1) << log->shift;
	space->log = log;
	return 0;
}

void dma_log_stop(struct dma_space *space)
{
	if (!space->log)
		return;
	space->old_log = space->log;
	space->log = NULL;
}

bool dma_log_active(const struct dma_space *space)
{
	return space->log;
}

/* A report under way. */
struct report {
	uint64_t first, last;
	unsigned shift; /* of its pages, */
	uint64_t *bits; /* from first on */
	uint64_t next;  /* what comes before was reported */
	uint64_t left;  /* of REPORT_WORDS */
};

/* The pages of the report that share a byte with [first, last]. */
static void report_run(const struct report *report, uint64_t first, uint64_t last)
{
	if (first < report->first)
		first = report->first;
	if (last > report->last)
		last = report->last;
	set_bits(report->bits, (first - report->first) >> report->shift,
	         (last - report->first) >> report->shift);
}

/*
 * Where report and log have the same pages, in the same places of their words: 64 pages at a time.
 * The bits of the first and last word that are outside of the report stay.
 */
static void report_words(struct range *range, const struct report *report, uint64_t from,
                         uint64_t to, uint64_t at)
{
	for (uint64_t word = from / WORD; word <= to / WORD; word++) {
		uint64_t mask = UINT64_MAX, bits;

		if (word == from / WORD)
			mask &= UINT64_MAX << (from % WORD);
		if (word == to / WORD)
			mask &= UINT64_MAX >> (WORD - 1 - to % WORD);
		bits = range->bits[word] & mask;
		if (!bits)
			continue;
		report->bits[at / WORD + word - from / WORD] |= bits;
		range->bits[word] &= ~bits;
	}
}

/*
 * Page by page. Those that stick out of the report are not cleared: they are for the report that
 * has the rest of them, too.
 */
static void report_pages(const struct dma_log *log, struct range *range,
                         const struct report *report, uint64_t from, uint64_t to)
{
	for (uint64_t page = from; page <= to; page++) {
		uint64_t *word = &range->bits[page / WORD], bit = UINT64_C(1) << (page % WORD);
		uint64_t first = range->first + (page << log->shift);
		uint64_t last = first + ((UINT64_C(1) << log->shift) - 1);

		if (!*word) {
			page |= WORD - 1;
			continue;
		}
		if (!(*word & bit))
			continue;
		report_run(report, first, last);
		if (first >= report->first && last <= report->last)
			*word &= ~bit;
	}
}

/*
 * Reports and clears the written pages of a range that shares a byte with what is left of the
 * report, or as many as there is time for. Whether that was all.
 */
static bool report_range(const struct dma_log *log, struct range *range, struct report *report)
{
	uint64_t first = report->next > range->first ? report->next : range->first;
	uint64_t last = report->last < range->last ? report->last : range->last;
	uint64_t page = (UINT64_C(1) << log->shift) - 1;
	uint64_t from = (first - range->first) >> log->shift;
	uint64_t to = (last - range->first) >> log->shift, end = to;
	uint64_t at = (first - report->first) >> log->shift;
	bool words = report->shift == log->shift && at % WORD == from % WORD &&
	             !(report->first & page) && !((report->last + 1) & page);
	uint64_t most = (words ? report->left : report->left / WORD + 1) * WORD - from % WORD, done;

	/* Up to the end of a word, so that words that match go on matching. */
	if (to - from >= most)
		end = from + most - 1;
	if (words)
		report_words(range, report, from, end, at);
	else
		report_pages(log, range, report, from, end);
	done = words ? (end - from) / WORD + 1 : end - from + 1;
	report->left -= done < report->left ? done : report->left;
	report->next = range->first + (end << log->shift) + (page + 1);
	return end == to;
}

/* What no range covers counts as written if some range that belongs there could not be made. */
static void report_unknown(const struct dma_log *log, const struct report *report)
{
	uint64_t at = report->first;

	for (unsigned i = search(log, at); i < log->count; i++) {
		const struct range *range = &log->ranges[i];

		if (range->first > report->last)
			break;
		if (range->first > at)
			report_run(report, at, range->first - 1);
		if (range->last >= report->last)
			return;
		at = range->last + 1;
	}
	report_run(report, at, report->last);
}

int dma_log_report(struct dma_space *space, struct dma_log_report *asked)
{
	struct report report = {
		.first = asked->address,
		.last = asked->address + (asked->length - 1),
		.shift = asked->page_size ? (unsigned)__builtin_ctzll(asked->page_size) : 0,
		.bits = asked->bits,
		.next = asked->address + asked->done,
		.left = REPORT_WORDS,
	};
	struct dma_log *log = space->log;

	if (!log)
		return -EINVAL;
	for (unsigned i = search(log, report.next); i < log->count; i++) {
		if (log->ranges[i].first > report.last)
			break;
		if (!report.left || !report_range(log, &log->ranges[i], &report)) {
			asked->done = report.next - report.first;
			return -EAGAIN;
		}
	}
	if (log->overflow)
		report_unknown(log, &report);
	return 0;
}

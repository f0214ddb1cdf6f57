/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows: what the parts of a BAR are (struct ob_window).
 *
 * A function keeps a copy of the layout's, in which every size is filled in: for each BAR first the
 * windows that lie side by side, by offset, then the doorbells, which lie over them, in the order
 * of the layout. MSI-X structures that the layout has no place for get a BAR of their own.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/checked.h"
#include "internal.h"

enum {
	MSIX_ALIGN = 4096, /* of what the core places: a page of its own for each structure */
	MIN_MSIX_BAR = 8192,
	WORD = 8, /* alignment of memory and of MSI-X structures */
	MAX_DOORBELLS = 65536,
};

static const char *kind_name(enum ob_window_kind kind)
{
	static const char *const names[] = {
		[OB_WINDOW_REGISTERS] = "registers",
		[OB_WINDOW_MEMORY] = "memory",
		[OB_WINDOW_DOORBELLS] = "doorbells",
		[OB_WINDOW_MSIX_TABLE] = "MSI-X table",
		[OB_WINDOW_MSIX_PBA] = "MSI-X pending bit array",
	};

	return names[kind];
}

static bool is_msix(const struct ob_window *window)
{
	return window->kind == OB_WINDOW_MSIX_TABLE || window->kind == OB_WINDOW_MSIX_PBA;
}

static int refuse(struct ob_error *err, unsigned bar, const struct ob_window *window,
                  const char *expected)
{
	return ob_error_set(err, -EINVAL, "BAR %u: %s at 0x%" PRIx64 " of 0x%" PRIx64 " bytes: %s",
	                    bar, kind_name(window->kind), window->offset, window->size, expected);
}

/* The BAR that the core makes for the MSI-X structures. */

static uint64_t round_up_to_power_of_2(uint64_t n)
{
	uint64_t power = 1;

	while (power < n)
		power *= 2;
	return power;
}

static int make_msix_bar(struct pci *pci, struct ob_error *err)
{
	struct ob_layout *layout = &pci->layout;
	struct ob_window *made = pci->made;
	unsigned bar = layout->irqs.msix_bar;
	uint64_t table = pci_layout_table_size(layout), size;

	if (bar >= PCI_BARS)
		return ob_error_set(err, -EINVAL, "MSI-X: msix_bar is 0 to 5, not %u", bar);
	if (bar > 0 && layout->bars[bar - 1].size && layout->bars[bar - 1].flags & OB_BAR_64)
		return ob_error_set(err, -EINVAL,
		                    "MSI-X: BAR %u is the upper half of the 64-bit BAR %u", bar,
		                    bar - 1);
	if (layout->bars[bar].size)
		return ob_error_set(err, -EINVAL,
		                    "MSI-X: BAR %u has windows, but none for table and pending bit "
		                    "array: msix_bar is one without a size",
		                    bar);
	made[0] = (struct ob_window){.kind = OB_WINDOW_MSIX_TABLE};
	made[1] = (struct ob_window){.kind = OB_WINDOW_MSIX_PBA,
	                             .offset = (table + MSIX_ALIGN - 1) / MSIX_ALIGN * MSIX_ALIGN};
	size = round_up_to_power_of_2(made[1].offset + pci_layout_pba_size(layout));
	layout->bars[bar] = (struct ob_bar){
		.size = size < MIN_MSIX_BAR ? MIN_MSIX_BAR : size,
		.windows = made,
		.nwindows = 2,
	};
	return 0;
}

static int place_msix(struct pci *pci, struct ob_error *err)
{
	const struct ob_layout *layout = &pci->layout;
	unsigned tables = 0, arrays = 0;

	if (layout->irqs.msix_vectors > PCI_MAX_MSIX)
		return ob_error_set(err, -EINVAL, "MSI-X: %u vectors, but %d is the most",
		                    layout->irqs.msix_vectors, PCI_MAX_MSIX);
	for (unsigned bar = 0; bar < PCI_BARS; bar++) {
		for (unsigned i = 0; i < layout->bars[bar].nwindows; i++) {
			tables += layout->bars[bar].windows[i].kind == OB_WINDOW_MSIX_TABLE;
			arrays += layout->bars[bar].windows[i].kind == OB_WINDOW_MSIX_PBA;
		}
	}
	if (!layout->irqs.msix_vectors || (tables == 1 && arrays == 1))
		return 0;
	if (!tables && !arrays)
		return make_msix_bar(pci, err);
	return ob_error_set(err, -EINVAL,
	                    "MSI-X: %u windows for the table and %u for the pending bit array, but "
	                    "one of each, or none, is expected",
	                    tables, arrays);
}

/* Checks */

static bool is_access_size(unsigned size)
{
	return is_power_of_2(size) && size <= 8;
}

static int check_access(const struct ob_window *window, unsigned bar, struct ob_error *err)
{
	unsigned min = window->min_access ? window->min_access : 4;
	unsigned max = window->max_access ? window->max_access : 4;

	if (!is_access_size(min) || !is_access_size(max))
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: access sizes are 1, 2, 4 or 8 bytes, not %u to %u",
		                    bar, min, max);
	if (min > max)
		return ob_error_set(err, -EINVAL,
		                    "BAR %u: min_access %u is above max_access %u (0 stands for 4)",
		                    bar, min, max);
	if (window->offset % min || window->size % min)
		return refuse(err, bar, window,
		              "multiples of min_access (0 stands for 4) expected");
	return 0;
}

static int check_doorbells(const struct ob_window *window, const struct ob_bar *layout,
                           unsigned bar, struct ob_error *err)
{
	uint64_t span = (uint64_t)(window->count - 1) * window->stride;

	if (window->size ? !is_access_size((unsigned)window->size) || window->size > 8
	                 : window->match)
		return refuse(err, bar, window,
		              "a size of 1, 2, 4 or 8 expected (0: any, without match)");
	if (!range_within(window->offset, span + (window->size ? window->size : 1), layout->size))
		return refuse(err, bar, window, "not within the BAR");
	if (!window->rang)
		return refuse(err, bar, window, "rang() is needed");
	return 0;
}

static int check_window(const struct ob_window *window, const struct ob_bar *layout, unsigned bar,
                        struct ob_error *err)
{
	bool to_end = window->offset + window->size == layout->size;

	if (window->kind == OB_WINDOW_DOORBELLS)
		return check_doorbells(window, layout, bar, err);
	if (!window->size || !range_within(window->offset, window->size, layout->size))
		return refuse(err, bar, window, "not within the BAR");
	if (is_msix(window) && layout->flags & OB_BAR_IO)
		return ob_error_set(err, -EINVAL, "MSI-X: the %s needs a memory BAR, BAR %u is I/O",
		                    kind_name(window->kind), bar);
	if (is_msix(window) && window->offset > UINT32_MAX)
		return refuse(err, bar, window, "below 4 GiB expected");
	if (window->kind != OB_WINDOW_REGISTERS &&
	    (window->offset % WORD || (window->size % WORD && !to_end)))
		return refuse(err, bar, window, "multiples of 8 expected");
	return is_msix(window) ? 0 : check_access(window, bar, err);
}

/* The copy */

static uint64_t size_of(const struct pci *pci, const struct ob_window *window,
                        const struct ob_bar *layout)
{
	if (window->kind == OB_WINDOW_MSIX_TABLE)
		return pci_layout_table_size(&pci->layout);
	if (window->kind == OB_WINDOW_MSIX_PBA)
		return pci_layout_pba_size(&pci->layout);
	if (!window->size && window->kind != OB_WINDOW_DOORBELLS && window->offset < layout->size)
		return layout->size - window->offset;
	return window->size;
}

static bool belongs_before(const struct ob_window *a, const struct ob_window *b)
{
	bool over = a->kind == OB_WINDOW_DOORBELLS, b_over = b->kind == OB_WINDOW_DOORBELLS;

	return over || b_over ? !over && b_over : a->offset < b->offset;
}

static void insert(struct ob_window *windows, unsigned count, const struct ob_window *window)
{
	for (; count && belongs_before(window, &windows[count - 1]); count--)
		windows[count] = windows[count - 1];
	windows[count] = *window;
}

static int check_overlap(const struct ob_bar *layout, unsigned bar, struct ob_error *err)
{
	for (unsigned i = 1; i < layout->nwindows; i++) {
		const struct ob_window *a = &layout->windows[i - 1], *b = &layout->windows[i];

		if (b->kind == OB_WINDOW_DOORBELLS)
			return 0;
		if (a->offset + a->size > b->offset)
			return ob_error_set(err, -EINVAL,
			                    "%s (0x%" PRIx64 " bytes at 0x%" PRIx64
			                    ") and %s (0x%" PRIx64 " bytes at 0x%" PRIx64
			                    ") overlap in BAR %u",
			                    kind_name(a->kind), a->size, a->offset,
			                    kind_name(b->kind), b->size, b->offset, bar);
	}
	return 0;
}

static void note_msix(struct pci *pci, const struct ob_window *window, unsigned bar)
{
	struct pci_place place = {(uint8_t)bar, (uint32_t)window->offset, (uint32_t)window->size};

	if (window->kind == OB_WINDOW_MSIX_TABLE)
		pci->table = place;
	else if (window->kind == OB_WINDOW_MSIX_PBA)
		pci->pba = place;
}

/* Puts the copies of a BAR's windows at *to. */
static int complete_bar(struct pci *pci, unsigned bar, struct ob_window *to, struct ob_error *err)
{
	struct ob_bar *layout = &pci->layout.bars[bar];
	unsigned count = 0;

	for (unsigned i = 0; i < layout->nwindows; i++) {
		struct ob_window window = layout->windows[i];
		int rc;

		if (is_msix(&window) && !pci->layout.irqs.msix_vectors)
			continue;
		window.size = size_of(pci, &window, layout);
		if (!window.count)
			window.count = 1;
		rc = check_window(&window, layout, bar, err);
		if (rc)
			return rc;
		note_msix(pci, &window, bar);
		if (window.kind == OB_WINDOW_DOORBELLS)
			pci->doorbells += window.count;
		insert(to, count++, &window);
	}
	layout->windows = to;
	layout->nwindows = count;
	return check_overlap(layout, bar, err);
}

static int count_windows(const struct pci *pci, unsigned *count, struct ob_error *err)
{
	*count = 0;
	for (unsigned bar = 0; bar < PCI_BARS; bar++) {
		const struct ob_bar *layout = &pci->layout.bars[bar];

		if (layout->nwindows && !layout->size)
			return ob_error_set(err, -EINVAL, "BAR %u: has windows but no size", bar);
		if (layout->nwindows > PCI_MAX_WINDOWS)
			return ob_error_set(err, -EINVAL, "BAR %u: %u windows, but %d is the most",
			                    bar, layout->nwindows, PCI_MAX_WINDOWS);
		for (unsigned i = 0; i < layout->nwindows; i++) {
			if (layout->windows[i].kind > OB_WINDOW_MSIX_PBA)
				return ob_error_set(err, -EINVAL,
				                    "BAR %u: a window of unknown kind %u", bar,
				                    layout->windows[i].kind);
			if (layout->windows[i].count > MAX_DOORBELLS)
				return refuse(err, bar, &layout->windows[i], "65536 are the most");
		}
		*count += layout->nwindows;
	}
	return 0;
}

int pci_windows_complete(struct pci *pci, struct ob_error *err)
{
	unsigned count, used = 0;
	int rc = count_windows(pci, &count, err);

	if (!rc)
		rc = place_msix(pci, err);
	if (rc)
		return rc;
	pci->windows = calloc(count + 2, sizeof(*pci->windows));
	if (!pci->windows)
		return ob_error_set(err, -ENOMEM, "out of memory");
	for (unsigned bar = 0; !rc && bar < PCI_BARS; bar++) {
		rc = complete_bar(pci, bar, pci->windows + used, err);
		used += pci->layout.bars[bar].nwindows;
	}
	if (!rc && pci->doorbells > MAX_DOORBELLS)
		rc = ob_error_set(err, -EINVAL, "%u doorbells, but %d are the most", pci->doorbells,
		                  MAX_DOORBELLS);
	return rc;
}

/* Finding */

const struct ob_window *pci_window_find(const struct pci *pci, unsigned bar, uint64_t offset,
                                        uint64_t *rest)
{
	const struct ob_bar *layout = &pci->layout.bars[bar];
	const struct ob_window *window = layout->windows;

	for (unsigned i = 0; i < layout->nwindows; i++, window++) {
		if (window->kind == OB_WINDOW_DOORBELLS)
			break;
		if (offset < window->offset) {
			*rest = window->offset - offset;
			return NULL;
		}
		if (offset - window->offset < window->size) {
			*rest = window->size - (offset - window->offset);
			return window;
		}
	}
	*rest = layout->size - offset;
	return NULL;
}

unsigned pci_doorbells(const struct pci *pci)
{
	return pci->doorbells;
}

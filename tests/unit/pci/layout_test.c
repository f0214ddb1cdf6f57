/* SPDX-License-Identifier: BSD-3-Clause */
/* Which layouts are refused, and what the message says; and what the core fills in. */
#include "kit.h"

/* The layout must be refused with a message that contains text. */
static void refuse(const struct ob_layout *layout, const char *text)
{
	struct ob_error err = {""};

	assert_null(pci_new(layout, &err));
	if (!strstr(err.message, text))
		fail_msg("'%s' is not in '%s'", text, err.message);
	assert_null(pci_new(layout, NULL));
}

static void refuse_bar(unsigned number, struct ob_bar bar, const char *text)
{
	struct ob_layout layout = {.ident = {.vendor = 1, .device = 2}};

	layout.bars[number] = bar;
	refuse(&layout, text);
}

static void accept_bar(unsigned number, struct ob_bar bar)
{
	struct ob_layout layout = {.ident = {.vendor = 1, .device = 2}};

	layout.bars[number] = bar;
	pci_free(make_pci(&layout));
}

static void bar_sizes(void **state)
{
	refuse_bar(1, (struct ob_bar){.size = 0x3000},
	           "BAR 1: size 0x3000 is not a power of 2; 0x4000 would be");
	refuse_bar(1, (struct ob_bar){.size = UINT64_MAX, .flags = OB_BAR_64},
	           "0x8000000000000000 would be");
	refuse_bar(0, (struct ob_bar){.size = 8}, "BAR 0: a memory BAR has at least 16 bytes");
	refuse_bar(2, (struct ob_bar){.size = UINT64_C(1) << 32}, "needs a 64-bit BAR");
	refuse_bar(2, (struct ob_bar){.size = 2, .flags = OB_BAR_IO},
	           "BAR 2: an I/O BAR has 4 to 256 bytes, not 0x2");
	refuse_bar(2, (struct ob_bar){.size = 512, .flags = OB_BAR_IO}, "4 to 256 bytes");
	accept_bar(0, (struct ob_bar){.size = 16});
	accept_bar(0, (struct ob_bar){.size = UINT64_C(1) << 31});
	accept_bar(4, (struct ob_bar){.size = UINT64_C(1) << 63, .flags = OB_BAR_64});
	accept_bar(5, (struct ob_bar){.size = 4, .flags = OB_BAR_IO});
	accept_bar(5, (struct ob_bar){.size = 256, .flags = OB_BAR_IO});
	(void)state;
}

static void bar_flags(void **state)
{
	refuse_bar(3, (struct ob_bar){.size = 16, .flags = OB_BAR_IO | OB_BAR_64},
	           "BAR 3: an I/O BAR is neither 64-bit nor prefetchable");
	refuse_bar(3, (struct ob_bar){.size = 16, .flags = OB_BAR_IO | OB_BAR_PREFETCH},
	           "neither 64-bit nor prefetchable");
	refuse_bar(3, (struct ob_bar){.size = 16, .flags = 1u << 9}, "unknown flags 0x200");
	refuse_bar(3, (struct ob_bar){.flags = OB_BAR_64}, "BAR 3: has flags but no size");
	refuse_bar(5, (struct ob_bar){.size = 16, .flags = OB_BAR_64},
	           "BAR 5: a 64-bit BAR takes two places");
	(void)state;
}

static void bars_in_each_others_place(void **state)
{
	struct ob_layout layout = {
		.bars = {[2] = {.size = 64, .flags = OB_BAR_64}, [3] = {.size = 64}},
	};

	refuse(&layout, "BAR 3: taken by the upper half of the 64-bit BAR 2, use BAR 4");
	(void)state;
}

static void other_fields(void **state)
{
	struct ob_layout layout = {.irqs = {.msi_vectors = 3}};

	refuse(&layout, "MSI: 3 vectors, but it must be 1, 2, 4, 8, 16 or 32");
	layout.irqs.msi_vectors = 64;
	refuse(&layout, "MSI: 64 vectors");
	layout = (struct ob_layout){.ident = {.class_code = 0x1000000}};
	refuse(&layout, "class code 0x1000000 has more than 24 bits");
	layout = (struct ob_layout){.rom_size = 1024};
	refuse(&layout, "expansion ROM: an image without a size");
	layout = (struct ob_layout){.rom = kit_rom};
	refuse(&layout, "expansion ROM: an image without a size");
	layout = (struct ob_layout){.rom = kit_rom, .rom_size = (1 << 20) + 1};
	refuse(&layout, "1 MiB is the most");
	(void)state;
}

static void refuse_msix(struct ob_irqs irqs, const char *text)
{
	struct ob_layout layout = {
		.bars = {[0] = {.size = 0x2000, .flags = OB_BAR_64},
	                 [2] = {.size = 0x100, .flags = OB_BAR_IO}},
		.irqs = irqs,
	};

	refuse(&layout, text);
}

/* Table and pending bits in a BAR of their own choice. */
static void refuse_places(uint16_t vectors, uint64_t table, uint64_t pba, uint32_t flags,
                          const char *text)
{
	const struct ob_window windows[] = {{OB_WINDOW_MSIX_TABLE, .offset = table},
	                                    {OB_WINDOW_MSIX_PBA, .offset = pba}};
	struct ob_layout layout = {
		.bars = {[0] = {.size = flags & OB_BAR_IO ? 0x100 : 0x2000,
	                        .flags = flags,
	                        .windows = windows,
	                        .nwindows = 2}},
		.irqs = {.msix_vectors = vectors},
	};

	refuse(&layout, text);
}

static void msix_structures(void **state)
{
	refuse_msix((struct ob_irqs){.msix_vectors = 2049, .msix_bar = 4},
	            "MSI-X: 2049 vectors, but 2048 is the most");
	refuse_msix((struct ob_irqs){.msix_vectors = 1, .msix_bar = 6}, "msix_bar is 0 to 5");
	refuse_msix((struct ob_irqs){.msix_vectors = 1, .msix_bar = 1},
	            "MSI-X: BAR 1 is the upper half of the 64-bit BAR 0");
	refuse_msix((struct ob_irqs){.msix_vectors = 1, .msix_bar = 2},
	            "BAR 2 has windows, but none for table and pending bit array");
	refuse_places(1, 0, 0x80, OB_BAR_IO, "BAR 0 is I/O");
	refuse_places(1, 4, 0x100, 0, "MSI-X table at 0x4 of 0x10 bytes: multiples of 8 expected");
	refuse_places(1, 0, 0x101, 0, "pending bit array at 0x101 of 0x8 bytes: multiples of 8");
	refuse_places(1, 0x1ff8, 0, 0, "MSI-X table at 0x1ff8 of 0x10 bytes: not within the BAR");
	refuse_places(65, 0, 0x1ff8, 0, "not within");
	refuse_places(1, 0, 0xfffffff8, 0, "not within");
	refuse_places(2, 0, 0x18, 0, "overlap in BAR 0");
	refuse_places(2, 0x10, 0x10, 0, "overlap in BAR 0");
	(void)state;
}

static void structures_next_to_each_other(void **state)
{
	struct ob_layout layout = {
		.bars = {[0] = {.size = 0x2000,
	                        OB_WINDOWS({OB_WINDOW_MSIX_TABLE, .offset = 0x1fe0},
	                                   {OB_WINDOW_MSIX_PBA, .offset = 0x1fd8})}},
		.irqs = {.msix_vectors = 2},
	};
	struct pci *pci = make_pci(&layout);
	const struct ob_bar *bar = &pci_layout(pci)->bars[0];

	/* By offset, with their sizes. */
	assert_int_equal(bar->nwindows, 2);
	assert_int_equal(bar->windows[0].kind, OB_WINDOW_MSIX_PBA);
	assert_int_equal(bar->windows[0].size, 8);
	assert_int_equal(bar->windows[1].size, 32);
	pci_free(pci);
	/* Without vectors they are nothing. */
	layout.irqs.msix_vectors = 0;
	pci = make_pci(&layout);
	assert_int_equal(pci_layout(pci)->bars[0].nwindows, 0);
	pci_free(pci);
	(void)state;
}

static void structures_in_two_bars(void **state)
{
	struct ob_layout layout = {
		.bars = {[1] = {.size = 0x1000, OB_WINDOWS({OB_WINDOW_MSIX_TABLE})},
	                 [3] = {.size = 0x1000, OB_WINDOWS({OB_WINDOW_MSIX_PBA, .offset = 0x20})}},
		.irqs = {.msix_vectors = 1},
	};
	struct pci *pci = make_pci(&layout);

	assert_true(pci_msix_covers(pci, 1, 0, 16));
	assert_true(pci_msix_covers(pci, 3, 0x20, 8));
	assert_false(pci_msix_covers(pci, 3, 0, 8));
	assert_int_equal(read32(pci, MSIX + PCI_MSIX_TABLE), 1);
	assert_int_equal(read32(pci, MSIX + PCI_MSIX_PBA), 0x20 | 3);
	pci_free(pci);
	(void)state;
}

static void the_core_makes_the_msix_bar(void **state)
{
	static const struct {
		uint16_t vectors;
		uint64_t size;
		uint32_t pba;
	} cases[] = {
		{1, 0x2000, 0x1000},   {64, 0x2000, 0x1000},    {256, 0x2000, 0x1000},
		{257, 0x4000, 0x2000}, {2048, 0x10000, 0x8000},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ob_layout layout = {.bars = {[0] = {.size = 0x1000, .flags = OB_BAR_64}}};
		const struct ob_layout *made;
		struct pci *pci;

		layout.irqs = (struct ob_irqs){.msix_vectors = cases[i].vectors, .msix_bar = 5};
		pci = make_pci(&layout);
		made = pci_layout(pci);
		assert_int_equal(made->bars[5].size, cases[i].size);
		assert_int_equal(made->bars[5].flags, 0);
		assert_int_equal(made->bars[5].nwindows, 2);
		assert_int_equal(made->bars[5].windows[0].kind, OB_WINDOW_MSIX_TABLE);
		assert_int_equal(made->bars[5].windows[0].offset, 0);
		assert_int_equal(made->bars[5].windows[1].kind, OB_WINDOW_MSIX_PBA);
		assert_int_equal(made->bars[5].windows[1].offset, cases[i].pba);
		pci_free(pci);
	}
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bar_sizes),
		cmocka_unit_test(bar_flags),
		cmocka_unit_test(bars_in_each_others_place),
		cmocka_unit_test(other_fields),
		cmocka_unit_test(msix_structures),
		cmocka_unit_test(structures_next_to_each_other),
		cmocka_unit_test(structures_in_two_bars),
		cmocka_unit_test(the_core_makes_the_msix_bar),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

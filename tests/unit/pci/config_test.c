/* SPDX-License-Identifier: BSD-3-Clause */
/* Configuration space: the header, BAR sizing, what may be written, and the capabilities. */
#include "kit.h"

static void identity(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	assert_int_equal(read32(pci, PCI_VENDOR_ID), 0x00101b36);
	assert_int_equal(read32(pci, PCI_CLASS_REVISION), 0x01080202);
	assert_int_equal(read8(pci, PCI_HEADER_TYPE), 0);
	assert_int_equal(read32(pci, PCI_SUBSYSTEM_VENDOR_ID), 0x11001af4);
	assert_int_equal(read8(pci, PCI_INTERRUPT_PIN), 1);
	assert_int_equal(pci_config_size(pci), 4096);
}

static void subsystem_defaults_to_the_device(void **state)
{
	struct ob_layout layout = {.ident = {.vendor = 0x1234, .device = 0x5678}};
	struct pci *pci = make_pci(&layout);

	assert_int_equal(read32(pci, PCI_SUBSYSTEM_VENDOR_ID), 0x56781234);
	assert_int_equal(read8(pci, PCI_INTERRUPT_PIN), 0);
	assert_int_equal(pci_config_size(pci), 256);
	pci_free(pci);
	(void)state;
}

/* What a BAR's register reads back after all ones, and after all zeroes. */
static void assert_sizing(struct pci *pci, unsigned offset, uint32_t ones, uint32_t zeroes)
{
	write32(pci, offset, 0);
	assert_int_equal(read32(pci, offset), zeroes);
	write32(pci, offset, UINT32_MAX);
	assert_int_equal(read32(pci, offset), ones);
}

static void bar_sizing(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	assert_sizing(pci, PCI_BASE_ADDRESS_0, 0xffffc004, 0x4); /* 16 KiB, 64-bit */
	assert_sizing(pci, PCI_BASE_ADDRESS_1, 0xffffffff, 0);
	assert_sizing(pci, PCI_BASE_ADDRESS_2, 0xfff00008, 0x8); /* 1 MiB, prefetchable */
	assert_sizing(pci, PCI_BASE_ADDRESS_3, 0xffffffc1, 0x1); /* 64 bytes, I/O */
	assert_sizing(pci, PCI_BASE_ADDRESS_4, 0xffffe000, 0);   /* 8 KiB, the core's */
	assert_sizing(pci, PCI_BASE_ADDRESS_5, 0, 0);
	assert_sizing(pci, PCI_ROM_ADDRESS, 0xfffff001, 0); /* 3000 bytes: 4 KiB */
}

static void bar_sizing_of_extreme_sizes(void **state)
{
	struct ob_layout layout = {
		.bars = {[0] = {.size = UINT64_C(1) << 40, .flags = OB_BAR_64 | OB_BAR_PREFETCH},
	                 [2] = {.size = UINT64_C(1) << 31},
	                 [3] = {.size = 16},
	                 [4] = {.size = 4, .flags = OB_BAR_IO},
	                 [5] = {.size = 256, .flags = OB_BAR_IO}},
		.rom = kit_rom,
		.rom_size = 1,
	};
	struct pci *pci = make_pci(&layout);

	assert_sizing(pci, PCI_BASE_ADDRESS_0, 0xc, 0xc);
	assert_sizing(pci, PCI_BASE_ADDRESS_1, 0xffffff00, 0);
	assert_sizing(pci, PCI_BASE_ADDRESS_2, 0x80000000, 0);
	assert_sizing(pci, PCI_BASE_ADDRESS_3, 0xfffffff0, 0);
	assert_sizing(pci, PCI_BASE_ADDRESS_4, 0xfffffffd, 1);
	assert_sizing(pci, PCI_BASE_ADDRESS_5, 0xffffff01, 1);
	assert_sizing(pci, PCI_ROM_ADDRESS, 0xfffff801, 0);
	pci_free(pci);
	(void)state;
}

static void bar_addresses(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;
	uint64_t address;

	write32(pci, PCI_BASE_ADDRESS_0, 0xfebf0000);
	write32(pci, PCI_BASE_ADDRESS_1, 0x80);
	write32(pci, PCI_BASE_ADDRESS_3, 0xc040);
	write32(pci, PCI_ROM_ADDRESS, 0xfe000000);
	assert_false(pci_bar_address(pci, 0, &address));
	assert_true(address == UINT64_C(0x80febf0000));
	write16(pci, PCI_COMMAND, PCI_COMMAND_MEMORY);
	assert_true(pci_bar_address(pci, 0, &address));
	assert_false(pci_bar_address(pci, 3, &address));
	assert_int_equal(address, 0xc040);
	assert_false(pci_bar_address(pci, 6, &address)); /* its own enable bit */
	assert_int_equal(address, 0xfe000000);
	write32(pci, PCI_ROM_ADDRESS, 0xfe000001);
	assert_true(pci_bar_address(pci, 6, &address));
	assert_int_equal(address, 0xfe000000);
	write16(pci, PCI_COMMAND, PCI_COMMAND_IO);
	assert_true(pci_bar_address(pci, 3, &address));
	assert_false(pci_bar_address(pci, 6, &address));
	/* The upper half of another, none at all, past the last. */
	write16(pci, PCI_COMMAND, 0x3);
	assert_false(pci_bar_address(pci, 1, &address));
	assert_false(pci_bar_address(pci, 5, &address));
	assert_false(pci_bar_address(pci, 7, &address));
	assert_int_equal(address, 0);
}

static void command_register(void **state)
{
	struct fixture *fixture = *state;
	struct ob_layout bare = {.irqs = {.intx = true}};
	struct pci *pci;

	write16(fixture->pci, PCI_COMMAND, 0xffff);
	assert_int_equal(read16(fixture->pci, PCI_COMMAND), 0x0547);
	/* Without BARs there is no space to switch on. */
	pci = make_pci(&bare);
	write16(pci, PCI_COMMAND, 0xffff);
	assert_int_equal(read16(pci, PCI_COMMAND), 0x0544);
	pci_free(pci);
}

static void status_register(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	assert_int_equal(read16(pci, PCI_STATUS), PCI_STATUS_CAP_LIST);
	write16(pci, PCI_STATUS, 0xffff);
	assert_int_equal(read16(pci, PCI_STATUS), PCI_STATUS_CAP_LIST);
	pci_irq_raise(pci, 0);
	assert_int_equal(read16(pci, PCI_STATUS), PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
	write16(pci, PCI_STATUS, 0xffff); /* not among those that are cleared by writing */
	assert_int_equal(read16(pci, PCI_STATUS), PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
	pci_irq_lower(pci, 0);
	assert_int_equal(read16(pci, PCI_STATUS), PCI_STATUS_CAP_LIST);
}

static void scratch_registers(void **state)
{
	struct fixture *fixture = *state;
	struct ob_layout conventional = {.ident = {.vendor = 1}};
	struct pci *pci = make_pci(&conventional);

	write8(fixture->pci, PCI_INTERRUPT_LINE, 0xab);
	write8(fixture->pci, PCI_INTERRUPT_PIN, 0xff);
	assert_int_equal(read16(fixture->pci, PCI_INTERRUPT_LINE), 0x01ab);
	write32(fixture->pci, PCI_CACHE_LINE_SIZE, UINT32_MAX);
	assert_int_equal(read32(fixture->pci, PCI_CACHE_LINE_SIZE), 0x000000ff);
	write32(pci, PCI_CACHE_LINE_SIZE, UINT32_MAX);
	assert_int_equal(read32(pci, PCI_CACHE_LINE_SIZE), 0x0000f8ff);
	pci_free(pci);
}

/* Of all bytes: the bits that no write changes are as they were. */
static void identity_and_capabilities_are_read_only(void **state)
{
	struct fixture *fixture = *state;
	static const unsigned read_only[] = {
		PCI_VENDOR_ID,
		PCI_CLASS_REVISION,
		PCI_SUBSYSTEM_VENDOR_ID,
		PCI_CAPABILITY_LIST,
		PM,
		MSIX + 4,
		MSIX + 8,
		EXPRESS,
		EXPRESS + 4,
		EXPRESS + 12,
		EXPRESS + 0x2c,
		0x100,
		0xffc,
	};
	uint8_t ones[4096];

	memset(ones, 0xff, sizeof(ones));
	for (size_t i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++) {
		uint32_t before = read32(fixture->pci, read_only[i]);

		pci_config_write(fixture->pci, 0, ones, sizeof(ones));
		assert_int_equal(read32(fixture->pci, read_only[i]), before);
	}
}

/* id, place, bytes of each; a guest must find the same in every version. */
static void capability_chain(void **state)
{
	struct fixture *fixture = *state;
	static const uint8_t pm[] = {0x01, 0x50, 0x03, 0x00, 0x08, 0x00, 0x00, 0x00};
	static const uint8_t msi[] = {0x05, 0x70, 0x86, 0x01};
	static const uint8_t msix[] = {0x11, 0x80, 69, 0x00, 0x04, 0, 0, 0, 0x04, 0x10, 0, 0};
	static const uint8_t express[0x3c] = {
		0x10, 0x00, 0x02, 0x00, 0x00,          0x80,          0x00,          0x10,
		0x10, 0x28, 0x00, 0x00, 0x43,          0x00,          0x40,          0x00,
		0x00, 0x00, 0x43, 0x10, [0x24] = 0x10, [0x2c] = 0x0e, [0x30] = 0x03,
	};
	uint8_t bytes[64];

	assert_int_equal(read8(fixture->pci, PCI_CAPABILITY_LIST), PM);
	pci_config_read(fixture->pci, PM, bytes, sizeof(pm));
	assert_memory_equal(bytes, pm, sizeof(pm));
	pci_config_read(fixture->pci, MSI, bytes, sizeof(msi));
	assert_memory_equal(bytes, msi, sizeof(msi));
	pci_config_read(fixture->pci, MSIX, bytes, sizeof(msix));
	assert_memory_equal(bytes, msix, sizeof(msix));
	pci_config_read(fixture->pci, EXPRESS, bytes, sizeof(express));
	assert_memory_equal(bytes, express, sizeof(express));
	assert_int_equal(read32(fixture->pci, 0x100), 0);
}

static void chain_of(const struct ob_layout *layout, const uint8_t *ids)
{
	struct pci *pci = make_pci(layout);
	unsigned place = read8(pci, PCI_CAPABILITY_LIST);

	for (; *ids; ids++) {
		assert_int_equal(read8(pci, place), *ids);
		place = read8(pci, place + 1);
	}
	assert_int_equal(place, 0);
	pci_free(pci);
}

static void capabilities_follow_the_layout(void **state)
{
	struct ob_layout layout = {.ident = {.vendor = 1}};

	chain_of(&layout, (const uint8_t[]){0x01, 0x13, 0});
	layout.irqs.msi_vectors = 1;
	chain_of(&layout, (const uint8_t[]){0x01, 0x05, 0x13, 0});
	layout.pcie = true;
	chain_of(&layout, (const uint8_t[]){0x01, 0x05, 0x10, 0});
	layout.irqs = (struct ob_irqs){.msix_vectors = 1};
	chain_of(&layout, (const uint8_t[]){0x01, 0x11, 0x10, 0});
	(void)state;
}

static void power_states(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;
	uint64_t address;

	write16(pci, PCI_COMMAND, PCI_COMMAND_MEMORY);
	write32(pci, PCI_BASE_ADDRESS_0, 0x10000);
	write16(pci, PM + PCI_PM_CTRL, 0xffff);
	assert_int_equal(read16(pci, PM + PCI_PM_CTRL), 0x000b);
	assert_false(pci_bar_address(pci, 0, &address));
	/* D1 and D2 do not exist: the state stays. */
	write16(pci, PM + PCI_PM_CTRL, 1);
	assert_int_equal(read16(pci, PM + PCI_PM_CTRL), 0x000b);
	write16(pci, PM + PCI_PM_CTRL, 0);
	assert_int_equal(read16(pci, PM + PCI_PM_CTRL), 0x0008);
	write8(pci, PM + PCI_PM_CTRL, 2);
	assert_int_equal(read16(pci, PM + PCI_PM_CTRL), 0x0008);
	/* Back without a reset. */
	assert_true(pci_bar_address(pci, 0, &address));
	assert_int_equal(address, 0x10000);
}

static void express_control_registers(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;

	write16(pci, EXPRESS + PCI_EXP_DEVCTL, 0xffff);
	assert_int_equal(read16(pci, EXPRESS + PCI_EXP_DEVCTL), 0x781f); /* no FLR bit */
	write16(pci, EXPRESS + PCI_EXP_LNKCTL, 0xffff);
	assert_int_equal(read16(pci, EXPRESS + PCI_EXP_LNKCTL), 0x00c8);
	write16(pci, EXPRESS + PCI_EXP_DEVCTL2, 0xffff);
	assert_int_equal(read16(pci, EXPRESS + PCI_EXP_DEVCTL2), 0x0010);
	write16(pci, EXPRESS + PCI_EXP_LNKSTA, 0xffff);
	assert_int_equal(read16(pci, EXPRESS + PCI_EXP_LNKSTA), 0x1043);
}

static void msi_registers(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;
	uint8_t ones[24], bytes[24];
	static const uint8_t expected[24] = {
		0x05, 0x70, 0xf7, 0x01, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0x00, 0x00, 0xff, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	};

	memset(ones, 0xff, sizeof(ones));
	pci_config_write(pci, MSI, ones, sizeof(ones));
	pci_config_read(pci, MSI, bytes, sizeof(bytes));
	assert_memory_equal(bytes, expected, sizeof(expected));
}

static void thirty_two_mask_bits(void **state)
{
	struct ob_layout layout = {.irqs = {.msi_vectors = 32}};
	struct pci *pci = make_pci(&layout);

	write32(pci, MSI + PCI_MSI_MASK_64, UINT32_MAX);
	assert_int_equal(read32(pci, MSI + PCI_MSI_MASK_64), UINT32_MAX);
	assert_int_equal(read16(pci, MSI + PCI_MSI_FLAGS), 0x018a);
	pci_free(pci);
	(void)state;
}

static void any_size_and_alignment(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;
	uint8_t whole[4096], byte;
	static const uint8_t bytes[] = {0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x11};

	pci_config_read(pci, 0, whole, sizeof(whole));
	for (unsigned i = 0; i < sizeof(whole); i++) {
		pci_config_read(pci, i, &byte, 1);
		assert_int_equal(byte, whole[i]);
	}
	/* Across three BARs, from the middle of one: the masks are by byte. */
	pci_config_write(pci, PCI_BASE_ADDRESS_0 + 2, bytes, sizeof(bytes));
	assert_int_equal(read32(pci, PCI_BASE_ADDRESS_0), 0xbbaa0004);
	assert_int_equal(read32(pci, PCI_BASE_ADDRESS_1), 0xffeeddcc);
	assert_int_equal(read32(pci, PCI_BASE_ADDRESS_2), 0x00000008);
}

static void nothing_beyond_the_size(void **state)
{
	struct fixture *fixture = *state;
	uint8_t bytes[8];

	memset(bytes, 0xff, sizeof(bytes));
	pci_config_read(fixture->pci, 4092, bytes, 8);
	assert_memory_equal(bytes, "\0\0\0\0\0\0\0\0", 8);
	pci_config_read(fixture->pci, UINT32_MAX, bytes, 8);
	pci_config_write(fixture->pci, 4094, bytes, 8);
	pci_config_write(fixture->pci, UINT32_MAX, bytes, 8);
	pci_config_write(fixture->pci, 0, bytes, 0);
}

static void reset_restores_everything(void **state)
{
	struct fixture *fixture = *state;
	struct pci *pci = fixture->pci;
	uint8_t before[4096], after[4096], ones[4096];

	memset(ones, 0xff, sizeof(ones));
	pci_config_read(pci, 0, before, sizeof(before));
	pci_irq_raise(pci, 3);
	pci_config_write(pci, 0, ones, sizeof(ones));
	pci_config_read(pci, 0, after, sizeof(after));
	assert_memory_not_equal(before, after, sizeof(before));
	pci_reset(pci);
	pci_config_read(pci, 0, after, sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FIXTURE(identity),
		cmocka_unit_test(subsystem_defaults_to_the_device),
		WITH_FIXTURE(bar_sizing),
		cmocka_unit_test(bar_sizing_of_extreme_sizes),
		WITH_FIXTURE(bar_addresses),
		WITH_FIXTURE(command_register),
		WITH_FIXTURE(status_register),
		WITH_FIXTURE(scratch_registers),
		WITH_FIXTURE(identity_and_capabilities_are_read_only),
		WITH_FIXTURE(capability_chain),
		cmocka_unit_test(capabilities_follow_the_layout),
		WITH_FIXTURE(power_states),
		WITH_FIXTURE(express_control_registers),
		WITH_FIXTURE(msi_registers),
		cmocka_unit_test(thirty_two_mask_bits),
		WITH_FIXTURE(any_size_and_alignment),
		WITH_FIXTURE(nothing_beyond_the_size),
		WITH_FIXTURE(reset_restores_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

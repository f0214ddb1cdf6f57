/* SPDX-License-Identifier: BSD-3-Clause */
/* The edu model: its registers, the factorial, DMA and its bounds, interrupts, quiesce and reset.
 */
#include <stdio.h>
#include <string.h>

#include "kit.h"
#include "outboard/endian.h"

enum {
	ID = 0x00,
	LIVENESS = 0x04,
	FACTORIAL = 0x08,
	STATUS = 0x20,
	IRQ_STATUS = 0x24,
	IRQ_RAISE = 0x60,
	IRQ_ACK = 0x64,
	SOURCE = 0x80,
	DESTINATION = 0x88,
	COUNT = 0x90,
	COMMAND = 0x98,

	COMPUTING = 0x01,
	IRQ_WHEN_COMPUTED = 0x80,
	START = 1,
	TO_GUEST = 2,
	IRQ_WHEN_DONE = 4,

	BUFFER = 0x40000,
	BUFFER_SIZE = 4096,
	PAGE = 4096,
};

static void *setup(enum kit_mode mode)
{
	struct kit *kit = kit_new(mode);

	/* Guest memory in this kit lies above what 28 bits reach. */
	kit_start(kit, "edu", "dma-mask=0xffffffffff");
	return kit;
}

static void teardown(void *fixture)
{
	kit_free(fixture);
}

static uint32_t get(struct kit *kit, uint64_t reg)
{
	return (uint32_t)kit_read(kit, 0, reg, 4);
}

static void set(struct kit *kit, uint64_t reg, uint32_t value)
{
	kit_write(kit, 0, reg, value, 4);
}

static unsigned messages(struct kit *kit)
{
	return kit_signals(kit, PCI_IRQ_MSI, 0);
}

static void use_msi(struct kit *kit)
{
	pci_irq_wire(device_pci(kit->dev), PCI_IRQ_MSI, 0, true);
}

static void start_dma(struct kit *kit, uint64_t source, uint64_t destination, uint64_t count,
                      uint32_t command)
{
	kit_write(kit, 0, SOURCE, source, 8);
	kit_write(kit, 0, DESTINATION, destination, 8);
	kit_write(kit, 0, COUNT, count, 8);
	set(kit, COMMAND, command | START);
}

/* Until it is over, successful or not. */
static void run_dma(struct kit *kit, uint64_t source, uint64_t destination, uint64_t count,
                    uint32_t command)
{
	start_dma(kit, source, destination, count, command);
	kit_settle(kit);
	assert_int_equal(get(kit, COMMAND), command);
}

/* A page of guest memory with bytes that tell where they are. */
static uint64_t pattern(struct kit *kit, uint8_t seed)
{
	uint64_t address = kit_alloc(kit, PAGE, PAGE);
	uint8_t *bytes = kit_at(kit, address);

	for (unsigned i = 0; i < PAGE; i++)
		bytes[i] = (uint8_t)(seed + i * 7 + i / 256);
	return address;
}

static void identification_and_liveness(void **state)
{
	static const uint32_t values[] = {0, 1, 0x12345678, 0xffffffff};
	struct kit *kit = *state;

	assert_int_equal(get(kit, ID), 0x010000ed);
	set(kit, ID, 0);
	assert_int_equal(get(kit, ID), 0x010000ed);
	for (unsigned i = 0; i < sizeof(values) / sizeof(*values); i++) {
		set(kit, LIVENESS, values[i]);
		assert_int_equal(get(kit, LIVENESS), ~values[i]);
	}
	/* Eight bytes are two registers. */
	assert_true(kit_read(kit, 0, ID, 8) == 0x010000ed);
	kit_write(kit, 0, ID, UINT64_C(0x1111111100000000), 8);
	assert_int_equal(get(kit, LIVENESS), 0xeeeeeeee);
	/* What is not a register reads as zeroes and takes writes. */
	set(kit, 0x0c, 1);
	set(kit, BUFFER, 1);
	assert_int_equal(get(kit, 0x0c) | get(kit, BUFFER) | get(kit, IRQ_RAISE), 0);
}

static void factorials(void **state)
{
	static const uint32_t cases[][2] = {
		{0, 1},           {1, 1},           {5, 120}, {12, 479001600},
		{13, 1932053504}, {33, 0x80000000}, {34, 0},  {0xffffffff, 0},
	};
	struct kit *kit = *state;

	kit_use_intx(kit);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		set(kit, FACTORIAL, cases[i][0]);
		assert_int_equal(get(kit, STATUS), COMPUTING);
		/* Not while it computes. */
		set(kit, FACTORIAL, 3);
		kit_turn(kit);
		assert_int_equal(get(kit, STATUS), 0);
		assert_int_equal(get(kit, FACTORIAL), cases[i][1]);
		kit_settle(kit);
		assert_int_equal(get(kit, FACTORIAL), cases[i][1]);
	}
	assert_int_equal(get(kit, IRQ_STATUS), 0);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 0);
}

static void a_factorial_with_an_interrupt(void **state)
{
	struct kit *kit = *state;

	use_msi(kit);
	/* Of the status, the driver has one bit. */
	set(kit, STATUS, 0xffffffff);
	assert_int_equal(get(kit, STATUS), IRQ_WHEN_COMPUTED);
	set(kit, FACTORIAL, 5);
	assert_int_equal(get(kit, STATUS), IRQ_WHEN_COMPUTED | COMPUTING);
	set(kit, STATUS, 0);
	set(kit, STATUS, IRQ_WHEN_COMPUTED);
	assert_int_equal(get(kit, STATUS), IRQ_WHEN_COMPUTED | COMPUTING);
	assert_int_equal(messages(kit), 0);
	kit_turn(kit);
	assert_int_equal(get(kit, STATUS), IRQ_WHEN_COMPUTED);
	assert_int_equal(get(kit, IRQ_STATUS), 1);
	assert_int_equal(messages(kit), 1);
	set(kit, IRQ_ACK, 1);
	assert_int_equal(get(kit, IRQ_STATUS), 0);
	set(kit, STATUS, 0);
	set(kit, FACTORIAL, 5);
	kit_settle(kit);
	assert_int_equal(get(kit, IRQ_STATUS), 0);
	assert_int_equal(messages(kit), 1);
}

/* The pin is up for as long as a bit stands in the interrupt status. */
static void the_pin_is_a_level(void **state)
{
	struct kit *kit = *state;

	kit_use_intx(kit);
	set(kit, IRQ_RAISE, 0);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 0);
	set(kit, IRQ_RAISE, 0x41);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 1);
	set(kit, IRQ_RAISE, 0x80000000);
	assert_int_equal(get(kit, IRQ_STATUS), 0x80000041);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 1);
	set(kit, IRQ_ACK, 0x40);
	set(kit, IRQ_ACK, 0x80000002);
	assert_int_equal(get(kit, IRQ_STATUS), 1);
	assert_true(kit_intx_again(kit));
	set(kit, IRQ_ACK, 0xffffffff);
	assert_int_equal(get(kit, IRQ_STATUS), 0);
	assert_false(kit_intx_again(kit));
	set(kit, IRQ_RAISE, 1);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 3);
}

static void each_raise_is_a_message(void **state)
{
	struct kit *kit = *state;

	kit_use_intx(kit);
	use_msi(kit);
	set(kit, IRQ_RAISE, 1);
	set(kit, IRQ_RAISE, 2);
	set(kit, IRQ_ACK, 1);
	assert_int_equal(messages(kit), 2);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 0);
	/* What is not acknowledged is on the pin when the client goes back to it. */
	pci_irq_wire(device_pci(kit->dev), PCI_IRQ_MSI, 0, false);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 1);
	set(kit, IRQ_ACK, 2);
	assert_false(kit_intx_again(kit));
}

static void dma_there_and_back(void **state)
{
	struct kit *kit = *state;
	uint64_t from = pattern(kit, 1), to = kit_alloc(kit, PAGE, PAGE);
	static const uint8_t zeroes[PAGE];

	use_msi(kit);
	run_dma(kit, from + 5, BUFFER + 100, 1000, 0);
	assert_int_equal(get(kit, IRQ_STATUS), 0);
	run_dma(kit, BUFFER + 101, to + 33, 998, TO_GUEST | IRQ_WHEN_DONE);
	assert_int_equal(get(kit, IRQ_STATUS), 0x100);
	assert_int_equal(messages(kit), 1);
	assert_memory_equal(kit_at(kit, to + 33), kit_at(kit, from + 6), 998);
	assert_memory_equal(kit_at(kit, to), zeroes, 33);
	assert_memory_equal(kit_at(kit, to + 33 + 998), zeroes, PAGE - 33 - 998);
	/* All of the buffer, and nothing of it. */
	run_dma(kit, from, BUFFER, BUFFER_SIZE, 0);
	run_dma(kit, BUFFER, to, BUFFER_SIZE, TO_GUEST);
	assert_memory_equal(kit_at(kit, to), kit_at(kit, from), PAGE);
	set(kit, IRQ_ACK, 0x100);
	run_dma(kit, from, BUFFER + BUFFER_SIZE, 0, IRQ_WHEN_DONE);
	assert_int_equal(get(kit, IRQ_STATUS), 0x100);
	assert_int_equal(messages(kit), 2);
}

/* What a transfer has to leave alone, whatever the driver says: it ends all the same. */
static void dma_stays_inside_of_the_buffer(void **state)
{
	static const struct {
		uint64_t inside, count;
	} cases[] = {
		{BUFFER - 1, 1},
		{BUFFER + BUFFER_SIZE, 1},
		{BUFFER, BUFFER_SIZE + 1},
		{BUFFER + 1, BUFFER_SIZE},
		{BUFFER + BUFFER_SIZE + 1, 0},
		{0, 1},
		{UINT64_MAX, 1},
		{BUFFER + 1, UINT64_MAX},
		{BUFFER, UINT64_MAX},
		{BUFFER + 16, UINT64_MAX - 15},
		{BUFFER - 8, 16},
		{UINT64_MAX - 7, BUFFER + 16},
	};
	struct kit *kit = *state;
	uint64_t guest = pattern(kit, 3), before = pattern(kit, 3);

	use_msi(kit);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		run_dma(kit, guest, cases[i].inside, cases[i].count, IRQ_WHEN_DONE);
		assert_int_equal(messages(kit), 2 * i + 1);
		run_dma(kit, cases[i].inside, guest, cases[i].count, TO_GUEST | IRQ_WHEN_DONE);
		assert_int_equal(messages(kit), 2 * i + 2);
	}
	assert_memory_equal(kit_at(kit, guest), kit_at(kit, before), PAGE);
	run_dma(kit, BUFFER, guest, BUFFER_SIZE, TO_GUEST);
	assert_int_equal(*(uint8_t *)kit_at(kit, guest), 0);
	assert_memory_equal(kit_at(kit, guest), (uint8_t *)kit_at(kit, guest) + 1, PAGE - 1);
}

/* Whoever waits for the interrupt gets it. */
static void dma_to_where_nothing_is_mapped(void **state)
{
	static const uint64_t addresses[] = {
		0, KIT_BASE - 1, KIT_BASE + KIT_MEMORY - 1, KIT_BASE + KIT_MEMORY, UINT64_MAX,
	};
	struct kit *kit = *state;

	use_msi(kit);
	for (unsigned i = 0; i < sizeof(addresses) / sizeof(*addresses); i++) {
		run_dma(kit, addresses[i], BUFFER, 2, IRQ_WHEN_DONE);
		assert_int_equal(get(kit, IRQ_STATUS), 0x100);
		run_dma(kit, BUFFER, addresses[i], 2, TO_GUEST | IRQ_WHEN_DONE);
		assert_int_equal(messages(kit), 2 * (i + 1));
	}
	assert_int_equal(((uint8_t *)kit_at(kit, KIT_BASE))[0], 0);
}

/* Of the guest's address, the device has as many bits as dma-mask says. */
static void the_mask_cuts_addresses(void **state)
{
	struct kit *kit = *state;
	uint64_t from = pattern(kit, 9), to = kit_alloc(kit, PAGE, PAGE);

	run_dma(kit, from | UINT64_C(0xabcdef) << 40, BUFFER, PAGE, 0);
	run_dma(kit, BUFFER, to | UINT64_C(1) << 63, PAGE, TO_GUEST);
	assert_memory_equal(kit_at(kit, to), kit_at(kit, from), PAGE);
}

static void the_default_mask_is_28_bits(void **state)
{
	struct kit *kit = kit_new(((struct kit *)*state)->mode);
	uint64_t from;

	/* KIT_BASE has none of these. */
	kit_start(kit, "edu", "");
	from = pattern(kit, 1);
	assert_int_equal(
		dma_map(device_dma(kit->dev), 0x1000, PAGE, DMA_READABLE | DMA_WRITEABLE, -1, 0),
		0);
	use_msi(kit);
	run_dma(kit, from, BUFFER, 0, IRQ_WHEN_DONE);
	kit_write(kit, 0, COUNT, 4, 8);
	set(kit, COMMAND, START | IRQ_WHEN_DONE);
	/* Asked of the client at that address, which holds back its answer: so ask no further. */
	assert_int_equal(kit->asked_count, 1);
	assert_true(kit->asked[0]->address == (from & 0xfffffff));
	kit->hold_dma = true;
	kit_free(kit);
}

/* While a transfer is under way its registers keep their values. */
static void a_transfer_is_left_alone(void **state)
{
	struct kit *kit = *state;
	uint64_t from = pattern(kit, 5), other = pattern(kit, 77);
	uint64_t to = kit_alloc(kit, PAGE, PAGE);

	if (kit->mode == KIT_SHARED)
		return;
	use_msi(kit);
	kit->hold_dma = true;
	start_dma(kit, from, BUFFER, 600, IRQ_WHEN_DONE);
	kit_settle(kit);
	assert_int_equal(get(kit, COMMAND), START | IRQ_WHEN_DONE);
	kit_write(kit, 0, SOURCE, other, 8);
	kit_write(kit, 0, COUNT, 1, 8);
	set(kit, COMMAND, START | TO_GUEST);
	assert_true(kit_read(kit, 0, SOURCE, 8) == from);
	assert_int_equal(get(kit, COUNT), 600);
	assert_int_equal(messages(kit), 0);
	kit->hold_dma = false;
	kit_settle(kit);
	assert_int_equal(get(kit, COMMAND), IRQ_WHEN_DONE);
	assert_int_equal(messages(kit), 1);
	run_dma(kit, BUFFER, to, 600, TO_GUEST);
	assert_memory_equal(kit_at(kit, to), kit_at(kit, from), 600);
}

static void a_quiesce_interrupts_and_resume_goes_on(void **state)
{
	struct kit *kit = *state;
	uint64_t from = pattern(kit, 5), to = kit_alloc(kit, PAGE, PAGE);

	use_msi(kit);
	set(kit, STATUS, IRQ_WHEN_COMPUTED);
	for (unsigned turns = 0; turns < 12; turns++) {
		unsigned before = messages(kit);

		set(kit, FACTORIAL, 10);
		start_dma(kit, from, BUFFER, PAGE, IRQ_WHEN_DONE);
		for (unsigned i = 0; i < turns / 2; i++)
			kit_turn(kit);
		assert_true(kit_quiesce(kit));
		assert_int_equal(kit->asked_count, 0);
		kit_settle(kit);
		/* A second one while it is quiet changes nothing. */
		assert_true(kit_quiesce(kit));
		kit_resume(kit);
		kit_resume(kit);
		kit_settle(kit);
		assert_int_equal(get(kit, STATUS), IRQ_WHEN_COMPUTED);
		assert_int_equal(get(kit, FACTORIAL), 3628800);
		assert_int_equal(get(kit, COMMAND), IRQ_WHEN_DONE);
		assert_int_equal(messages(kit), before + 2);
		assert_int_equal(get(kit, IRQ_STATUS), 0x101);
		set(kit, IRQ_ACK, 0x101);
	}
	run_dma(kit, BUFFER, to, PAGE, TO_GUEST);
	assert_memory_equal(kit_at(kit, to), kit_at(kit, from), PAGE);
}

/* A transfer that the client never answers ends when the memory goes away. */
static void memory_goes_away_under_a_transfer(void **state)
{
	struct kit *kit = *state;
	uint64_t from = pattern(kit, 5);

	use_msi(kit);
	kit->hold_dma = true;
	start_dma(kit, from, BUFFER, PAGE, IRQ_WHEN_DONE);
	kit_unmap(kit);
	kit_settle(kit);
	assert_true(kit->is_unmapped);
	assert_int_equal(get(kit, COMMAND), IRQ_WHEN_DONE);
	assert_int_equal(messages(kit), 1);
	kit->hold_dma = false;
	kit_map(kit);
	run_dma(kit, from, BUFFER, PAGE, 0);
}

static void reset_is_power_on(void **state)
{
	struct kit *kit = *state;
	uint64_t from = pattern(kit, 5), to = pattern(kit, 6);
	static const uint8_t zeroes[PAGE];

	kit_use_intx(kit);
	run_dma(kit, from, BUFFER, PAGE, 0);
	for (unsigned round = 0; round < 2; round++) {
		set(kit, LIVENESS, 7);
		set(kit, STATUS, IRQ_WHEN_COMPUTED);
		set(kit, FACTORIAL, 10);
		set(kit, IRQ_RAISE, 0xff);
		kit->hold_dma = round;
		start_dma(kit, from, BUFFER, PAGE, IRQ_WHEN_DONE);
		kit_reset(kit);
		kit->hold_dma = false;
		kit_settle(kit);
		assert_int_equal(get(kit, ID), 0x010000ed);
		for (unsigned reg = LIVENESS; reg < 0x100; reg += 4)
			assert_int_equal(get(kit, reg), 0);
		assert_false(kit_intx_again(kit));
		assert_int_equal(kit->asked_count, 0);
	}
	run_dma(kit, BUFFER, to, PAGE, TO_GUEST);
	assert_memory_equal(kit_at(kit, to), zeroes, PAGE);
}

/* Whatever it is at: a factorial that computes, a transfer that waits, the pin that is up. */
static void set_up_for_stream(struct kit *kit, uint64_t address)
{
	kit_write(kit, 0, SOURCE, BUFFER + 16, 8);
	kit_write(kit, 0, DESTINATION, address, 8);
	kit_write(kit, 0, COUNT, 4, 8);
	set(kit, LIVENESS, 0x12345678);
	set(kit, IRQ_RAISE, 0x30);
}

static void expect_stream(struct kit *kit)
{
	assert_int_equal(get(kit, LIVENESS), ~0x12345678u);
	assert_int_equal(get(kit, IRQ_STATUS), 0x30);
	assert_int_equal(kit_read(kit, 0, SOURCE, 8), BUFFER + 16);
	assert_int_equal(kit_read(kit, 0, COUNT, 8), 4);
}

static void it_moves_with_its_work(void **state)
{
	struct kit *kit = *state;
	uint64_t address = kit_alloc(kit, 4096, 4096);

	kit_use_intx(kit);
	ob_put_le32(kit_at(kit, address), 0xcafe);
	kit_write(kit, 0, SOURCE, address, 8);
	kit_write(kit, 0, DESTINATION, BUFFER + 16, 8);
	kit_write(kit, 0, COUNT, 4, 8);
	set(kit, COMMAND, START);
	kit_settle(kit);
	set_up_for_stream(kit, address + 8);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 1);
	set(kit, STATUS, 0);
	set(kit, FACTORIAL, 5);
	set(kit, COMMAND, START | TO_GUEST);
	kit_migrate(kit);
	assert_int_equal(kit_signals(kit, PCI_IRQ_INTX, 0), 2);
	kit_settle(kit);
	expect_stream(kit);
	assert_int_equal(get(kit, FACTORIAL), 120);
	assert_int_equal(get(kit, STATUS), 0);
	assert_int_equal(ob_get_le32(kit_at(kit, address + 8)), 0xcafe);
	set(kit, IRQ_ACK, 0x30);
	assert_false(kit_intx_again(kit));
}

/* What is begun while the device is stopped begins when it runs. */
static void work_that_is_begun_while_stopped(void **state)
{
	struct kit *kit = *state;

	assert_true(kit_quiesce(kit));
	set(kit, FACTORIAL, 4);
	kit_settle(kit);
	assert_int_equal(get(kit, STATUS), COMPUTING);
	kit_resume(kit);
	kit_settle(kit);
	assert_int_equal(get(kit, FACTORIAL), 24);
}

static void streams_of_all_versions_load(void **state)
{
	static uint8_t stream[1 << 16];
	struct kit *kit = *state;
	unsigned version;
	char name[64];
	size_t size;

	set_up_for_stream(kit, KIT_BASE);
	kit_write_stream(kit, "new-edu.bin");
	for (version = 1;; version++) {
		snprintf(name, sizeof(name), "v%u-edu.bin", version);
		if (!kit_read_stream(name, stream, sizeof(stream), &size))
			break;
		if (kit_load(kit, stream, size))
			fail_msg("%s: %s", name, kit->why);
		expect_stream(kit);
	}
	assert_true(version > 1);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(identification_and_liveness),
		KIT_TEST(factorials),
		KIT_TEST(a_factorial_with_an_interrupt),
		KIT_TEST(the_pin_is_a_level),
		KIT_TEST(each_raise_is_a_message),
		KIT_TEST(dma_there_and_back),
		KIT_TEST(dma_stays_inside_of_the_buffer),
		KIT_TEST(dma_to_where_nothing_is_mapped),
		KIT_TEST(the_mask_cuts_addresses),
		KIT_TEST(the_default_mask_is_28_bits),
		KIT_TEST(a_transfer_is_left_alone),
		KIT_TEST(a_quiesce_interrupts_and_resume_goes_on),
		KIT_TEST(memory_goes_away_under_a_transfer),
		KIT_TEST(reset_is_power_on),
		KIT_TEST(it_moves_with_its_work),
		KIT_TEST(work_that_is_begun_while_stopped),
		KIT_TEST(streams_of_all_versions_load),
	};

	return KIT_RUN("edu", tests, setup, teardown);
}

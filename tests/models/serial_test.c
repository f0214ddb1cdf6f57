/* SPDX-License-Identifier: BSD-3-Clause */
/* The 16550A behind pci-serial: registers, FIFOs, interrupts, loopback, breaks, backpressure. */
#include <stdio.h>
#include <string.h>

#include "kit.h"
#include "line.h"

enum {
	DATA,
	IER,
	IIR,
	LCR,
	MCR,
	LSR,
	MSR,
	SCR,
	FCR = IIR,

	RECEIVED = 1,
	EMPTY = 2,
	LINE_STATUS = 4,
	MODEM = 8,

	NONE = 0x01,
	IS_MODEM = 0x00,
	IS_EMPTY = 0x02,
	IS_RECEIVED = 0x04,
	IS_LINE = 0x06,
	IS_TIMEOUT = 0x0c,
	FIFOS = 0xc0,

	READY = 0x01,
	OVERRUN = 0x02,
	BREAK = 0x10,
	IDLE = 0x60,
	IN_FIFO = 0x80,
	LOOP = 0x10,
	FIFO_SIZE = 16,
};

static void *setup(enum kit_mode mode)
{
	struct kit *kit = kit_new(mode);

	kit_start(kit, "pci-serial", "chardev=c0");
	kit_use_intx(kit);
	kit_settle(kit);
	return kit;
}

static void teardown(void *fixture)
{
	kit_free(fixture);
}

static uint8_t get(struct kit *kit, uint64_t reg)
{
	return (uint8_t)kit_read(kit, 0, reg, 1);
}

static void set(struct kit *kit, uint64_t reg, uint8_t value)
{
	kit_write(kit, 0, reg, value, 1);
}

static void say(struct kit *kit, const char *text)
{
	assert_int_equal(line_say(kit_line(kit), text, strlen(text)), strlen(text));
	kit_settle(kit);
}

static void hear(struct kit *kit, const char *text)
{
	char got[64];
	size_t length = line_hear(kit_line(kit), got, sizeof(got));

	kit_settle(kit);
	assert_int_equal(length, strlen(text));
	assert_memory_equal(got, text, length);
}

static void take(struct kit *kit, const char *text)
{
	for (; *text; text++)
		assert_int_equal(get(kit, DATA), *text);
}

static bool pin(struct kit *kit)
{
	return kit_intx_again(kit);
}

static void power_on(void **state)
{
	struct kit *kit = *state;

	assert_int_equal(get(kit, IER), 0);
	assert_int_equal(get(kit, IIR), NONE);
	assert_int_equal(get(kit, LCR), 0);
	assert_int_equal(get(kit, LSR), IDLE);
	assert_int_equal(get(kit, MSR), 0xb0);
	assert_int_equal(get(kit, DATA), 0);
	assert_false(pin(kit));
	/* As QEMU's: 1b36:0002, class 0700 with programming interface 2. */
	assert_int_equal(kit_read(kit, DEVICE_REGION_CONFIG, 0, 4), 0x00021b36);
	assert_int_equal(kit_read(kit, DEVICE_REGION_CONFIG, 8, 4), 0x07000201);
	assert_int_equal(kit_read(kit, DEVICE_REGION_CONFIG, 0x2c, 4), 0x11001af4);
	assert_int_equal(kit_read(kit, DEVICE_REGION_CONFIG, 0x10, 4), 1);
	assert_int_equal(kit_read(kit, DEVICE_REGION_CONFIG, 0x3d, 1), 1);
}

static void registers_hold_what_they_have(void **state)
{
	struct kit *kit = *state;

	for (unsigned i = 0; i < 256; i++) {
		set(kit, SCR, (uint8_t)i);
		set(kit, LCR, (uint8_t)(i & 0x7f));
		set(kit, IER, (uint8_t)i);
		set(kit, MCR, (uint8_t)i);
		assert_int_equal(get(kit, SCR), i);
		assert_int_equal(get(kit, LCR), i & 0x7f);
		assert_int_equal(get(kit, IER), i & 0x0f);
		assert_int_equal(get(kit, MCR), i & 0x1f);
	}
	set(kit, LCR, 0x83);
	set(kit, DATA, 0x34);
	set(kit, IER, 0x12);
	assert_int_equal(get(kit, DATA) | get(kit, IER) << 8, 0x1234);
	set(kit, LCR, 0x03);
	assert_int_equal(get(kit, IER), 0x0f);
	/* The status registers are the device's. */
	set(kit, MCR, 0);
	get(kit, MSR);
	set(kit, LSR, 0xff);
	set(kit, MSR, 0xff);
	assert_int_equal(get(kit, LSR), IDLE);
	assert_int_equal(get(kit, MSR), 0xb0);
	/* FIFOs: on and off. */
	set(kit, FCR, 0xc0);
	assert_int_equal(get(kit, IIR) & FIFOS, 0);
	set(kit, FCR, 0x01);
	assert_int_equal(get(kit, IIR) & FIFOS, FIFOS);
	/* Any size and alignment: four registers at once. */
	set(kit, SCR, 0xaa);
	assert_int_equal(kit_read(kit, 0, LCR, 4) & 0xff, 0x03);
	assert_int_equal(kit_read(kit, 0, LSR, 2), 0xb060);
}

static void bytes_both_ways_without_fifos(void **state)
{
	struct kit *kit = *state;

	say(kit, "abc");
	assert_int_equal(get(kit, LSR), IDLE | READY);
	take(kit, "abc");
	assert_int_equal(get(kit, LSR), IDLE);
	assert_int_equal(get(kit, DATA), 0);
	set(kit, DATA, 'x');
	assert_int_equal(get(kit, LSR), IDLE);
	set(kit, DATA, 'y');
	hear(kit, "xy");
}

static void trigger_levels_and_the_rest(void **state)
{
	static const struct {
		uint8_t fcr;
		unsigned level;
	} cases[] = {{0x01, 1}, {0x41, 4}, {0x81, 8}, {0xc1, 14}};
	struct kit *kit = *state;

	set(kit, IER, RECEIVED);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		set(kit, FCR, cases[i].fcr);
		for (unsigned n = 1; n <= FIFO_SIZE; n++) {
			say(kit, "z");
			assert_int_equal(get(kit, IIR),
			                 FIFOS | (n < cases[i].level ? IS_TIMEOUT : IS_RECEIVED));
			assert_true(pin(kit));
		}
		for (unsigned n = FIFO_SIZE; n; n--) {
			assert_int_equal(get(kit, IIR),
			                 FIFOS | (n < cases[i].level ? IS_TIMEOUT : IS_RECEIVED));
			take(kit, "z");
		}
		assert_int_equal(get(kit, IIR), FIFOS | NONE);
		assert_false(pin(kit));
	}
}

/* What does not fit waits in the chardev, and comes as room is made. */
static void more_than_the_fifo_holds(void **state)
{
	struct kit *kit = *state;
	static const char text[] = "0123456789abcdefghijklmnopqrstuvwxyz";

	set(kit, FCR, 0xc1);
	say(kit, text);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(get(kit, LSR), IDLE | READY);
		assert_int_equal(get(kit, DATA), text[i]);
	}
	take(kit, text + 3);
	assert_int_equal(get(kit, LSR), IDLE);
	/* Clearing drops what is in the FIFO, and no more than that. */
	say(kit, text);
	set(kit, FCR, 0xc3);
	take(kit, text + FIFO_SIZE);
	assert_int_equal(get(kit, LSR), IDLE);
	/* Turning them off drops it as well; then it is one byte after the other. */
	say(kit, text);
	set(kit, FCR, 0);
	take(kit, text + FIFO_SIZE);
}

static void the_transmitter_interrupts_when_empty(void **state)
{
	struct kit *kit = *state;

	/* At once, as it is empty; asking takes it away. */
	set(kit, IER, EMPTY);
	assert_true(pin(kit));
	assert_int_equal(get(kit, IIR), IS_EMPTY);
	assert_false(pin(kit));
	assert_int_equal(get(kit, IIR), NONE);
	set(kit, DATA, 'a');
	assert_true(pin(kit));
	assert_int_equal(get(kit, IIR), IS_EMPTY);
	assert_int_equal(get(kit, IIR), NONE);
	/* Disabled and enabled again. */
	set(kit, IER, 0);
	set(kit, IER, EMPTY);
	assert_int_equal(get(kit, IIR), IS_EMPTY);
	/* Enabled already: nothing new. */
	set(kit, IER, EMPTY);
	assert_int_equal(get(kit, IIR), NONE);
	hear(kit, "a");
}

/* Nobody takes what is written: the transmitter fills, and goes on when somebody does. */
static void a_line_that_takes_no_more(void **state)
{
	struct kit *kit = *state;
	static uint8_t heard[CHARDEV_BUFFER];

	set(kit, FCR, 0x01);
	for (unsigned i = 0; i < CHARDEV_BUFFER; i++)
		set(kit, DATA, (uint8_t)i);
	assert_int_equal(get(kit, LSR), IDLE);
	for (unsigned i = 0; i < FIFO_SIZE; i++)
		set(kit, DATA, (uint8_t)('a' + i));
	assert_int_equal(get(kit, LSR), 0);
	/* No room: it is lost. */
	set(kit, DATA, '!');
	set(kit, IER, EMPTY);
	assert_int_equal(get(kit, IIR), FIFOS | NONE);
	assert_int_equal(line_hear(kit_line(kit), heard, 5), 5);
	kit_settle(kit);
	assert_int_equal(get(kit, LSR), 0);
	assert_false(pin(kit));
	assert_int_equal(line_hear(kit_line(kit), heard + 5, sizeof(heard) - 5), sizeof(heard) - 5);
	kit_settle(kit);
	assert_int_equal(get(kit, LSR), IDLE);
	assert_true(pin(kit));
	for (unsigned i = 0; i < CHARDEV_BUFFER; i++)
		assert_int_equal(heard[i], i & 0xff);
	hear(kit, "abcdefghijklmnop");
	/* Clearing the FIFO empties it. */
	for (unsigned i = 0; i < CHARDEV_BUFFER + 1; i++)
		set(kit, DATA, 0);
	assert_int_equal(get(kit, LSR), 0);
	set(kit, FCR, 0x05);
	assert_int_equal(get(kit, LSR), IDLE);
}

static void the_highest_priority_is_told_first(void **state)
{
	struct kit *kit = *state;

	set(kit, MCR, LOOP);
	get(kit, MSR);
	set(kit, MCR, LOOP | 0x0f);
	set(kit, IER, 0x0f);
	/* Without FIFOs the second byte takes the place of the first. */
	set(kit, DATA, 'a');
	set(kit, DATA, 'b');
	assert_int_equal(get(kit, IIR), IS_LINE);
	assert_int_equal(get(kit, LSR), IDLE | READY | OVERRUN);
	assert_int_equal(get(kit, LSR), IDLE | READY);
	assert_int_equal(get(kit, IIR), IS_RECEIVED);
	take(kit, "b");
	assert_int_equal(get(kit, IIR), IS_EMPTY);
	assert_int_equal(get(kit, IIR), IS_MODEM);
	/* RI went up, of which only the end is told. */
	assert_int_equal(get(kit, MSR), 0xfb);
	assert_int_equal(get(kit, MSR), 0xf0);
	assert_int_equal(get(kit, IIR), NONE);
	assert_false(pin(kit));
	set(kit, MCR, LOOP);
	assert_int_equal(get(kit, MSR), 0x0f);
}

static void loopback_is_the_ports_own(void **state)
{
	static const struct {
		uint8_t mcr, msr;
	} lines[] = {{1, 0x20}, {2, 0x10}, {4, 0x40}, {8, 0x80}};
	struct kit *kit = *state;

	set(kit, FCR, 0x01);
	for (unsigned i = 0; i < 4; i++) {
		set(kit, MCR, LOOP | lines[i].mcr);
		assert_int_equal(get(kit, MSR) & 0xf0, lines[i].msr);
	}
	/* Nothing goes out, nothing comes in. */
	say(kit, "later");
	set(kit, DATA, 'q');
	take(kit, "q");
	assert_int_equal(get(kit, LSR), IDLE);
	hear(kit, "");
	/* One byte more than the FIFO holds: that one is lost. */
	for (unsigned i = 0; i <= FIFO_SIZE; i++)
		set(kit, DATA, (uint8_t)('a' + i));
	assert_int_equal(get(kit, LSR), IDLE | READY | OVERRUN);
	take(kit, "abcdefghijklmnop");
	set(kit, MCR, 0);
	take(kit, "later");
}

static void breaks(void **state)
{
	struct kit *kit = *state;

	set(kit, FCR, 0x01);
	set(kit, IER, LINE_STATUS | RECEIVED);
	say(kit, "ab");
	chardev_send_break(kit_line(kit));
	kit_settle(kit);
	/* It is told when its byte is at the front. */
	assert_int_equal(get(kit, IIR), FIFOS | IS_RECEIVED);
	assert_int_equal(get(kit, LSR), IDLE | READY | IN_FIFO);
	take(kit, "ab");
	assert_int_equal(get(kit, IIR), FIFOS | IS_LINE);
	assert_int_equal(get(kit, LSR), IDLE | READY | BREAK | IN_FIFO);
	assert_int_equal(get(kit, LSR), IDLE | READY);
	assert_int_equal(get(kit, DATA), 0);
	assert_int_equal(get(kit, LSR), IDLE);
}

static void quiet_is_quiet(void **state)
{
	struct kit *kit = *state;

	assert_true(kit_quiesce(kit));
	say(kit, "in");
	set(kit, DATA, 'x');
	kit_settle(kit);
	assert_int_equal(get(kit, LSR), 0);
	hear(kit, "");
	kit_resume(kit);
	kit_settle(kit);
	assert_int_equal(get(kit, LSR), IDLE | READY);
	hear(kit, "x");
	take(kit, "in");
}

/* Bus Master Enable is for devices that use their bus: a driver may leave it off. */
static void it_works_without_bus_master_enable(void **state)
{
	struct kit *kit = *state;

	kit_write(kit, DEVICE_REGION_CONFIG, 4, 5, 2);
	kit_write(kit, DEVICE_REGION_CONFIG, 4, 1, 2);
	set(kit, DATA, 'x');
	hear(kit, "x");
}

static void reset_is_power_on(void **state)
{
	struct kit *kit = *state;

	set(kit, FCR, 0xc1);
	set(kit, IER, 0x0f);
	set(kit, SCR, 7);
	set(kit, MCR, LOOP);
	set(kit, DATA, 'a');
	set(kit, LCR, 0x83);
	kit_reset(kit);
	kit_use_intx(kit);
	assert_false(pin(kit));
	power_on(state);
	assert_int_equal(get(kit, SCR), 0);
}

static void it_moves_with_its_fifos(void **state)
{
	struct kit *kit = *state;

	set(kit, FCR, 0xc1);
	set(kit, LCR, 0x03);
	set(kit, SCR, 0x5a);
	set(kit, IER, RECEIVED | LINE_STATUS);
	say(kit, "in the fifo");
	chardev_send_break(kit_line(kit));
	for (unsigned i = 0; i < CHARDEV_BUFFER; i++)
		set(kit, DATA, 0);
	set(kit, DATA, 'o');
	set(kit, DATA, 'k');
	kit_settle(kit);
	assert_int_equal(get(kit, LSR), READY | IN_FIFO);
	kit_write_stream(kit, "serial-v1-fifos.bin");
	kit_migrate(kit);
	kit_settle(kit);
	/* It goes on at the other line. */
	hear(kit, "ok");
	assert_int_equal(get(kit, SCR), 0x5a);
	assert_int_equal(get(kit, IIR), FIFOS | IS_TIMEOUT);
	assert_true(pin(kit));
	take(kit, "in the fifo");
	assert_int_equal(get(kit, IIR), FIFOS | IS_LINE);
}

static void without_a_chardev(void **state)
{
	struct kit *kit = kit_new(KIT_SHARED);

	(void)state;
	kit_start(kit, "pci-serial", "prog-if=0");
	assert_int_equal(kit_read(kit, DEVICE_REGION_CONFIG, 8, 4), 0x07000001);
	set(kit, DATA, 'x');
	assert_int_equal(get(kit, LSR), IDLE);
	kit_free(kit);
}

int main(void)
{
	static const struct kit_test tests[] = {
		KIT_TEST(power_on),
		KIT_TEST(registers_hold_what_they_have),
		KIT_TEST(bytes_both_ways_without_fifos),
		KIT_TEST(trigger_levels_and_the_rest),
		KIT_TEST(more_than_the_fifo_holds),
		KIT_TEST(the_transmitter_interrupts_when_empty),
		KIT_TEST(a_line_that_takes_no_more),
		KIT_TEST(the_highest_priority_is_told_first),
		KIT_TEST(loopback_is_the_ports_own),
		KIT_TEST(breaks),
		KIT_TEST(quiet_is_quiet),
		KIT_TEST(it_works_without_bus_master_enable),
		KIT_TEST(reset_is_power_on),
		KIT_TEST(it_moves_with_its_fifos),
		KIT_TEST(without_a_chardev),
	};

	return KIT_RUN("serial", tests, setup, teardown);
}

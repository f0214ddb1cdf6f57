/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a guest does to a device by its configuration space: bus mastering, power states, function
 * level reset; and that the model hears what became of its interrupts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/pci_regs.h>

#include "probe.h"

enum { PM = 0x40, MSIX = 0x70, EXPRESS = 0x80, AF = 0xc0 };

static uint32_t config(struct probe *probe, unsigned offset, unsigned size)
{
	uint8_t bytes[4] = {0};

	assert_int_equal(device_region_read(probe->dev, DEVICE_REGION_CONFIG, offset, bytes, size),
	                 0);
	return ob_get_le32(bytes);
}

static void set_config16(struct probe *probe, unsigned offset, uint16_t value)
{
	uint8_t bytes[2];

	ob_put_le16(bytes, value);
	assert_int_equal(device_region_write(probe->dev, DEVICE_REGION_CONFIG, offset, bytes, 2),
	                 0);
}

static struct probe_state *state_of(struct probe *probe)
{
	return ob_dev_state(probe->dev);
}

static bool shows_pending(struct probe *probe)
{
	return config(probe, EXPRESS + PCI_EXP_DEVSTA, 2) & PCI_EXP_DEVSTA_TRPND;
}

static void without_the_bus_it_is_quiet(void **state)
{
	struct probe *probe = *state;

	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MEMORY); /* never on: nobody cares */
	assert_string_equal(probe_log(probe), "");
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	set_config16(probe, PCI_COMMAND, 0);
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MEMORY);
	set_config16(probe, PM + PCI_PM_CTRL, 3);
	assert_string_equal(probe_log(probe), "quiesce ");
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	assert_string_equal(probe_log(probe), "quiesce ");
	set_config16(probe, PM + PCI_PM_CTRL, 0);
	assert_string_equal(probe_log(probe), "quiesce resume ");
	assert_false(shows_pending(probe));
}

/* The write is answered at once; the guest sees that there is more to come. */
static void it_shows_that_transactions_are_pending(void **state)
{
	struct probe *probe = *state;

	state_of(probe)->slow = true;
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	set_config16(probe, PCI_COMMAND, 0);
	assert_true(shows_pending(probe));
	ob_dev_quiet(probe->dev);
	loop_turn(probe->loop, 0);
	assert_false(shows_pending(probe));
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	assert_string_equal(probe_log(probe), "quiesce resume ");
	/* On again before it was quiet. */
	set_config16(probe, PCI_COMMAND, 0);
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	assert_false(shows_pending(probe));
	ob_dev_quiet(probe->dev);
	loop_turn(probe->loop, 0);
	assert_string_equal(probe_log(probe), "quiesce resume quiesce resume ");
}

static void a_reset_gives_the_bus_back(void **state)
{
	struct probe *probe = *state;
	struct device_hold hold = {0};

	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	set_config16(probe, PCI_COMMAND, 0);
	assert_int_equal(device_hold(probe->dev, &hold, DEVICE_HOLD_RESET), 0);
	device_reset(probe->dev);
	device_release(probe->dev, &hold);
	assert_string_equal(probe_log(probe), "quiesce reset resume ");
}

static void flr(struct probe *probe)
{
	uint16_t control = (uint16_t)config(probe, EXPRESS + PCI_EXP_DEVCTL, 2);

	set_config16(probe, EXPRESS + PCI_EXP_DEVCTL, control | PCI_EXP_DEVCTL_BCR_FLR);
}

static void function_level_reset(void **state)
{
	struct probe *probe = *state;

	assert_true(config(probe, EXPRESS + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR);
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	set_config16(probe, PCI_BASE_ADDRESS_0 + 2, 0xfebf);
	set_config16(probe, EXPRESS + PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_CCC);
	flr(probe);
	assert_string_equal(probe_log(probe), "quiesce reset resume ");
	assert_int_equal(config(probe, PCI_COMMAND, 2), 0);
	assert_int_equal(config(probe, PCI_BASE_ADDRESS_0, 4), 0);
	assert_int_equal(config(probe, EXPRESS + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_BCR_FLR, 0);
	/* The link's settings stay (6.6.2). */
	assert_int_equal(config(probe, EXPRESS + PCI_EXP_LNKCTL, 2), PCI_EXP_LNKCTL_CCC);
}

/* While work ends nobody answers, and the write has not waited for that. */
static void function_level_reset_of_a_busy_device(void **state)
{
	struct probe *probe = *state;
	uint32_t word = 0;

	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	state_of(probe)->slow = true;
	flr(probe);
	assert_int_equal(config(probe, PCI_VENDOR_ID, 4), UINT32_MAX);
	assert_int_equal(device_region_read(probe->dev, 0, 0, &word, 4), 0);
	assert_int_equal(word, UINT32_MAX);
	flr(probe); /* and what is written is lost */
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MEMORY);
	word = 0;
	assert_int_equal(device_region_write(probe->dev, 0, 0, &word, 4), 0);
	assert_string_equal(probe_log(probe), "quiesce ");
	ob_dev_quiet(probe->dev);
	loop_turn(probe->loop, 0);
	assert_string_equal(probe_log(probe), "quiesce reset resume ");
	assert_int_equal(config(probe, PCI_VENDOR_ID, 4), 0x56781234);
	assert_int_equal(config(probe, PCI_COMMAND, 2), 0);
}

static uint32_t irqs_told;

static void note_irqs(struct ob_dev *dev, unsigned vector)
{
	irqs_told |= vector == OB_IRQ_ALL ? UINT32_MAX : UINT32_C(1) << vector;
}

/* A device without PCI Express, whose model wants to hear of interrupts. */
static struct ob_model conventional;

static int setup_conventional(void **state)
{
	struct probe *probe;
	struct opts opts = {0};
	struct ob_error err = {""};
	struct device_env env = {0};
	int rc = probe_setup(state);

	probe = *state;
	device_free(probe->dev);
	conventional = probe_model;
	conventional.layout.pcie = false;
	conventional.irq_changed = note_irqs;
	env.loop = probe->loop;
	env.log = &probe->log;
	probe->dev = device_new(&conventional, "p0", &env, &opts, &err);
	irqs_told = 0;
	return rc || !probe->dev ? -1 : 0;
}

static void advanced_features(void **state)
{
	struct probe *probe = *state;

	assert_int_equal(config(probe, AF, 4), 0x03060013);
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	state_of(probe)->slow = true;
	set_config16(probe, PCI_COMMAND, 0);
	assert_int_equal(config(probe, AF + PCI_AF_STATUS, 1), PCI_AF_STATUS_TP);
	ob_dev_quiet(probe->dev);
	loop_turn(probe->loop, 0);
	assert_int_equal(config(probe, AF + PCI_AF_STATUS, 1), 0);
	state_of(probe)->slow = false;
	set_config16(probe, AF + PCI_AF_CTRL, PCI_AF_CTRL_FLR);
	assert_string_equal(probe_log(probe), "quiesce reset resume ");
	assert_int_equal(config(probe, AF + PCI_AF_CTRL, 1), 0);
}

static void the_model_hears_of_interrupts(void **state)
{
	struct probe *probe = *state;
	struct pci_irq_sink sink = {0};
	struct pci *pci = device_pci(probe->dev);

	pci_irq_set_sink(pci, &sink);
	pci_irq_wire(pci, PCI_IRQ_MSIX, 0, true);
	assert_int_equal(irqs_told, UINT32_MAX);
	irqs_told = 0;
	pci_irq_wire(pci, PCI_IRQ_MSIX, 2, true);
	assert_int_equal(irqs_told, 1u << 2);
	/* Not while it is quiet: it could not do anything about it. */
	irqs_told = 0;
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	set_config16(probe, PCI_COMMAND, 0);
	pci_irq_wire(pci, PCI_IRQ_MSIX, 3, true);
	assert_int_equal(irqs_told, 0);
	set_config16(probe, PCI_COMMAND, PCI_COMMAND_MASTER);
	assert_int_equal(irqs_told, UINT32_MAX);
	pci_irq_set_sink(pci, NULL);
}

#define PROBE_TEST(name) cmocka_unit_test_setup_teardown(name, probe_setup, probe_teardown)
#define CONVENTIONAL_TEST(name)                                                                    \
	cmocka_unit_test_setup_teardown(name, setup_conventional, probe_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROBE_TEST(without_the_bus_it_is_quiet),
		PROBE_TEST(it_shows_that_transactions_are_pending),
		PROBE_TEST(a_reset_gives_the_bus_back),
		PROBE_TEST(function_level_reset),
		PROBE_TEST(function_level_reset_of_a_busy_device),
		CONVENTIONAL_TEST(advanced_features),
		CONVENTIONAL_TEST(the_model_hears_of_interrupts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

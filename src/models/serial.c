/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pci-serial: a 16550A UART behind a PCI function, as QEMU's device of this name. The registers are
 * those of National Semiconductor's PC16550D (its data sheet, "Registers"), eight bytes in I/O
 * space:
 *
 *   0  RBR/THR  receive and transmit; with DLAB the divisor's lower half
 *   1  IER      interrupt enable; with DLAB the divisor's upper half
 *   2  IIR/FCR  interrupt identification (read), FIFO control (write)
 *   3  LCR      line control      4  MCR  modem control
 *   5  LSR      line status       6  MSR  modem status      7  SCR  scratch
 *
 * Nothing is paced: the divisor is kept and means nothing, and a byte takes no time. So bytes
 * arrive until the FIFO is full, what is transmitted is on its way at once, and the interrupt that
 * comes when a FIFO below its trigger level has been left alone for four characters' time comes as
 * soon as nothing more is there. A chardev that takes no more leaves bytes in the transmitter,
 * which then is not empty: drivers wait for it.
 *
 * The lines of a modem that is there (CTS, DSR, DCD) are up, whether somebody is at the chardev or
 * not: a guest's console does not hang because nobody looks at it.
 */
#include <errno.h>
#include <string.h>

#include "outboard/device.h"

enum {
	REG_DATA,
	REG_IER,
	REG_IIR, /* FCR when written */
	REG_LCR,
	REG_MCR,
	REG_LSR,
	REG_MSR,
	REG_SCR,
	REGISTERS,

	IER_RECEIVED = 0x01,
	IER_EMPTY = 0x02,
	IER_LINE = 0x04,
	IER_MODEM = 0x08,

	IIR_NONE = 0x01,
	IIR_MODEM = 0x00,
	IIR_EMPTY = 0x02,
	IIR_RECEIVED = 0x04,
	IIR_LINE = 0x06,
	IIR_TIMEOUT = 0x0c,
	IIR_FIFOS = 0xc0,

	FCR_ENABLE = 0x01,
	FCR_CLEAR_RX = 0x02,
	FCR_CLEAR_TX = 0x04,
	FCR_TRIGGER = 0xc0,
	FCR_KEPT = 0xc9, /* enable, DMA mode, trigger level */

	LCR_DLAB = 0x80,

	MCR_DTR = 0x01,
	MCR_RTS = 0x02,
	MCR_OUT1 = 0x04,
	MCR_OUT2 = 0x08,
	MCR_LOOP = 0x10,
	MCR_BITS = 0x1f,

	LSR_READY = 0x01,
	LSR_OVERRUN = 0x02,
	LSR_BREAK = 0x10,
	LSR_EMPTY = 0x20, /* the holding register, or the FIFO */
	LSR_IDLE = 0x40,  /* and the shift register */
	LSR_IN_FIFO = 0x80,

	MSR_DELTAS = 0x0f,
	MSR_RING_ENDED = 0x04,
	MSR_CTS = 0x10,
	MSR_DSR = 0x20,
	MSR_RI = 0x40,
	MSR_DCD = 0x80,
	MSR_LINES = 0xf0,

	FIFO_SIZE = 16,
	DIVISOR = 12, /* at power-on it is undefined; this is 9600 baud */
};

struct serial_props {
	struct ob_chardev *chardev;
	uint32_t prog_if;
};

/* The oldest byte is at 0: they are few. */
struct serial_fifo {
	uint8_t count;
	uint8_t bytes[FIFO_SIZE];
	uint16_t breaks; /* a bit for each byte that came with a break */
};

struct serial_state {
	uint8_t ier, fcr, lcr, mcr, scr;
	uint8_t errors; /* of LSR: overrun, and the break of the byte at the front, until it is read
	                 */
	uint8_t msr;
	uint16_t divisor;
	bool empty_pending; /* the transmitter has become empty, and nobody has asked since */
	struct serial_fifo rx, tx;
};

struct serial_runtime {
	struct ob_dev *dev;
	struct ob_chardev_user user;
	struct ob_chardev *chardev; /* NULL: there is none */
	bool quiet;                 /* nothing goes to the chardev, or comes from it */
};

/* FIFOs */

static unsigned fifo_room(const struct serial_state *s, const struct serial_fifo *fifo)
{
	unsigned size = s->fcr & FCR_ENABLE ? FIFO_SIZE : 1;

	return fifo->count < size ? size - fifo->count : 0;
}

static void fifo_put(struct serial_fifo *fifo, uint8_t byte, bool is_break)
{
	fifo->breaks |= (uint16_t)(is_break << fifo->count);
	fifo->bytes[fifo->count++] = byte;
}

static void fifo_drop(struct serial_fifo *fifo, unsigned count)
{
	fifo->count -= (uint8_t)count;
	fifo->breaks = (uint16_t)((uint32_t)fifo->breaks >> count);
	memmove(fifo->bytes, fifo->bytes + count, fifo->count);
}

/* Interrupts, the highest priority first ("Interrupt Control Functions"). */

static unsigned trigger_level(const struct serial_state *s)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return s->fcr & FCR_ENABLE ? levels[(s->fcr & FCR_TRIGGER) >> 6] : 1;
}

static uint8_t interrupt_id(const struct serial_state *s)
{
	if (s->ier & IER_LINE && s->errors)
		return IIR_LINE;
	if (s->ier & IER_RECEIVED && s->rx.count)
		return s->rx.count >= trigger_level(s) ? IIR_RECEIVED : IIR_TIMEOUT;
	if (s->ier & IER_EMPTY && s->empty_pending)
		return IIR_EMPTY;
	if (s->ier & IER_MODEM && s->msr & MSR_DELTAS)
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct ob_dev *dev)
{
	if (interrupt_id(ob_dev_state(dev)) != IIR_NONE)
		ob_irq_raise(dev, 0);
	else
		ob_irq_lower(dev, 0);
}

/* The line */

/* Line status speaks of the byte at the front. */
static void look_at_front(struct serial_state *s)
{
	if (s->rx.count && s->rx.breaks & 1) {
		s->errors |= LSR_BREAK;
		s->rx.breaks &= (uint16_t)~1u;
	}
}

/* With FIFOs the new byte is lost, without it takes the place of the one before. */
static void receive(struct serial_state *s, uint8_t byte, bool is_break)
{
	if (!fifo_room(s, &s->rx)) {
		s->errors |= LSR_OVERRUN;
		if (s->fcr & FCR_ENABLE)
			return;
		fifo_drop(&s->rx, 1);
	}
	fifo_put(&s->rx, byte, is_break);
	look_at_front(s);
}

static void take_input(struct ob_dev *dev)
{
	struct serial_state *s = ob_dev_state(dev);
	struct serial_runtime *rt = ob_dev_runtime(dev);
	uint8_t bytes[FIFO_SIZE];
	size_t count;

	if (rt->quiet || !rt->chardev || s->mcr & MCR_LOOP)
		return;
	count = ob_chardev_read(rt->chardev, bytes, fifo_room(s, &s->rx));
	for (size_t i = 0; i < count; i++)
		receive(s, bytes[i], false);
}

static void transmit(struct ob_dev *dev)
{
	struct serial_state *s = ob_dev_state(dev);
	struct serial_runtime *rt = ob_dev_runtime(dev);
	size_t count = s->tx.count;

	if (rt->quiet || !count)
		return;
	if (s->mcr & MCR_LOOP) {
		for (unsigned i = 0; i < count; i++)
			receive(s, s->tx.bytes[i], false);
	} else if (rt->chardev) {
		count = ob_chardev_write(rt->chardev, s->tx.bytes, count);
	}
	fifo_drop(&s->tx, (unsigned)count);
	if (!s->tx.count)
		s->empty_pending = true;
}

static uint8_t modem_lines(const struct serial_state *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (uint8_t)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
	                 (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

/* Of the ring indicator, only its end is told. */
static void update_modem(struct serial_state *s)
{
	uint8_t lines = modem_lines(s), changed = (uint8_t)((s->msr ^ lines) & MSR_LINES);

	if (lines & MSR_RI)
		changed &= (uint8_t)~MSR_RI;
	s->msr = (uint8_t)(lines | (s->msr & MSR_DELTAS) | changed >> 4);
}

/* Registers */

static uint8_t line_status(const struct serial_state *s)
{
	uint8_t in_fifo = s->rx.breaks && s->fcr & FCR_ENABLE ? LSR_IN_FIFO : 0;

	if (s->errors & LSR_BREAK && s->fcr & FCR_ENABLE)
		in_fifo = LSR_IN_FIFO;
	return (uint8_t)(s->errors | in_fifo | (s->rx.count ? LSR_READY : 0) |
	                 (s->tx.count ? 0 : LSR_EMPTY | LSR_IDLE));
}

static uint8_t read_data(struct ob_dev *dev)
{
	struct serial_state *s = ob_dev_state(dev);
	uint8_t byte = s->rx.bytes[0];

	if (!s->rx.count)
		return 0;
	fifo_drop(&s->rx, 1);
	look_at_front(s);
	take_input(dev);
	return byte;
}

static uint8_t read_register(struct ob_dev *dev, uint64_t reg)
{
	struct serial_state *s = ob_dev_state(dev);
	uint8_t value;

	switch (reg) {
	case REG_DATA:
		return s->lcr & LCR_DLAB ? (uint8_t)s->divisor : read_data(dev);
	case REG_IER:
		return s->lcr & LCR_DLAB ? (uint8_t)(s->divisor >> 8) : s->ier;
	case REG_IIR:
		value = interrupt_id(s);
		if (value == IIR_EMPTY)
			s->empty_pending = false;
		return value | (s->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		value = line_status(s);
		s->errors = 0;
		return value;
	case REG_MSR:
		value = s->msr;
		s->msr &= MSR_LINES;
		return value;
	default:
		return s->scr;
	}
}

/* What is written to a full transmitter is lost. */
static void write_data(struct ob_dev *dev, uint8_t byte)
{
	struct serial_state *s = ob_dev_state(dev);

	s->empty_pending = false;
	if (fifo_room(s, &s->tx))
		fifo_put(&s->tx, byte, false);
	transmit(dev);
}

static void write_fifo_control(struct serial_state *s, uint8_t value)
{
	/* Turning them on or off empties both. */
	bool turned = (value ^ s->fcr) & FCR_ENABLE;

	if (turned || value & FCR_CLEAR_RX)
		s->rx = (struct serial_fifo){0};
	if (turned || value & FCR_CLEAR_TX) {
		s->empty_pending |= s->tx.count != 0;
		s->tx = (struct serial_fifo){0};
	}
	s->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

static void write_register(struct ob_dev *dev, uint64_t reg, uint8_t value)
{
	struct serial_state *s = ob_dev_state(dev);

	switch (reg) {
	case REG_DATA:
		if (s->lcr & LCR_DLAB)
			s->divisor = (uint16_t)((s->divisor & 0xff00) | value);
		else
			write_data(dev, value);
		break;
	case REG_IER:
		if (s->lcr & LCR_DLAB) {
			s->divisor = (uint16_t)((s->divisor & 0xff) | value << 8);
			break;
		}
		/* Enabled while the transmitter is empty, the interrupt comes at once. */
		if (value & ~s->ier & IER_EMPTY && !s->tx.count)
			s->empty_pending = true;
		s->ier = value & (IER_RECEIVED | IER_EMPTY | IER_LINE | IER_MODEM);
		break;
	case REG_IIR:
		write_fifo_control(s, value);
		break;
	case REG_LCR:
		s->lcr = value;
		break;
	case REG_MCR:
		s->mcr = value & MCR_BITS;
		update_modem(s);
		transmit(dev);
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR are the device's to write */
		break;
	}
	take_input(dev);
}

/* For -trace. */
static const char *register_name(const struct serial_state *s, uint64_t reg, bool write)
{
	static const char *const names[REGISTERS] = {"data", "IER", "IIR", "LCR",
	                                             "MCR",  "LSR", "MSR", "SCR"};

	if (s->lcr & LCR_DLAB && reg <= REG_IER)
		return reg ? "divisor, upper half" : "divisor, lower half";
	return reg == REG_IIR && write ? "FCR" : names[reg];
}

static uint64_t serial_read(struct ob_dev *dev, uint64_t offset, unsigned size)
{
	const struct serial_state *s = ob_dev_state(dev);
	const char *name = register_name(s, offset, false);
	uint8_t value = read_register(dev, offset);

	(void)size; /* each register is a byte */
	update_irq(dev);
	ob_dev_trace(dev, "register", "read %s -> 0x%02x", name, value);
	return value;
}

static void serial_write(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size)
{
	(void)size;
	ob_dev_trace(dev, "register", "write %s = 0x%02x",
	             register_name(ob_dev_state(dev), offset, true), (unsigned)value);
	write_register(dev, offset, (uint8_t)value);
	update_irq(dev);
}

/* The chardev */

static void on_readable(struct ob_chardev_user *user)
{
	struct serial_runtime *rt = ob_container_of(user, struct serial_runtime, user);

	take_input(rt->dev);
	update_irq(rt->dev);
}

static void on_writable(struct ob_chardev_user *user)
{
	struct serial_runtime *rt = ob_container_of(user, struct serial_runtime, user);

	transmit(rt->dev);
	update_irq(rt->dev);
}

static void on_event(struct ob_chardev_user *user, enum ob_chardev_event event)
{
	struct serial_runtime *rt = ob_container_of(user, struct serial_runtime, user);
	struct serial_state *s = ob_dev_state(rt->dev);

	/* A break is received as a 0. While the device is quiet it is not heard. */
	if (event != OB_CHARDEV_BREAK || rt->quiet || s->mcr & MCR_LOOP)
		return;
	receive(s, 0, true);
	update_irq(rt->dev);
}

/* Life */

static int serial_configure(struct ob_dev *dev, struct ob_layout *layout, struct ob_error *err)
{
	const struct serial_props *props = ob_dev_props(dev);

	(void)err;
	layout->ident.class_code = (layout->ident.class_code & ~0xffu) | props->prog_if;
	return 0;
}

static void serial_reset(struct ob_dev *dev)
{
	struct serial_state *s = ob_dev_state(dev);

	*s = (struct serial_state){.divisor = DIVISOR, .mcr = MCR_OUT2};
	s->msr = modem_lines(s);
}

static int serial_start(struct ob_dev *dev, struct ob_error *err)
{
	const struct serial_props *props = ob_dev_props(dev);
	struct serial_runtime *rt = ob_dev_runtime(dev);

	(void)err;
	rt->dev = dev;
	rt->chardev = props->chardev;
	rt->user = (struct ob_chardev_user){on_readable, on_writable, on_event};
	serial_reset(dev);
	if (rt->chardev)
		ob_chardev_set_user(rt->chardev, &rt->user);
	return 0;
}

static void serial_stop(struct ob_dev *dev)
{
	const struct serial_runtime *rt = ob_dev_runtime(dev);

	if (rt->chardev)
		ob_chardev_set_user(rt->chardev, NULL);
}

static void serial_quiesce(struct ob_dev *dev)
{
	struct serial_runtime *rt = ob_dev_runtime(dev);

	rt->quiet = true;
	ob_dev_quiet(dev);
}

static void serial_resume(struct ob_dev *dev)
{
	struct serial_runtime *rt = ob_dev_runtime(dev);

	rt->quiet = false;
	transmit(dev);
	take_input(dev);
	update_irq(dev);
}

static void serial_irq_changed(struct ob_dev *dev, unsigned vector)
{
	(void)vector; /* there is one */
	update_irq(dev);
}

static const struct ob_prop serial_props[] = {
	{"chardev", OB_PROP_CHARDEV, offsetof(struct serial_props, chardev),
         .help = "id of the chardev at the other end of the line; without, nobody is there"},
	{"prog-if", OB_PROP_UINT32, offsetof(struct serial_props, prog_if), .max = 255,
         .preset = "2", .help = "programming interface of the PCI class; 2: 16550 compatible"},
	{NULL},
};

static const struct ob_field fifo_fields[] = {
	OB_FIELD(U8, struct serial_fifo, count, .max = FIFO_SIZE),
	OB_FIELD_BLOB(struct serial_fifo, bytes),
	OB_FIELD(U16, struct serial_fifo, breaks),
	OB_FIELDS_END,
};

static const struct ob_field serial_fields[] = {
	OB_FIELD(U8, struct serial_state, ier, .max = 0x0f),
	OB_FIELD(U8, struct serial_state, fcr, .max = FCR_KEPT),
	OB_FIELD(U8, struct serial_state, lcr),
	OB_FIELD(U8, struct serial_state, mcr, .max = MCR_BITS),
	OB_FIELD(U8, struct serial_state, scr),
	OB_FIELD(U8, struct serial_state, errors, .max = LSR_OVERRUN | LSR_BREAK),
	OB_FIELD(U8, struct serial_state, msr),
	OB_FIELD(U16, struct serial_state, divisor),
	OB_FIELD(BOOL, struct serial_state, empty_pending),
	OB_FIELD_NESTED(struct serial_state, rx, fifo_fields),
	OB_FIELD_NESTED(struct serial_state, tx, fifo_fields),
	OB_FIELDS_END,
};

static int serial_loaded(struct ob_dev *dev, unsigned stream_version, struct ob_error *err)
{
	const struct serial_state *s = ob_dev_state(dev);

	(void)stream_version;
	if (!(s->fcr & FCR_ENABLE) && (s->fcr || s->rx.count > 1 || s->tx.count > 1))
		return ob_error_set(err, -EINVAL, "FIFOs that are off hold more than one byte");
	if ((uint32_t)s->rx.breaks >> s->rx.count || s->tx.breaks)
		return ob_error_set(err, -EINVAL, "a break without a byte");
	return 0;
}

static const struct ob_migration serial_migration = {
	.version = 1,
	.fields = serial_fields,
	.loaded = serial_loaded,
};

const struct ob_model serial_model = {
	.name = "pci-serial",
	.summary = "serial port, a 16550A",
	.props_size = sizeof(struct serial_props),
	.state_size = sizeof(struct serial_state),
	.runtime_size = sizeof(struct serial_runtime),
	.layout =
		{
			.ident = {.vendor = 0x1b36,
                                  .device = 0x0002,
                                  .subsystem_vendor = 0x1af4,
                                  .subsystem = 0x1100,
                                  .class_code = 0x070002,
                                  .revision = 1},
			.bars = {{.size = REGISTERS,
                                  .flags = OB_BAR_IO,
                                  OB_WINDOWS({.min_access = 1,
                                              .max_access = 1,
                                              .read = serial_read,
                                              .write = serial_write})}},
			.irqs = {.intx = true},
			.no_dma = true,
		},
	.props = serial_props,
	.configure = serial_configure,
	.start = serial_start,
	.stop = serial_stop,
	.reset = serial_reset,
	.quiesce = serial_quiesce,
	.resume = serial_resume,
	.irq_changed = serial_irq_changed,
	.migration = &serial_migration,
};

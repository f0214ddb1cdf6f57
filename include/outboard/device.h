/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device model interface: a model is one `const struct ob_model`.
 *
 * The core owns everything that is the same for all PCI devices: configuration space, BAR sizing,
 * capabilities, MSI and MSI-X tables, masks, pending bits, the client and its memory. A model says
 * what it looks like, and gets the reads and writes of its BARs.
 *
 * All callbacks run on one thread, one at a time. A model has no mutable globals; what it knows
 * lives in three structs that the core allocates, zeroed, and frees:
 *  - its properties: what the user configured, constant while the device lives;
 *  - its state: plain data without pointers, what a real device would hold in registers and RAM.
 *    It alone moves with a live migration;
 *  - its runtime: everything that can be rebuilt from those two (queue mappings, timers, requests
 *    in flight).
 *
 * docs/writing-a-device.md walks through a whole model.
 */
#ifndef OUTBOARD_DEVICE_H
#define OUTBOARD_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "outboard/block.h"
#include "outboard/chardev.h"
#include "outboard/dma.h"
#include "outboard/endian.h"
#include "outboard/error.h"
#include "outboard/field.h"
#include "outboard/loop.h"
#include "outboard/prop.h"

struct ob_dev;

/* The struct whose member a callback got a pointer to. */
#define ob_container_of(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* PCI identity: the header fields of the same names (PCI Local Bus 3.0, 6.2.1 and 6.2.4). */
struct ob_pci_ident {
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem; /* 0: same as vendor and device */
	uint32_t class_code;                  /* base class, subclass, interface: 0x010802 */
	uint8_t revision;
};

enum ob_bar_flags {
	OB_BAR_IO = 1u << 0,       /* I/O space; otherwise memory space */
	OB_BAR_64 = 1u << 1,       /* 64-bit memory BAR; takes the next BAR's place too */
	OB_BAR_PREFETCH = 1u << 2, /* prefetchable memory */
};

/* What a window of a BAR is. */
enum ob_window_kind {
	/*
	 * Accesses are calls of read() and write(). Without read() it reads as zeroes, without
	 * write() it takes writes and forgets them.
	 */
	OB_WINDOW_REGISTERS,
	/*
	 * Memory, owned by the core (ob_dev_memory()), whose whole pages clients may map. However a
	 * client gets there, it reads and writes the same bytes. What it writes through its mapping
	 * the model sees only by polling the memory. A write by message stores the bytes first, and
	 * then calls write(), if there is one; a read by message never calls read(). So a model
	 * that polls must be prepared to find a value before write() brings it, and to be called
	 * for one that it has acted on already. The bytes change at any time: read each once, as
	 * ob_get_le32() does. A reset zeroes them.
	 */
	OB_WINDOW_MEMORY,
	/*
	 * Places where a write is worth a call whatever its value. A client that asks for it gets
	 * an eventfd for each, and may have its hypervisor signal that instead of sending the write
	 * (KVM_IOEVENTFD): rang() is called, the value is lost, and several writes may be one call.
	 * So this is for places whose value the model knows anyway (match), does not need, or finds
	 * in memory. A client that does not ask sends writes as ever: they go to the window of
	 * another kind that lies at the same place.
	 */
	OB_WINDOW_DOORBELLS,
	/*
	 * MSI-X table and pending bit array (PCI Local Bus 3.0, 6.8.2), which the core serves.
	 * Their size is 0: it follows from the number of vectors. Without vectors they are nothing.
	 */
	OB_WINDOW_MSIX_TABLE,
	OB_WINDOW_MSIX_PBA,
};

/*
 * A part of a BAR. Windows do not overlap, but for doorbells, which lie over others. What no window
 * covers reads as zeroes and takes writes silently.
 *
 * A client may access a BAR with any size and alignment; the core cuts that into accesses of
 * min_access to max_access bytes (powers of 2, 1 to 8; 0 stands for 4), naturally aligned in the
 * BAR and inside of the window. A read smaller than min_access reads min_access bytes and takes its
 * part; a write smaller than that reads, merges and writes. offset counts from the window's begin.
 */
struct ob_window {
	enum ob_window_kind kind;
	uint8_t min_access, max_access; /* registers, memory */
	bool match;                     /* doorbells: see value */

	/*
	 * In bytes. Registers: multiples of min_access; memory, MSI-X: of 8. Size 0: to the end of
	 * the BAR. Doorbells: where the first one is, and the size of writes that ring them: 1, 2,
	 * 4 or 8; 0: any.
	 */
	uint64_t offset, size;

	uint64_t (*read)(struct ob_dev *dev, uint64_t offset, unsigned size);
	void (*write)(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size);

	/*
	 * Doorbells: how many (0 stands for 1; 65536 for a device at most), and how many bytes are
	 * between one and the next. Where match is set, only a write of value + number * value_step
	 * rings, others come as writes; so several may be at one place. Not with size 0.
	 */
	uint32_t count, stride;
	uint64_t value, value_step;
	/* Doorbell number rang. Not while the device is quiet: after resume instead. */
	void (*rang)(struct ob_dev *dev, unsigned number);

	uintptr_t reserved[4]; /* 0 */
};

/* One BAR. Clients reach it by its windows; the order of doorbells is theirs. */
struct ob_bar {
	uint64_t size;  /* bytes; 0: no such BAR. A power of 2; at least 16, I/O: 4 to 256 */
	uint32_t flags; /* enum ob_bar_flags */
	unsigned nwindows;
	const struct ob_window *windows; /* copied when the device is made */
};

/* The windows of a BAR, in a layout's initializer: `.bars = {{.size = 4096, OB_WINDOWS({...})}}` */
#define OB_WINDOWS(...)                                                                            \
	.nwindows = sizeof((const struct ob_window[]){__VA_ARGS__}) / sizeof(struct ob_window),    \
	.windows = (const struct ob_window[])                                                      \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

/*
 * A region of the device that is no BAR: the client finds it by its type and subtype
 * (VFIO_REGION_INFO_CAP_TYPE), the guest not at all. Accesses are those of a window of registers.
 * size is a multiple of min_access. Without write it is read-only; without read min_access must
 * be 1.
 */
struct ob_region {
	uint32_t type, subtype;
	uint64_t size;
	uint8_t min_access, max_access;
	uint64_t (*read)(struct ob_dev *dev, uint64_t offset, unsigned size);
	void (*write)(struct ob_dev *dev, uint64_t offset, uint64_t value, unsigned size);
};

/* What kinds of interrupts the device has. */
struct ob_irqs {
	bool intx;             /* pin INTA# */
	uint16_t msi_vectors;  /* 0: no MSI; otherwise 1, 2, 4, 8, 16 or 32 */
	uint16_t msix_vectors; /* 0: no MSI-X; at most 2048 */
	uint8_t msix_bar;      /* where no BAR has windows for table and pending bits: the BAR
	                        * that the core makes for them, which has size 0 in the layout */
};

/*
 * A capability of configuration space that the core knows nothing of: a vendor's (id 9: PCI Local
 * Bus 3.0, 6.8 and appendix H), or any other but those of the core (power management, MSI, MSI-X,
 * PCI Express, advanced features). They are linked behind the core's in the order of the layout;
 * extended ones (PCI Express Base 3.0, 7.9) by address, and one of them is at 0x100.
 */
struct ob_capability {
	uint16_t id;
	uint8_t version; /* extended: 1 to 15; 0: it is one of the first 256 bytes */

	/*
	 * Offset in configuration space, a multiple of 4; 0: the first place that is free. Devices
	 * that move between versions of a model choose places, as what is free may change.
	 */
	uint16_t place;
	uint16_t size; /* bytes, with the header of 2 (extended: 4) */

	/*
	 * Optional, of size bytes each, in arrays that outlive the device: the bytes at reset, and
	 * the bits of them that software may write. Those of the header are the core's.
	 */
	const uint8_t *contents, *writable;

	/*
	 * Optional. Software reads length bytes from offset in the capability on: what stands there
	 * is at bytes, and may be changed.
	 */
	void (*read)(struct ob_dev *dev, unsigned offset, uint8_t *bytes, unsigned length);

	/* Optional. Software wrote these bytes; those that it may write stand there already. */
	void (*written)(struct ob_dev *dev, unsigned offset, const uint8_t *bytes, unsigned length);

	uintptr_t reserved[4]; /* 0 */
};

/* What a device looks like on its bus. A model's constant one is the default for its devices. */
struct ob_layout {
	struct ob_pci_ident ident;
	struct ob_bar bars[6];
	struct ob_irqs irqs;
	bool pcie;       /* PCI Express endpoint: 4 KiB configuration space */
	bool no_dma;     /* it never uses its bus, and so works without Bus Master Enable */
	const void *rom; /* expansion ROM image, or NULL; must outlive the device */
	uint32_t rom_size;
	const struct ob_region *regions;          /* an array that outlives the device */
	unsigned nregions;                        /* at most 64 */
	const struct ob_capability *capabilities; /* copied when the device is made */
	unsigned ncapabilities;                   /* at most 32 */
};

/*
 * A part of a device that whoever configures it takes for a device of its own, on the bus that has
 * the device's id: a namespace of a controller (-device nvme-ns,bus=nvme0). Parts come and go while
 * the device lives, whether or not a client is there.
 */
struct ob_part {
	const char *name, *summary;
	size_t props_size;
	const struct ob_prop *props;

	/*
	 * Adds one; props stay where they are for as long as it is there. Returns 0, and in *number
	 * (not 0) how the device tells it from others, or -errno with a message. Work may be in
	 * flight.
	 */
	int (*add)(struct ob_dev *dev, const void *props, unsigned *number, struct ob_error *err);

	/* Removes one. The device is quiet. */
	void (*remove)(struct ob_dev *dev, unsigned number);
};

struct ob_model {
	const char *name;    /* as in `-device NAME` */
	const char *summary; /* one line for --list */

	/* Optional: the identity that QEMU's device of this name has, for its remote machine. */
	const struct ob_pci_ident *qemu_ident;

	size_t props_size, state_size, runtime_size;
	struct ob_layout layout;
	const struct ob_prop *props; /* may be NULL */

	/*
	 * Optional. Adapts this device's layout to its properties, and checks them against each
	 * other. Called once, before anything else. Returns 0 or -errno with a message.
	 */
	int (*configure)(struct ob_dev *dev, struct ob_layout *layout, struct ob_error *err);

	/*
	 * Optional. Sets up state and runtime to power-on. Returns 0 or -errno with a message;
	 * after an error, stop is not called.
	 */
	int (*start)(struct ob_dev *dev, struct ob_error *err);

	/* Optional. Frees what start set up. The device is quiet: see quiesce. */
	void (*stop)(struct ob_dev *dev);

	/*
	 * Back to power-on state, in place; interrupts were lowered and the configuration space was
	 * reset already. The device is quiet.
	 */
	void (*reset)(struct ob_dev *dev);

	/*
	 * Optional, for models with work in flight. Stops beginning new work, ends or drops what
	 * waits for the client, and calls ob_dev_quiet() once nothing is in flight any more (no
	 * transfer begun, no request submitted), which may be before it returns. Called before
	 * reset, stop, and a client's departure, and when the guest takes the bus from the device
	 * (Bus Master Enable off, D3hot). Reads and writes of BARs go on.
	 */
	void (*quiesce)(struct ob_dev *dev);

	/*
	 * Optional. The counterpart: work may begin again, as state says. Called after a quiesce
	 * has ended, whether or not the device was reset in between.
	 */
	void (*resume)(struct ob_dev *dev);

	/* Optional: how the device moves to another process. Without it, it does not. */
	const struct ob_migration *migration;

	/*
	 * Optional. A block node that the device uses is about to have another size, in bytes:
	 * takes it over and tells the guest, or refuses with -errno and a message. Called again
	 * with the old size where the node then cannot be resized. Without it, nodes of the model's
	 * devices keep their size.
	 */
	int (*resize)(struct ob_dev *dev, struct ob_block *block, uint64_t size,
	              struct ob_error *err);

	/*
	 * Optional, for models that raise interrupts. What was sent for a source may not have
	 * reached the guest, because what carries it has changed since: the kind of interrupt in
	 * use, a vector's wiring, Bus Master Enable, the power state. If the driver has not taken
	 * yet what the source told it of (entries of a queue, a status bit), raise it again, as
	 * ob_irq_raise() is meant; one interrupt too many does no harm. Interrupts that come up
	 * while they cannot be sent need nothing: the core keeps them. vector is one source (MSI-X)
	 * or OB_IRQ_ALL. Not while the device is quiet: after resume instead.
	 */
	void (*irq_changed)(struct ob_dev *dev, unsigned vector);

	/* Optional: what it has parts of. */
	const struct ob_part *part;
};

/* The models that are built in, ended by NULL: the list in src/models/models.c. */
extern const struct ob_model *const ob_models[];

/* The three structs of this device, of the sizes that the model says. */
void *ob_dev_props(struct ob_dev *dev);
void *ob_dev_state(struct ob_dev *dev);
void *ob_dev_runtime(struct ob_dev *dev);

/*
 * What the device's function says that it is: the layout's, or what the user has given instead. Its
 * subsystem is never 0. From start on.
 */
const struct ob_pci_ident *ob_dev_ident(struct ob_dev *dev);

struct ob_loop *ob_dev_loop(struct ob_dev *dev);

/*
 * The memory of the window of kind OB_WINDOW_MEMORY that offset of the BAR lies in, from there to
 * the window's end; NULL if there is none. Owned by the core; stays where it is. From start on.
 */
void *ob_dev_memory(struct ob_dev *dev, unsigned bar, uint64_t offset);

/*
 * Reads or writes length bytes of a BAR, any size and alignment, as if the guest did: for the hooks
 * of capabilities by which a guest reaches a BAR through configuration space. The windows'
 * callbacks are called. 0, or -EINVAL: there is no such BAR, or the range is not within it; then
 * nothing was done.
 */
int ob_dev_bar_read(struct ob_dev *dev, unsigned bar, uint64_t offset, void *buffer, size_t length);
int ob_dev_bar_write(struct ob_dev *dev, unsigned bar, uint64_t offset, const void *buffer,
                     size_t length);

/* The id that the user gave the device, or one that the core made. Owned by the device. */
const char *ob_dev_id(const struct ob_dev *dev);

/*
 * Says by which serial number guests know the device, whoever chose it: lists show it, and two
 * devices with the same one are warned of. Copied; cut at 63 characters. For a model's start and
 * loaded. "" (the default): it has none.
 */
void ob_dev_set_serial(struct ob_dev *dev, const char *serial);

/* Tells the core that a quiesce has finished. */
void ob_dev_quiet(struct ob_dev *dev);

/*
 * Interrupts. A model has sources, numbered like its vectors. Raising a source sends message
 * `vector` while the client uses MSI-X or MSI (each raise is one message; for a vector past what
 * the client enabled with MSI, modulo their number), and otherwise asserts INTA#, which stays
 * asserted until every raised source has been lowered. Lower what was raised in the message modes
 * too: it sends nothing, but a source that is still raised asserts the pin when the client goes
 * back to it.
 */
enum { OB_IRQ_ALL = 2048 }; /* every source: see irq_changed */
void ob_irq_raise(struct ob_dev *dev, unsigned vector);
void ob_irq_lower(struct ob_dev *dev, unsigned vector);

/* Whether interrupts are messages at present (MSI or MSI-X enabled) and not the INTA# pin. */
bool ob_irq_is_message(struct ob_dev *dev);

/* Whether INTA# is in use: not messages, not disabled by the guest, and the client listens to it.
 */
bool ob_irq_is_pin(struct ob_dev *dev);

/*
 * Logs something that the guest's driver did wrong, one line, rate-limited, with the device's id in
 * front. The device then goes on as its hardware's specification says.
 */
void ob_dev_guest_error(struct ob_dev *dev, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * The device has failed: it goes on only after a reset, as its hardware would (a fatal status, a
 * backend that is lost). Whoever runs the device is told once, by a line in the log and by
 * monitors' DEVICE_ERROR; further calls before the next reset change nothing. The text, at most 127
 * characters of it, says what went wrong, without the device's id.
 */
void ob_dev_failed(struct ob_dev *dev, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* It works again, without having been reset by the core: its driver reset it by a register. */
void ob_dev_recovered(struct ob_dev *dev);

/*
 * A request of the device's to a block node has failed: says what is to become of the command that
 * it was for, and tells whoever runs the device (monitors' BLOCK_IO_ERROR). The model's properties
 * "rerror" and "werror" decide, which OB_ERROR_PROPS() adds to its table; without them it is
 * OB_ERROR_REPORT. With OB_ERROR_STOP the device is about to be quiesced, with all others: the
 * command is kept, and begun again when the device resumes. That is never said of a flush: a sync
 * that failed is not tried again, as the second one may succeed with the data lost.
 */
enum ob_error_action {
	OB_ERROR_REPORT, /* it fails */
	OB_ERROR_IGNORE, /* it succeeds; what was to be read is whatever it is */
	OB_ERROR_STOP,
};
enum ob_error_action ob_dev_block_error(struct ob_dev *dev, const struct ob_block *block,
                                        enum ob_block_op op, int error);
#define OB_ERROR_PROPS(type, rerror_, werror_)                                                     \
	{"rerror",                                                                                 \
	 OB_PROP_ENUM,                                                                             \
	 offsetof(type, rerror_),                                                                  \
	 .preset = "auto",                                                                         \
	 .choices = ob_on_read_error,                                                              \
	 .help = "what a read that fails does: tell the guest, nothing, or stop the machine; "     \
	         "auto: as the drive says, or report"},                                            \
	{                                                                                          \
		"werror", OB_PROP_ENUM, offsetof(type, werror_),                                   \
			.preset = "auto", .choices = ob_on_write_error,                            \
			.help = "the same for writes; enospc: stop where there is no room, else "  \
				"report"                                                           \
	}

/*
 * Tracing: lines of a kind (a word: "command", "register") about what the device does, for whoever
 * asked for them with -trace, as many as there are. ob_dev_traces() says whether anybody did, which
 * stays so while the device lives: a model asks at its start, and looks at a flag of its own where
 * time counts.
 */
bool ob_dev_traces(const struct ob_dev *dev, const char *kind);
void ob_dev_trace(struct ob_dev *dev, const char *kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Logs something that whoever runs the device should know: a backend's error, a fatal state. */
void ob_dev_warn(struct ob_dev *dev, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif

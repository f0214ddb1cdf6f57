/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One client's worst: --attack=NAME says which, on a device of its own, again and again, until it
 * is ended. It runs only where the victim (ours_victim.c) leaves the processor idle, unless
 * --polite=0 says otherwise. Each attack is one function, called for each round; what it needs is
 * in struct attacker.
 */
#include <linux/vfio.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "load.h"
#include "loop_watch.h"

enum {
	PAGE = 4096,
	DESCRIPTOR = 16,
	CHAIN = 64,   /* pages of descriptors: as many as the device walks */
	BUSY = 64,    /* heavy commands at a time */
	MAPS = 65000, /* of one session */
	FEW_MAPS = 16000,
	WRITES = 1000, /* of one REGION_WRITE_MULTI */
};

#define MEMORY_AT (UINT64_C(1) << 32) /* where nvme_open() maps the driver's memory */
#define FAR (UINT64_C(1) << 40)

struct attacker {
	const char *path;
	struct ob_client *client;
	struct load load;
	uint64_t size; /* bytes, of attacks that need memory */
};

/* From now on it is an attack. */
static void say_ready(void)
{
	puts("{\"ready\": 1}");
	fflush(stdout);
}

static struct ob_client *join(const struct attacker *attacker)
{
	struct ob_client *client;
	struct ob_error err = {0};

	if (ob_client_connect(attacker->path, NULL, &client, &err)) {
		fprintf(stderr, "%s\n", err.message);
		exit(EXIT_FAILURE);
	}
	return client;
}

static struct ob_client *my_client(struct attacker *attacker)
{
	if (!attacker->client)
		attacker->client = join(attacker);
	return attacker->client;
}

static struct nvme *my_disk(struct attacker *attacker, const struct nvme_config *config)
{
	if (!attacker->load.nvme)
		load_open(&attacker->load, attacker->path, config);
	return attacker->load.nvme;
}

static uint64_t address_of(const struct nvme *nvme, const void *data)
{
	return MEMORY_AT + (uint64_t)((const uint8_t *)data - nvme->memory->data);
}

/* Lists of descriptors without data */

static void put_descriptor(uint8_t *at, uint64_t address, uint32_t length, uint8_t type)
{
	memset(at, 0, DESCRIPTOR);
	memcpy(at, &address, sizeof(address));
	memcpy(at + 8, &length, sizeof(length));
	at[15] = type;
}

/* Bit buckets of a byte in all places but the last, which leads to the next page. */
static void make_chain(const struct nvme *nvme, uint8_t *pages)
{
	for (unsigned page = 0; page < CHAIN; page++) {
		uint8_t *at = pages + (size_t)page * PAGE;

		for (unsigned i = 0; i < PAGE / DESCRIPTOR; i++)
			put_descriptor(at + (size_t)i * DESCRIPTOR, 0, 1, 0x10);
		if (page + 1 < CHAIN)
			put_descriptor(at + PAGE - DESCRIPTOR, address_of(nvme, at + PAGE), PAGE,
			               page + 2 < CHAIN ? 0x20 : 0x30);
	}
}

static void attack_lists(struct attacker *attacker)
{
	const struct nvme_config config = {
		.queues = 1, .depth = BUSY, .slot_size = CHAIN * PAGE, .nsid = 1};
	bool begun = attacker->load.nvme;
	struct nvme *nvme = my_disk(attacker, &config);
	struct nvme_queue *queue = attacker->load.queue;
	struct nvme_done done[BUSY];
	uint8_t *chain = queue->buffers;

	if (!begun)
		make_chain(nvme, chain);
	while (queue->free_count) {
		struct nvme_sqe *sqe = &queue->sq[queue->tail];

		nvme_submit(queue, (unsigned)nvme_slot_get(queue), NVME_OP_READ, 0,
		            CHAIN * PAGE / 512);
		sqe->flags = 1 << 6;
		sqe->prp1 = address_of(nvme, chain);
		sqe->prp2 = PAGE | UINT64_C(0x20) << 56;
	}
	good("ringing", nvme_ring(queue));
	for (unsigned left = BUSY; left;) {
		int n = nvme_reap(queue, done, BUSY);

		good("the connection", n);
		for (int i = 0; i < n; i++)
			nvme_slot_put(queue, done[i].slot);
		left -= (unsigned)n;
	}
}

/* Queue 2, whose completion queue is full at once: its entries are fetched by nobody. */
static void make_stuck_queue(struct attacker *attacker)
{
	enum { ENTRIES = 2048, DOORBELL = 0x1000 + 2 * 2 * 4 };
	struct nvme *nvme = attacker->load.nvme;
	uint8_t *memory = attacker->load.queue->buffers;
	struct nvme_sqe *entries = (struct nvme_sqe *)(void *)(memory + PAGE);
	const struct nvme_sqe cq = {.opcode = 5,
	                            .prp1 = address_of(nvme, memory),
	                            .cdw10 = 2 | UINT32_C(1) << 16,
	                            .cdw11 = 1};
	const struct nvme_sqe sq = {.opcode = 1,
	                            .prp1 = address_of(nvme, entries),
	                            .cdw10 = 2 | (uint32_t)(ENTRIES - 1) << 16,
	                            .cdw11 = 1 | UINT32_C(2) << 16};
	struct ob_error err = {0};

	for (unsigned i = 0; i < ENTRIES; i++)
		entries[i] = (struct nvme_sqe){.opcode = 0, .nsid = 1, .cid = (uint16_t)i};
	if (nvme_admin(nvme, &cq, NULL, &err) || nvme_admin(nvme, &sq, NULL, &err)) {
		fprintf(stderr, "%s\n", err.message);
		exit(EXIT_FAILURE);
	}
	good("ringing", ob_client_write_value(nvme->client, 0, DOORBELL, 4, ENTRIES - 1));
}

/* Aborts of a command that is not there, which is looked for in a long queue. */
static void attack_aborts(struct attacker *attacker)
{
	const struct nvme_config config = {.queues = 1,
	                                   .depth = 1,
	                                   .slot_size = 512 << 10,
	                                   .nsid = 1,
	                                   .doorbells = NVME_DOORBELLS_MESSAGE};
	bool begun = attacker->load.nvme;
	const struct nvme_sqe abort = {.opcode = 8, .cdw10 = 2 | UINT32_C(0x7777) << 16};
	struct nvme *nvme = my_disk(attacker, &config);
	struct ob_error err = {0};

	if (!begun)
		make_stuck_queue(attacker);
	good("abort", nvme_admin(nvme, &abort, NULL, &err));
}

/* Gives back as much of a disk in memory as one command may, and fills it again. */
static void attack_trims(struct attacker *attacker)
{
	const struct nvme_config config = {
		.queues = 1, .depth = 32, .slot_size = 128 << 10, .nsid = 1};
	struct nvme *nvme = my_disk(attacker, &config);
	struct nvme_queue *queue = attacker->load.queue;
	struct nvme_sqe *sqe;
	uint64_t range[2] = {UINT64_C(0x20000) << 32, 0}; /* 64 MiB from block 0 on */
	unsigned slot;

	for (unsigned i = 0; i < 512;) {
		for (; i < 512 && queue->free_count; i++)
			nvme_submit(queue, (unsigned)nvme_slot_get(queue), NVME_OP_WRITE, i * 256,
			            256);
		good("ringing", nvme_ring(queue));
		load_reap(&attacker->load);
	}
	while (queue->busy_count)
		load_reap(&attacker->load);
	slot = (unsigned)nvme_slot_get(queue);
	sqe = &queue->sq[queue->tail];
	nvme_submit(queue, slot, 9, 0, 1);
	memcpy(nvme_buffer(queue, slot), range, sizeof(range));
	nvme_wrote(nvme, nvme_buffer(queue, slot), sizeof(range));
	sqe->cdw10 = 0;
	sqe->cdw11 = 1 << 2;
	sqe->cdw12 = 0;
	good("ringing", nvme_ring(queue));
	while (queue->busy_count)
		load_reap(&attacker->load);
}

/* Commands that wait for memory which nobody brings, as many as there may be. */
static void attack_held_reads(struct attacker *attacker)
{
	const struct nvme_config config = {
		.queues = 1, .depth = 1000, .slot_size = 128 << 10, .nsid = 1, .unshared = true};
	struct nvme_queue *queue;

	my_disk(attacker, &config);
	queue = attacker->load.queue;
	while (queue->free_count)
		nvme_submit(queue, (unsigned)nvme_slot_get(queue), NVME_OP_WRITE, 0, 256);
	good("ringing", nvme_ring(queue));
	say_ready();
	for (;;) /* reads nothing: requests are not answered */
		pause();
}

/* Maps */

static int small_file(void)
{
	int fd = (int)check("memfd", memfd_create("attack", MFD_CLOEXEC));

	check("memfd", ftruncate(fd, (off_t)FEW_MAPS * PAGE));
	return fd;
}

static void map_many(struct ob_client *client, int fd, unsigned count)
{
	struct ob_client_map map = {.length = PAGE, .flags = OB_CLIENT_READ, .fd = fd};

	/* Every other page, so that no two of them become one. A server may take fewer. */
	for (unsigned i = 0; i < count; i++) {
		map.address = FAR + (uint64_t)i * 2 * PAGE;
		map.file_offset = fd >= 0 ? (uint64_t)i % FEW_MAPS * PAGE : 0;
		if (ob_client_map_raw(client, &map))
			break;
	}
}

static void attack_maps(struct attacker *attacker)
{
	struct ob_client *client = my_client(attacker);
	int fd = small_file();

	map_many(client, fd, FEW_MAPS);
	close(fd);
	good("unmap", ob_client_unmap_all(client));
}

/* As many as may be, and ranges that remove half of them. */
static void attack_unmaps(struct attacker *attacker)
{
	struct ob_client *client = my_client(attacker);

	map_many(client, -1, MAPS);
	good("unmap", ob_client_unmap(client, FAR, (uint64_t)MAPS * PAGE));
	good("unmap", ob_client_unmap(client, 0, UINT64_MAX));
}

/* The log of pages, started over all that is mapped, reported in pieces as large as may be. */
static void attack_logs(struct attacker *attacker)
{
	struct ob_client *client = my_client(attacker);
	struct ob_client_range range = {FAR, UINT64_C(16) << 30};
	static struct ob_client_range ranges[256];
	static uint64_t bits[1 << 17];
	uint64_t page = PAGE;

	map_many(client, -1, MAPS);
	for (unsigned i = 0; i < 256; i++)
		ranges[i] = (struct ob_client_range){FAR + i * (UINT64_C(2) << 30), 1 << 30};
	for (unsigned i = 0; i < 20; i++) {
		good("log", ob_client_dirty_start(client, &page, ranges, i % 2 ? 256 : 0));
		good("log", ob_client_dirty_report(client, range, PAGE, bits));
		good("log", ob_client_dirty_stop(client));
	}
	good("unmap", ob_client_unmap_all(client));
}

/* Ends */

/* A client whose memory the server keeps alive, and has touched, is killed. */
static void die_with_memory(struct attacker *attacker)
{
	const struct nvme_config config = {.queues = 1,
	                                   .depth = 16,
	                                   .slot_size = 512 << 10,
	                                   .nsid = 1,
	                                   .buffers = (unsigned)(attacker->size >> 23)};
	struct nvme *nvme = my_disk(attacker, &config);

	memset(nvme->memory->data, 1, nvme->memory->size);
	for (uint64_t i = 0; i < attacker->size >> 19;) {
		load_refill(&attacker->load);
		i += load_reap(&attacker->load);
	}
	kill(getpid(), SIGKILL);
}

static void in_a_child(struct attacker *attacker, void (*act)(struct attacker *attacker))
{
	pid_t pid = (pid_t)check("fork", fork());

	if (!pid) {
		act(attacker);
		_exit(0);
	}
	check("waitpid", waitpid(pid, NULL, 0));
}

static void attack_death(struct attacker *attacker)
{
	in_a_child(attacker, die_with_memory);
	usleep(20000); /* until the server has let it go */
}

static void attack_visits(struct attacker *attacker)
{
	ob_client_free(join(attacker));
}

/* Descriptors whose last close sleeps: what was sent is not read, and is waited for. */
static void attack_descriptors(struct attacker *attacker)
{
	struct ob_client *client = my_client(attacker);
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	const struct linger linger = {1, 5};
	int listener = (int)check("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int sender = (int)check("socket", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	struct ob_client_map map = {
		.address = FAR, .length = PAGE, .flags = OB_CLIENT_READ, .fd = sender};
	static char bytes[1 << 20];

	check("bind", bind(listener, (struct sockaddr *)&address, length));
	check("listen", listen(listener, 1));
	check("getsockname", getsockname(listener, (struct sockaddr *)&address, &length));
	check("connect", connect(sender, (struct sockaddr *)&address, length));
	while (send(sender, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
		;
	check("linger", setsockopt(sender, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	(void)ob_client_map_raw(client, &map);
	map.fd = -1; /* now ours is closed first */
	close(sender);
	(void)ob_client_map_raw(client, &map);
	(void)ob_client_unmap_all(client);
	close(listener);
}

/* Messages */

static void attack_messages(struct attacker *attacker)
{
	static struct ob_client_small_write writes[WRITES];
	static uint8_t data[1 << 20];
	struct ob_client *client = my_client(attacker);
	struct ob_client_irq irq = {.index = VFIO_PCI_MSIX_IRQ_INDEX};

	good("interrupts", ob_client_irq_info(client, irq.index, &irq));
	for (unsigned i = 0; i < WRITES; i++)
		writes[i] =
			(struct ob_client_small_write){.offset = 0x14, .size = 4, .value = i % 2};
	for (unsigned i = 0; i < 32; i++) {
		good("write", ob_client_write_multi(client, writes, WRITES / 8, true, NULL));
		good("read", ob_client_read(client, 0, 0, data, 8192));
		good("reset", ob_client_reset(client));
		good("trigger", ob_client_irq_act(client, irq.index, 0, irq.count,
		                                  OB_CLIENT_IRQ_TRIGGER, NULL));
	}
}

/* Reads that the storage behind answers with an error, or fails to take. */
static void attack_failures(struct attacker *attacker)
{
	const struct nvme_config config = {.queues = 1, .depth = 64, .slot_size = 4096, .nsid = 1};
	struct nvme *nvme = my_disk(attacker, &config);
	struct nvme_queue *queue = attacker->load.queue;
	struct nvme_done done[BUSY];
	unsigned blocks = 4096 / nvme->block_size;

	while (queue->free_count)
		nvme_submit(queue, (unsigned)nvme_slot_get(queue), NVME_OP_READ,
		            random_below(&attacker->load.state, nvme->blocks - blocks), blocks);
	good("ringing", nvme_ring(queue));
	while (queue->busy_count) {
		int n = nvme_reap(queue, done, BUSY);

		good("the connection", n);
		for (int i = 0; i < n; i++)
			nvme_slot_put(queue, done[i].slot);
	}
}

static const struct attack {
	const char *name;
	void (*round)(struct attacker *attacker);
} attacks[] = {
	{"lists", attack_lists},       {"aborts", attack_aborts},
	{"trims", attack_trims},       {"held-reads", attack_held_reads},
	{"maps", attack_maps},         {"unmaps", attack_unmaps},
	{"logs", attack_logs},         {"death", attack_death},
	{"visits", attack_visits},     {"descriptors", attack_descriptors},
	{"messages", attack_messages}, {"failures", attack_failures},
};

static const struct attack *find_attack(const char *name)
{
	for (size_t i = 0; i < sizeof(attacks) / sizeof(attacks[0]); i++) {
		if (!strcmp(attacks[i].name, name))
			return &attacks[i];
	}
	fail("attack", EINVAL);
}

int main(int argc, char **argv)
{
	struct attacker attacker = {.size = 512 << 20};
	const struct sched_param idle = {0};
	uint64_t client_cpu = CLIENT_CPU, polite = 1;
	const char *name = "lists", *watch = NULL;
	struct loop_watch *counts;
	const struct option_spec options[] = {
		{"attack", NULL, &name},           {"size", &attacker.size, NULL},
		{"loop-watch", NULL, &watch},      {"polite", &polite, NULL},
		{"client-cpu", &client_cpu, NULL}, {0},
	};
	const struct attack *attack;

	attacker.path = take_options(options, argc, argv);
	if (!attacker.path)
		fail("socket", EINVAL);
	attack = find_attack(name);
	counts = watch ? loop_watch_open(watch) : NULL;
	pin(client_cpu);
	attack->round(&attacker);
	if (polite)
		check("scheduling", sched_setscheduler(0, SCHED_IDLE, &idle));
	say_ready();
	for (;;) {
		attack->round(&attacker);
		if (counts)
			atomic_fetch_add(&counts->rounds, 1);
	}
}

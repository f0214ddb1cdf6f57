/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver in user space, for the guest tests: takes an NVMe controller from vfio-pci and reads its
 * first blocks over and over, as many commands at a time as a queue has, until it is killed. What
 * it says, a line each: "running" when the first read has ended.
 *
 *     vfio_driver GROUP ADDRESS        as in: vfio_driver 3 0000:00:03.0
 */
#include <err.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	ADMIN_ENTRIES = 2,
	ENTRIES = 64,
	/* Pages of the memory that the device is given. */
	ADMIN_SQ = 0,
	ADMIN_CQ = 1,
	SQ = 2,
	CQ = 3,
	DATA = 4,
	PAGES = DATA + ENTRIES,
	IOVA = 0x100000,
	/* Registers and bits of NVM Express 1.4, 3.1. */
	CC = 0x14,
	CSTS = 0x1c,
	AQA = 0x24,
	ASQ = 0x28,
	ACQ = 0x30,
	DOORBELLS = 0x1000,
	READY = 1,
	PCI_COMMAND = 4,
	MEMORY_AND_BUS = 6,
};

static int device;
static uint64_t bar_offset;
static uint8_t *memory;

struct queue {
	uint32_t number, entries;
	uint8_t *sq, *cq;
	uint32_t tail, head, phase;
};

static void put32(uint32_t at, uint32_t value)
{
	if (pwrite(device, &value, sizeof(value), (off_t)(bar_offset + at)) != sizeof(value))
		err(1, "write of register 0x%x", at);
}

static uint32_t get32(uint32_t at)
{
	uint32_t value;

	if (pread(device, &value, sizeof(value), (off_t)(bar_offset + at)) != sizeof(value))
		err(1, "read of register 0x%x", at);
	return value;
}

static void put_address(uint32_t at, uint32_t page)
{
	put32(at, IOVA + page * PAGE);
	put32(at + 4, 0);
}

static void open_device(const char *group_number, const char *address)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE};
	struct vfio_region_info region = {.argsz = sizeof(region)};
	int container = open("/dev/vfio/vfio", O_RDWR), group;
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/%s", group_number);
	group = open(path, O_RDWR);
	if (container < 0 || group < 0)
		err(1, "%s", container < 0 ? "/dev/vfio/vfio" : path);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU))
		err(1, "the IOMMU of group %s", group_number);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	              0);
	map.vaddr = (uintptr_t)memory;
	map.iova = IOVA;
	map.size = PAGES * PAGE;
	if (memory == MAP_FAILED || ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		err(1, "memory for the device");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
	if (device < 0)
		err(1, "device %s", address);
	region.index = VFIO_PCI_CONFIG_REGION_INDEX;
	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region))
		err(1, "configuration space");
	if (pwrite(device, &(uint16_t){MEMORY_AND_BUS}, 2, (off_t)region.offset + PCI_COMMAND) != 2)
		err(1, "bus mastering");
	region.index = VFIO_PCI_BAR0_REGION_INDEX;
	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region))
		err(1, "BAR 0");
	bar_offset = region.offset;
}

/* A command with a page of data, at most. */
static void submit(struct queue *queue, uint32_t opcode, uint32_t cid, uint32_t nsid, uint32_t page,
                   uint32_t word10, uint32_t word11)
{
	uint32_t entry[16] = {opcode | cid << 16, nsid};

	entry[6] = IOVA + page * PAGE;
	entry[10] = word10;
	entry[11] = word11;
	entry[12] = PAGE / 512 - 1;
	memcpy(queue->sq + queue->tail * sizeof(entry), entry, sizeof(entry));
	queue->tail = (queue->tail + 1) % queue->entries;
	put32(DOORBELLS + queue->number * 8, queue->tail);
}

/* The identifier of the next command that has ended; waits for it without interrupts. */
static uint32_t complete(struct queue *queue)
{
	volatile uint32_t *entry = (volatile uint32_t *)(queue->cq + queue->head * 16);

	while ((entry[3] >> 16 & 1) != queue->phase)
		usleep(0);
	if (entry[3] >> 17)
		errx(1, "a command failed: 0x%x", entry[3] >> 17);
	queue->head = (queue->head + 1) % queue->entries;
	queue->phase ^= !queue->head;
	put32(DOORBELLS + queue->number * 8 + 4, queue->head);
	return entry[3] & 0xffff;
}

static void wait_ready(uint32_t ready)
{
	while ((get32(CSTS) & READY) != ready)
		usleep(1000);
}

static void enable(void)
{
	put32(CC, 0);
	wait_ready(0);
	put32(AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	put_address(ASQ, ADMIN_SQ);
	put_address(ACQ, ADMIN_CQ);
	put32(CC, 4 << 20 | 6 << 16 | 1);
	wait_ready(READY);
}

int main(int argc, char **argv)
{
	struct queue admin = {.entries = ADMIN_ENTRIES, .phase = 1};
	struct queue io = {.number = 1, .entries = ENTRIES, .phase = 1};

	if (argc != 3)
		errx(2, "usage: vfio_driver GROUP ADDRESS");
	open_device(argv[1], argv[2]);
	admin.sq = memory + ADMIN_SQ * PAGE;
	admin.cq = memory + ADMIN_CQ * PAGE;
	io.sq = memory + SQ * PAGE;
	io.cq = memory + CQ * PAGE;
	enable();
	submit(&admin, 0x05, 0, 0, CQ, (ENTRIES - 1) << 16 | 1, 1);
	complete(&admin);
	submit(&admin, 0x01, 0, 0, SQ, (ENTRIES - 1) << 16 | 1, 1 << 16 | 1);
	complete(&admin);
	for (uint32_t cid = 0; cid < ENTRIES - 1; cid++)
		submit(&io, 0x02, cid, 1, DATA + cid, cid * (PAGE / 512), 0);
	for (uint64_t reads = 0;; reads++) {
		uint32_t cid = complete(&io);

		if (!reads) {
			puts("running");
			fflush(stdout);
		}
		submit(&io, 0x02, cid, 1, DATA + cid, cid * (PAGE / 512), 0);
	}
}

/* SPDX-License-Identifier: BSD-3-Clause */
/* Capture files; see pcap.h. All numbers in the host's byte order, which readers recognize. */
#include "obctl/pcap.h"

#include <errno.h>
#include <time.h>

enum { LINKTYPE_USER0 = 147, SNAP_LENGTH = 64 << 20 };

struct file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy;
	uint32_t snap_length, link_type;
};

struct packet_header {
	uint32_t seconds, nanoseconds;
	uint32_t captured, length;
};

struct pseudo_header {
	uint8_t version, direction, socket, fds;
	uint32_t zero;
};

FILE *pcap_create(const char *path, int fd)
{
	const struct file_header header = {
		.magic = 0xa1b23c4d,
		.major = 2,
		.minor = 4,
		.snap_length = SNAP_LENGTH,
		.link_type = LINKTYPE_USER0,
	};
	FILE *file = path ? fopen(path, "wbe") : fdopen(fd, "wb");

	if (file && fwrite(&header, sizeof(header), 1, file) != 1) {
		fclose(file);
		return NULL;
	}
	return file;
}

int pcap_write(FILE *file, const struct ob_client_message *message, bool from_server, bool twin)
{
	const struct pseudo_header pseudo = {
		.version = 1,
		.direction = from_server,
		.socket = twin,
		.fds = (uint8_t)message->fd_count,
	};
	uint32_t length = (uint32_t)sizeof(pseudo) + message->header.size;
	struct packet_header packet = {.captured = length, .length = length};
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	packet.seconds = (uint32_t)now.tv_sec;
	packet.nanoseconds = (uint32_t)now.tv_nsec;
	if (fwrite(&packet, sizeof(packet), 1, file) != 1 ||
	    fwrite(&pseudo, sizeof(pseudo), 1, file) != 1 ||
	    fwrite(message->bytes, message->header.size, 1, file) != 1)
		return errno ? -errno : -EIO;
	return 0;
}

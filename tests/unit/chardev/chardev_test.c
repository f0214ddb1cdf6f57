/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Chardevs of every kind: bytes both ways, a side that does not read, who comes and goes, and the
 * end at any time. Each test waits for something to happen.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/list.h"
#include "chardev/chardev.h"
#include "chardev/internal.h"
#include "lingering.h"
#include "loop/loop.h"
#include "loop/offload.h"

enum { PLENTY = 64 * 1024 };

/* A device's end, with the folder that a test may use. */
struct port {
	struct ob_loop *loop;
	struct log log;
	struct ob_chardev *chardev;
	struct ob_chardev_user user;
	char folder[64];
	unsigned readable, writable, opened, closed, breaks;
	struct chardev_wait wait;
	bool waited;
	int status;
	char why[256];
};

static void on_readable(struct ob_chardev_user *user)
{
	container_of(user, struct port, user)->readable++;
}

static void on_writable(struct ob_chardev_user *user)
{
	container_of(user, struct port, user)->writable++;
}

static void on_event(struct ob_chardev_user *user, enum ob_chardev_event event)
{
	struct port *port = container_of(user, struct port, user);

	port->opened += event == OB_CHARDEV_OPENED;
	port->closed += event == OB_CHARDEV_CLOSED;
	port->breaks += event == OB_CHARDEV_BREAK;
}

static void on_waited(struct chardev_wait *wait, int status, const struct ob_error *err)
{
	struct port *port = container_of(wait, struct port, wait);

	port->waited = true;
	port->status = status;
	snprintf(port->why, sizeof(port->why), "%.255s", err ? err->message : "");
}

static int setup(void **state)
{
	struct port *port = calloc(1, sizeof(*port));

	signal(SIGPIPE, SIG_IGN);
	port->loop = loop_new();
	port->log = (struct log){.fd = -1, .level = LOG_ERROR};
	port->user = (struct ob_chardev_user){on_readable, on_writable, on_event};
	port->wait.done = on_waited;
	strcpy(port->folder, "/tmp/chardev-test-XXXXXX");
	assert_non_null(mkdtemp(port->folder));
	*state = port;
	return 0;
}

static void turn_until(struct port *port, const bool *done)
{
	while (!*done)
		assert_int_equal(loop_turn(port->loop, -1), 0);
}

static void end(struct port *port)
{
	port->waited = false;
	if (port->chardev && chardev_close(port->chardev, &port->wait) == -EINPROGRESS)
		turn_until(port, &port->waited);
	port->chardev = NULL;
}

static int teardown(void **state)
{
	struct port *port = *state;
	char command[128];

	end(port);
	/* What helpers close. */
	for (unsigned i = 0; i < 10; i++)
		loop_turn(port->loop, 0);
	loop_free(port->loop);
	snprintf(command, sizeof(command), "rm -rf %s", port->folder);
	assert_int_equal(system(command), 0);
	free(port);
	return 0;
}

/* The message that making one ends with; "": none. */
static const char *try_begin(struct port *port, const char *format, ...)
{
	static struct ob_error err;
	cleanup_opts struct opts opts = {0};
	char text[256];
	va_list args;
	int rc;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	err.message[0] = '\0';
	assert_int_equal(opts_parse(&opts, text, "backend", &err), 0);
	port->chardev = chardev_new(port->loop, &port->log, "c0", &opts, &err);
	if (!port->chardev)
		return err.message;
	rc = chardev_open(port->chardev, &port->wait, &err);
	if (rc == -EINPROGRESS) {
		port->waited = false;
		turn_until(port, &port->waited);
		rc = port->status;
		snprintf(err.message, sizeof(err.message), "%s", port->why);
	}
	if (!rc) {
		ob_chardev_set_user(port->chardev, &port->user);
		return "";
	}
	end(port);
	return err.message;
}

#define begin(...) assert_string_equal(try_begin(__VA_ARGS__), "")

static void until(struct port *port, const unsigned *count, unsigned least)
{
	while (*count < least)
		assert_int_equal(loop_turn(port->loop, -1), 0);
}

static void read_exactly(struct port *port, const char *text)
{
	char got[256];
	size_t length = strlen(text), done = 0;

	while (done < length) {
		done += ob_chardev_read(port->chardev, got + done, length - done);
		if (done < length)
			assert_int_equal(loop_turn(port->loop, -1), 0);
	}
	assert_memory_equal(got, text, length);
}

static void write_text(struct port *port, const char *text)
{
	assert_int_equal(ob_chardev_write(port->chardev, text, strlen(text)), strlen(text));
}

/* Turns the loop until the other end has that. */
static void arrives(struct port *port, int fd, const char *text)
{
	struct pollfd wait = {.fd = fd, .events = POLLIN};
	char got[256];
	size_t done = 0;

	while (done < strlen(text)) {
		ssize_t n = 0;

		assert_int_equal(loop_turn(port->loop, 0), 0);
		if (poll(&wait, 1, 1) == 1)
			n = read(fd, got + done, strlen(text) - done);
		assert_true(n >= 0);
		done += (size_t)n;
	}
	assert_memory_equal(got, text, strlen(text));
}

static int connect_to(const struct port *port, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", port->folder, name);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static uint8_t pattern(size_t at)
{
	return (uint8_t)(at * 7 + at / 256);
}

/* PLENTY bytes each way at the same time, through buffers that hold far less. */
static void plenty_both_ways(struct port *port, int fd)
{
	size_t sent = 0, got = 0, theirs = 0, ours = 0;
	struct pollfd wait = {.fd = fd, .events = POLLIN | POLLOUT};
	uint8_t bytes[1000];

	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (got < PLENTY || ours < PLENTY) {
		size_t length = 0, n;
		ssize_t moved;

		while (length < sizeof(bytes) && sent + length < PLENTY) {
			bytes[length] = pattern(sent + length);
			length++;
		}
		sent += ob_chardev_write(port->chardev, bytes, length);
		for (length = 0; length < sizeof(bytes) && theirs + length < PLENTY; length++)
			bytes[length] = pattern(theirs + length);
		moved = length ? write(fd, bytes, length) : 0;
		theirs += moved > 0 ? (size_t)moved : 0;
		assert_int_equal(loop_turn(port->loop, 0), 0);
		moved = read(fd, bytes, sizeof(bytes));
		for (ssize_t i = 0; i < moved; i++)
			assert_int_equal(bytes[i], pattern(got++));
		n = ob_chardev_read(port->chardev, bytes, sizeof(bytes));
		for (size_t i = 0; i < n; i++)
			assert_int_equal(bytes[i], pattern(ours++));
		poll(&wait, 1, 0);
	}
	assert_int_equal(sent, PLENTY);
	assert_int_equal(chardev_stats(port->chardev)->dropped, 0);
}

static void a_socket_serves_one_after_the_other(void **state)
{
	struct port *port = *state;
	char text[256];
	int first, second;

	begin(port, "socket,path=%s/s,server=on,wait=off", port->folder);
	assert_false(ob_chardev_is_open(port->chardev));
	write_text(port, "nobody is there");
	assert_int_equal(chardev_stats(port->chardev)->dropped, 15);
	chardev_describe(port->chardev, text, sizeof(text));
	assert_memory_equal(text, "disconnected:unix:/tmp/", 22);
	first = connect_to(port, "s");
	until(port, &port->opened, 1);
	assert_memory_equal(chardev_describe(port->chardev, text, sizeof(text)), "unix:/tmp/", 10);
	write_text(port, "hello");
	arrives(port, first, "hello");
	assert_int_equal(write(first, "hi", 2), 2);
	read_exactly(port, "hi");
	/* The second waits until the first has left. */
	second = connect_to(port, "s");
	assert_int_equal(write(second, "two", 3), 3);
	for (unsigned i = 0; i < 5; i++)
		loop_turn(port->loop, 0);
	assert_int_equal(ob_chardev_read(port->chardev, text, 3), 0);
	close(first);
	read_exactly(port, "two");
	write_text(port, "you too");
	arrives(port, second, "you too");
	close(second);
	until(port, &port->closed, 1);
	while (ob_chardev_is_open(port->chardev))
		loop_turn(port->loop, -1);
}

static void plenty_through_a_socket(void **state)
{
	struct port *port = *state;
	int fd;

	begin(port, "socket,path=%s/s,server=on", port->folder);
	fd = connect_to(port, "s");
	until(port, &port->opened, 1);
	plenty_both_ways(port, fd);
	close(fd);
}

/* What was taken stays within bounds, and the user hears when there is room again. */
static void a_side_that_does_not_read(void **state)
{
	struct port *port = *state;
	uint8_t bytes[512] = {0};
	size_t taken = 0, n = 1, back = 0;
	int fd;

	begin(port, "socket,path=%s/s,server=on", port->folder);
	fd = connect_to(port, "s");
	until(port, &port->opened, 1);
	for (unsigned full = 0; full < 3; full = n ? 0 : full + 1) {
		n = ob_chardev_write(port->chardev, bytes, sizeof(bytes));
		taken += n;
		assert_int_equal(loop_turn(port->loop, 0), 0);
	}
	port->writable = 0;
	while (back < taken) {
		ssize_t got = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);

		back += got > 0 ? (size_t)got : 0;
		loop_turn(port->loop, 0);
	}
	until(port, &port->writable, 1);
	assert_int_equal(ob_chardev_write(port->chardev, bytes, 10), 10);
	assert_int_equal(chardev_stats(port->chardev)->dropped, 0);
	close(fd);
}

/* A user that does not read does not keep the next client out. */
static void who_leaves_bytes_behind_makes_place(void **state)
{
	static uint8_t many[2 * CHARDEV_BUFFER];
	struct port *port = *state;
	int first, second;

	memset(many, 'a', sizeof(many));
	begin(port, "socket,path=%s/s,server=on", port->folder);
	first = connect_to(port, "s");
	assert_int_equal(write(first, many, sizeof(many)), sizeof(many));
	until(port, &port->readable, 1);
	close(first);
	second = connect_to(port, "s");
	assert_int_equal(write(second, "b", 1), 1);
	for (unsigned i = 0; i < 10; i++)
		loop_turn(port->loop, 0);
	/* What was taken in before is read first. */
	for (size_t n = 0; n < CHARDEV_BUFFER;)
		n += ob_chardev_read(port->chardev, many + n, 1);
	do {
		while (!ob_chardev_read(port->chardev, many, 1))
			loop_turn(port->loop, -1);
	} while (many[0] == 'a');
	assert_int_equal(many[0], 'b');
	close(second);
}

/* Without anybody else, all of it is read. */
static void who_leaves_is_read_to_the_end(void **state)
{
	static uint8_t many[2 * CHARDEV_BUFFER];
	struct port *port = *state;
	size_t n = 0;
	int fd;

	begin(port, "socket,path=%s/s,server=on", port->folder);
	fd = connect_to(port, "s");
	assert_int_equal(write(fd, many, sizeof(many)), sizeof(many));
	close(fd);
	until(port, &port->readable, 1);
	for (unsigned i = 0; i < 5; i++)
		loop_turn(port->loop, 0);
	while (n < sizeof(many)) {
		n += ob_chardev_read(port->chardev, many, 1000);
		loop_turn(port->loop, 0);
	}
	until(port, &port->closed, 1);
	assert_int_equal(ob_chardev_read(port->chardev, many, 1000), 0);
}

/* The kernel closes what is not received, and that may sleep. */
static void who_sends_descriptors_is_cut_off(void **state)
{
	struct port *port = *state;
	int fd, other, next;

	begin(port, "socket,path=%s/s,server=on", port->folder);
	fd = connect_to(port, "s");
	until(port, &port->opened, 1);
	send_with(fd, "a", lingering(&other), 0);
	until(port, &port->closed, 1);
	next = connect_to(port, "s");
	assert_int_equal(write(next, "b", 1), 1);
	read_exactly(port, "b");
	close(other);
	close(next);
	close(fd);
}

/* However often: what is stuck in their ends is one helper thread, and holds up this port alone. */
static void who_leaves_a_lot_to_close_waits(void **state)
{
	struct port *port = *state;
	int fds[4], others[4], next;

	begin(port, "socket,path=%s/s,server=on", port->folder);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_to(port, "s");
		until(port, &port->opened, i + 1);
		send_with(fds[i], "a", lingering(&others[i]), 0);
		until(port, &port->closed, i + 1);
	}
	/* The first of two descriptors of a socket is closed at once, the second is stuck. */
	while (port->chardev->unclosed.own != 2 * ARRAY_SIZE(fds) - 1)
		assert_int_equal(loop_turn(port->loop, -1), 0);
	next = connect_to(port, "s");
	assert_int_equal(write(next, "b", 1), 1);
	for (unsigned i = 0; i < 10; i++)
		loop_turn(port->loop, 0);
	assert_false(ob_chardev_is_open(port->chardev));
	assert_int_equal(loop_offload_count(port->loop, LOOP_LANE_CLIENT), 1);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		close(others[i]);
		close(fds[i]);
	}
	read_exactly(port, "b");
	close(next);
}

static int listen_at(const struct port *port)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/l", port->folder);
	unlink(address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static void a_socket_connects_again(void **state)
{
	struct port *port = *state;
	int listening, fd;

	assert_non_null(
		strstr(try_begin(port, "socket,path=%s/l", port->folder), "cannot connect"));
	begin(port, "socket,path=%s/l,reconnect-ms=1", port->folder);
	listening = listen_at(port);
	until(port, &port->opened, 1);
	fd = accept(listening, NULL, NULL);
	write_text(port, "here");
	arrives(port, fd, "here");
	close(fd);
	until(port, &port->opened, 2);
	assert_int_equal(port->closed, 1);
	fd = accept(listening, NULL, NULL);
	write_text(port, "again");
	arrives(port, fd, "again");
	close(fd);
	close(listening);
}

/* A port that nobody has. */
static int free_port(void)
{
	int probe = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);

	assert_int_equal(bind(probe, (struct sockaddr *)&address, length), 0);
	assert_int_equal(getsockname(probe, (struct sockaddr *)&address, &length), 0);
	close(probe);
	return ntohs(address.sin_port);
}

static void tcp_both_ways(void **state)
{
	struct port *server = *state, client = *server;
	int port = free_port();

	begin(server, "socket,host=127.0.0.1,port=%d,server=on,wait=off", port);
	client.user = server->user;
	begin(&client, "socket,host=127.0.0.1,port=%d", port);
	until(server, &server->opened, 1);
	until(&client, &client.opened, 1);
	write_text(server, "over there");
	read_exactly(&client, "over there");
	write_text(&client, "and back");
	read_exactly(server, "and back");
	end(&client);
	until(server, &server->closed, 1);
}

static int connect_tcp(int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET,
	                              .sin_port = htons((uint16_t)port),
	                              .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* It ends its own direction only: the other one is still there. */
static void who_leaves_tcp_makes_place_too(void **state)
{
	struct port *port = *state;
	int number = free_port(), first, second;

	begin(port, "socket,host=127.0.0.1,port=%d,server=on", number);
	first = connect_tcp(number);
	assert_int_equal(write(first, "a", 1), 1);
	until(port, &port->readable, 1);
	close(first);
	while (!port->chardev->gone)
		assert_int_equal(loop_turn(port->loop, -1), 0);
	second = connect_tcp(number);
	while (port->chardev->gone)
		assert_int_equal(loop_turn(port->loop, -1), 0);
	assert_int_equal(write(second, "b", 1), 1);
	read_exactly(port, "ab");
	close(second);
	until(port, &port->closed, 1);
}

static void ports_have_16_bits(void **state)
{
	static const char *const wrong[] = {"65536", "99999", "-1", "", "http"};
	struct port *port = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_non_null(
			strstr(try_begin(port, "socket,host=127.0.0.1,server=on,port=%s", wrong[i]),
		               "(0..65535)"));
}

static int open_pty(struct port *port)
{
	int fd = open(chardev_pty_name(port->chardev), O_RDWR | O_NOCTTY);

	assert_true(fd >= 0);
	return fd;
}

static void a_pty_comes_and_goes(void **state)
{
	struct port *port = *state;
	char link[128];
	struct stat st;
	int fd;

	snprintf(link, sizeof(link), "%s/tty", port->folder);
	begin(port, "pty,path=%s", link);
	write_text(port, "nobody is there");
	for (unsigned round = 1; round <= 3; round++) {
		fd = open(link, O_RDWR | O_NOCTTY);
		assert_true(fd >= 0);
		until(port, &port->opened, round);
		write_text(port, "out\r\n");
		arrives(port, fd, "out\r\n");
		assert_int_equal(write(fd, "in\n", 3), 3);
		read_exactly(port, "in\n");
		close(fd);
		until(port, &port->closed, round);
	}
	assert_non_null(strstr(try_begin(&(struct port){.loop = port->loop, .log = port->log},
	                                 "pty,path=%s", link),
	                       "symbolic link"));
	end(port);
	assert_int_equal(lstat(link, &st), -1);
}

/* Whoever leaves before it was looked at. */
static void what_was_left_at_a_pty_is_read(void **state)
{
	struct port *port = *state;
	int fd;

	begin(port, "pty");
	fd = open_pty(port);
	assert_int_equal(write(fd, "left", 4), 4);
	close(fd);
	read_exactly(port, "left");
	until(port, &port->closed, 1);
}

/* Although what who left it has typed is not read. */
static void a_pty_that_was_left_takes_everything(void **state)
{
	struct port *port = *state;
	char bytes[512], got = 0;
	int fd;

	memset(bytes, 'a', sizeof(bytes));
	begin(port, "pty");
	fd = open_pty(port);
	assert_int_equal(write(fd, "typed", 5), 5);
	until(port, &port->readable, 1);
	close(fd);
	while (!chardev_stats(port->chardev)->dropped) {
		ob_chardev_write(port->chardev, bytes, sizeof(bytes));
		assert_int_equal(loop_turn(port->loop, 0), 0);
	}
	write_text(port, "all of it");
	/* The next one has what is written from then on. */
	fd = open_pty(port);
	while (got != 'b') {
		ob_chardev_write(port->chardev, "b", 1);
		assert_int_equal(loop_turn(port->loop, 0), 0);
		while (got != 'b' && poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) == 1)
			assert_int_equal(read(fd, &got, 1), 1);
	}
	read_exactly(port, "typed");
	close(fd);
	until(port, &port->closed, 1);
}

static void plenty_through_a_pty(void **state)
{
	struct port *port = *state;
	int fd;

	begin(port, "pty");
	fd = open_pty(port);
	until(port, &port->opened, 1);
	plenty_both_ways(port, fd);
	close(fd);
	until(port, &port->closed, 1);
}

static void a_file_gets_everything(void **state)
{
	struct port *port = *state;
	char path[128], got[32] = "";
	uint8_t bytes[1000];
	size_t sent = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/log", port->folder);
	begin(port, "file,path=%s", path);
	while (sent < PLENTY) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = pattern(sent + i);
		sent += ob_chardev_write(port->chardev, bytes,
		                         PLENTY - sent < sizeof(bytes) ? PLENTY - sent
		                                                       : sizeof(bytes));
		loop_turn(port->loop, 0);
	}
	/* What is not there yet is waited for. */
	end(port);
	file = fopen(path, "r");
	for (size_t i = 0; i < PLENTY; i++)
		assert_int_equal(fgetc(file), pattern(i));
	assert_int_equal(fgetc(file), EOF);
	fclose(file);
	begin(port, "file,path=%s", path);
	write_text(port, "one");
	end(port);
	begin(port, "file,path=%s,append=on", path);
	write_text(port, "two");
	end(port);
	file = fopen(path, "r");
	assert_int_equal(fread(got, 1, sizeof(got), file), 6);
	assert_string_equal(got, "onetwo");
	fclose(file);
	assert_non_null(
		strstr(try_begin(port, "file,path=%s/no/such", port->folder), "cannot open"));
}

/* Others' descriptors: they are left as they are, and none of them makes the loop sleep. */
static void inherited(struct port *port, int ours, int theirs)
{
	int flags = fcntl(ours, F_GETFL);

	begin(port, "fd,fd=%d", ours);
	assert_true(ob_chardev_is_open(port->chardev));
	assert_int_equal(fcntl(ours, F_GETFL), flags);
	if ((flags & O_ACCMODE) != O_RDONLY) {
		write_text(port, "out");
		arrives(port, theirs, "out");
	}
	if ((flags & O_ACCMODE) != O_WRONLY) {
		assert_int_equal(write(theirs, "in", 2), 2);
		read_exactly(port, "in");
	}
	end(port);
	close(ours);
	close(theirs);
}

static void inherited_descriptors(void **state)
{
	struct port *port = *state;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	inherited(port, pair[0], pair[1]);
	assert_int_equal(pipe(pair), 0);
	inherited(port, pair[0], pair[1]);
	assert_int_equal(pipe(pair), 0);
	inherited(port, pair[1], pair[0]);
	assert_non_null(strstr(try_begin(port, "fd,fd=1000000"), "not open"));
	assert_non_null(strstr(try_begin(port, "null,mux=on"), "mux"));
	assert_non_null(strstr(try_begin(port, "socket,path=x,server=on,wait=on"), "wait=off"));
	assert_non_null(strstr(try_begin(port, "socket,path=x,port=1"), "one of"));
	assert_non_null(strstr(try_begin(port, "socket,host=example.invalid,port=1"), "looked up"));
	assert_non_null(strstr(try_begin(port, "sockt,path=x"), "did you mean 'socket'"));
	assert_non_null(strstr(try_begin(port, "ringbuf"), "not offered"));
}

/* A terminal's other end can't be opened anew: a helper has it, and is left behind at the end. */
static void a_descriptor_that_only_a_helper_can_have(void **state)
{
	struct port *port = *state;
	int master = posix_openpt(O_RDWR | O_NOCTTY), slave;
	struct termios raw;

	assert_int_equal(grantpt(master) || unlockpt(master), 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_int_equal(tcgetattr(slave, &raw), 0);
	cfmakeraw(&raw);
	assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
	begin(port, "fd,fd=%d", master);
	write_text(port, "out");
	arrives(port, slave, "out");
	assert_int_equal(write(slave, "in", 2), 2);
	read_exactly(port, "in");
	/* It reads again, and nothing comes. */
	loop_turn(port->loop, 0);
	end(port);
	/* So that the helper ends. */
	close(slave);
	close(master);
}

static void breaks_are_told(void **state)
{
	struct port *port = *state;

	begin(port, "null");
	write_text(port, "into the void");
	chardev_send_break(port->chardev);
	until(port, &port->breaks, 1);
	ob_chardev_set_user(port->chardev, NULL);
	chardev_send_break(port->chardev);
	loop_turn(port->loop, 0);
	assert_int_equal(port->breaks, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_socket_serves_one_after_the_other, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(plenty_through_a_socket, setup, teardown),
		cmocka_unit_test_setup_teardown(a_side_that_does_not_read, setup, teardown),
		cmocka_unit_test_setup_teardown(who_leaves_bytes_behind_makes_place, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(who_leaves_is_read_to_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(who_sends_descriptors_is_cut_off, setup, teardown),
		cmocka_unit_test_setup_teardown(who_leaves_a_lot_to_close_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(a_socket_connects_again, setup, teardown),
		cmocka_unit_test_setup_teardown(tcp_both_ways, setup, teardown),
		cmocka_unit_test_setup_teardown(who_leaves_tcp_makes_place_too, setup, teardown),
		cmocka_unit_test_setup_teardown(ports_have_16_bits, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pty_comes_and_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_left_at_a_pty_is_read, setup, teardown),
		cmocka_unit_test_setup_teardown(a_pty_that_was_left_takes_everything, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(plenty_through_a_pty, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_gets_everything, setup, teardown),
		cmocka_unit_test_setup_teardown(inherited_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(a_descriptor_that_only_a_helper_can_have, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(breaks_are_told, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

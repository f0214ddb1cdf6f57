/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * obctl trace: stands between a client and a server, passes on every message with its descriptors,
 * and says what they say. At most one message is held in each direction, so whoever does not read
 * stops the other side from sending, as if there was nobody in between.
 *
 * The twin socket is a descriptor in the reply to VERSION: the client gets one end of a pair of
 * ours instead, and what passes there is traced too.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"
#include "obctl/command.h"
#include "obctl/describe.h"
#include "obctl/pcap.h"
#include "wire/client.h"

enum {
	MAX_MESSAGE = (16 << 20) + 65536,
	PUMPS = 4, /* there and back, on the main and the twin socket */
};

struct trace_options {
	bool json, quiet, once;
	char *pcap;
};

static const struct ob_prop trace_options[] = {
	{.name = "json",
         .type = OB_PROP_BOOL,
         .offset = offsetof(struct trace_options, json),
         .help = "print each message as a JSON object on a line"},
	{.name = "pcap",
         .type = OB_PROP_STRING,
         .offset = offsetof(struct trace_options, pcap),
         .help = "write all of every message to a capture file too; -: to standard output, and "
                 "the lines go to standard error"},
	{.name = "quiet",
         .type = OB_PROP_BOOL,
         .offset = offsetof(struct trace_options, quiet),
         .help = "print nothing (with --pcap)"},
	{.name = "once",
         .type = OB_PROP_BOOL,
         .offset = offsetof(struct trace_options, once),
         .help = "end when the first client hangs up"},
	{0},
};

/* One direction of one socket. The stream's descriptor is where messages come from. */
struct pump {
	struct stream in;
	int out; /* another pump's in.fd */
	bool from_server, twin;
	struct ob_client_message message;
	bool pending; /* a message is being sent */
	size_t sent;
};

struct trace {
	const struct trace_options *options;
	const char *server;
	int listener, signals;
	FILE *pcap;
	bool live; /* pcap is standard output */
	uint64_t begin;
	struct pump pumps[PUMPS];
	unsigned pump_count;
	bool stop;
};

static void add_pair(struct trace *trace, int client, int server, bool twin)
{
	struct pump *to = &trace->pumps[trace->pump_count++];
	struct pump *from = &trace->pumps[trace->pump_count++];

	*to = (struct pump){.out = server, .twin = twin};
	*from = (struct pump){.out = client, .twin = twin, .from_server = true};
	stream_init(&to->in, client, MAX_MESSAGE);
	stream_init(&from->in, server, MAX_MESSAGE);
}

static int show(struct trace *trace, const struct pump *pump)
{
	double seconds = (double)(clock_now() - trace->begin) / 1e9;
	struct report report;
	char text[32];
	int rc = 0;

	snprintf(text, sizeof(text), "%.6f", seconds);
	if (trace->pcap)
		rc = pcap_write(trace->pcap, &pump->message, pump->from_server, pump->twin);
	/* Whoever reads a pipe does so while it comes. */
	if (trace->pcap && !rc && trace->live && fflush(trace->pcap))
		rc = -errno;
	if (trace->options->quiet)
		return rc;
	report_begin(&report, trace->options->json);
	if (report.here)
		json_object_object_add(report.here, "time",
		                       json_object_new_double_s(seconds, text));
	report_text(&report, NULL, NULL, "%12s", text);
	report_text(&report, "from", pump->from_server ? "server" : "client", " %s",
	            pump->from_server ? "<" : ">");
	report_text(&report, "socket", pump->twin ? "twin" : "main", "%s",
	            pump->twin ? " twin" : "");
	describe_message(&report, &pump->message);
	report_end(&report, true);
	if (ferror(stdout))
		return -EIO;
	return rc;
}

/* A twin socket in a reply to VERSION: puts one of ours in its place. */
static int watch_twin(struct trace *trace, struct ob_client_message *message)
{
	struct wire_version_reply reply;
	const char *why;
	int ends[2];

	if (message->header.command != WIRE_VERSION || !message->fd_count ||
	    trace->pump_count == PUMPS ||
	    wire_decode_version_reply(message->payload, message->length, &reply, &why) ||
	    !reply.has_twin_fd || reply.twin_fd >= message->fd_count)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -errno;
	add_pair(trace, ends[0], message->fds[reply.twin_fd], true);
	message->fds[reply.twin_fd] = ends[1];
	return 0;
}

static int take(struct trace *trace, struct pump *pump)
{
	int rc = stream_next(&pump->in, &pump->message);

	if (rc == -EAGAIN) {
		rc = stream_receive(&pump->in);
		if (!rc)
			rc = stream_next(&pump->in, &pump->message);
	}
	if (rc)
		return rc;
	pump->pending = true;
	pump->sent = 0;
	rc = show(trace, pump);
	if (!rc && pump->from_server && !pump->twin)
		rc = watch_twin(trace, &pump->message);
	return rc;
}

/* Passes on what there is. -EAGAIN: no more for now; 0 never; otherwise the end. */
static int run_pump(struct trace *trace, struct pump *pump)
{
	struct ob_client_message *message = &pump->message;
	struct iovec iov;
	ssize_t n;
	int rc = 0;

	for (;;) {
		if (!pump->pending)
			rc = take(trace, pump);
		if (rc)
			return rc;
		iov = (struct iovec){(void *)(message->bytes + pump->sent),
		                     message->header.size - pump->sent};
		n = stream_send_once(pump->out, &iov, 1, message->fds,
		                     pump->sent ? 0 : message->fd_count);
		if (n < 0)
			return (int)n;
		pump->sent += (size_t)n;
		if (pump->sent < message->header.size)
			continue;
		stream_message_end(message);
		pump->pending = false;
	}
}

/* What the session ended with: 0 when one of the two hung up. */
static int pass_on(struct trace *trace)
{
	struct pollfd watch[PUMPS + 1];
	int rc;

	for (;;) {
		for (unsigned i = 0; i < trace->pump_count; i++) {
			rc = run_pump(trace, &trace->pumps[i]);
			if (rc == -EAGAIN)
				continue;
			/* What the one that hung up said last still goes to the other. */
			for (unsigned k = 0; rc == -ECONNRESET && k < trace->pump_count; k++) {
				if (k != i)
					run_pump(trace, &trace->pumps[k]);
			}
			return rc == -ECONNRESET ? 0 : rc;
		}
		for (unsigned i = 0; i < trace->pump_count; i++) {
			const struct pump *pump = &trace->pumps[i];

			watch[i] = (struct pollfd){
				.fd = pump->pending ? pump->out : pump->in.fd,
				.events = pump->pending ? POLLOUT : POLLIN,
			};
		}
		watch[trace->pump_count] = (struct pollfd){.fd = trace->signals, .events = POLLIN};
		if (poll(watch, trace->pump_count + 1, -1) < 0 && errno != EINTR)
			return -errno;
		if (watch[trace->pump_count].revents) {
			trace->stop = true;
			return 0;
		}
	}
}

static int connect_server(const char *path, struct ob_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path))
		return ob_error_set(err, -ENAMETOOLONG, "%s: too long for a socket's path", path);
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return ob_error_set(err, -errno, "%s: %s", path, strerror(errno));
	return take_fd(&fd);
}

/* A client that comes while there is one waits in the listener's queue. */
static int serve(struct trace *trace, struct ob_error *err)
{
	int client = accept4(trace->listener, NULL, NULL, SOCK_CLOEXEC);
	int server, rc;

	if (client < 0)
		return ob_error_set(err, -errno, "accept: %s", strerror(errno));
	server = connect_server(trace->server, err);
	if (server < 0) {
		close(client);
		return server;
	}
	add_pair(trace, client, server, false);
	rc = pass_on(trace);
	if (rc == -EPROTO || rc == -EMSGSIZE)
		ob_error_set(err, rc, "a message with a bad size or too many descriptors");
	else if (rc)
		ob_error_set(err, rc, "passing on messages: %s", strerror(-rc));
	while (trace->pump_count) {
		struct pump *pump = &trace->pumps[--trace->pump_count];

		if (pump->pending)
			stream_message_end(&pump->message);
		stream_free(&pump->in);
	}
	if (trace->pcap)
		fflush(trace->pcap);
	return rc;
}

/* Gives the socket at from its name. One that nobody holds any more is replaced. */
static int take_name(const char *from, const char *path)
{
	int held;

	if (!link(from, path))
		return 0;
	if (errno != EEXIST)
		return -errno;
	held = connect_server(path, NULL);
	if (held >= 0)
		close(held);
	if (held != -ECONNREFUSED || unlink(path))
		return -EEXIST;
	return link(from, path) ? -errno : 0;
}

/* Listens at path. Who sees the socket there can connect: it is bound elsewhere first. */
static int listen_at(const char *path, struct ob_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	cleanup_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = 0,
	    n = snprintf(address.sun_path, sizeof(address.sun_path), "%s.%d~", path, (int)getpid());
	mode_t mask;

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return ob_error_set(err, -ENAMETOOLONG, "%s: too long for a socket's path", path);
	if (fd < 0)
		return ob_error_set(err, -errno, "socket: %s", strerror(errno));
	mask = umask(0177);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 4))
		rc = -errno;
	umask(mask);
	if (!rc) {
		rc = take_name(address.sun_path, path);
		unlink(address.sun_path);
	}
	if (rc == -EEXIST)
		return ob_error_set(err, rc,
		                    "%s: is there already: a path for a new socket expected", path);
	if (rc)
		return ob_error_set(err, rc, "%s: %s", path, strerror(-rc));
	return take_fd(&fd);
}

static int watch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/*
 * Standard output becomes the capture's alone: what would print there prints to standard error from
 * now on. Whoever reads it does so while it comes.
 */
static int open_capture(struct trace *trace, const char *path, struct ob_error *err)
{
	int fd = -1;

	if (!strcmp(path, "-")) {
		if (isatty(STDOUT_FILENO))
			return ob_error_set(err, -EINVAL,
			                    "--pcap -: standard output is a terminal: send it to a "
			                    "file or a program");
		fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		if (fd < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
			return ob_error_set(err, -errno, "--pcap -: %s", strerror(errno));
	}
	trace->pcap = pcap_create(fd >= 0 ? NULL : path, fd);
	if (!trace->pcap)
		return ob_error_set(err, -errno, "%s: %s", path, strerror(errno));
	trace->live = fd >= 0;
	return 0;
}

static int run_trace(const char *const *words, const void *opaque, struct ob_error *err)
{
	const struct trace_options *options = opaque;
	struct trace trace = {.options = options, .server = words[0], .begin = clock_now()};
	struct ob_error said = {0};
	int rc = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	trace.signals = watch_signals();
	trace.listener = listen_at(words[1], err);
	if (trace.listener < 0)
		return trace.listener;
	if (options->pcap)
		rc = open_capture(&trace, options->pcap, err);
	while (!rc && !trace.stop) {
		struct pollfd watch[2] = {{.fd = trace.listener, .events = POLLIN},
		                          {.fd = trace.signals, .events = POLLIN}};

		if (poll(watch, 2, -1) < 0 && errno != EINTR)
			rc = ob_error_set(err, -errno, "poll: %s", strerror(errno));
		if (watch[1].revents)
			break;
		if (!(watch[0].revents & POLLIN))
			continue;
		/* What goes wrong with one client is said, and does not keep the next from coming.
		 */
		if (serve(&trace, &said)) {
			if (options->once || ferror(stdout))
				rc = ob_error_set(err, -EIO, "%s", said.message);
			else
				fprintf(stderr, "obctl: %s\n", said.message);
		}
		if (options->once)
			break;
	}
	unlink(words[1]);
	if (trace.pcap && fclose(trace.pcap) && !rc)
		rc = ob_error_set(err, -errno, "%s: %s", options->pcap, strerror(errno));
	close(trace.listener);
	close(trace.signals);
	return rc;
}

const struct command command_trace = {
	.name = "trace",
	.words = "SOCKET NEW-SOCKET",
	.word_count = 2,
	.summary = "Shows every message between a client and a server",
	.details =
		"Makes NEW-SOCKET for clients to connect to, and passes what they say on to "
		"SOCKET and back,\nwith descriptors. Lines begin with seconds and the direction: > "
		"from the client, < from the\nserver. Ends with SIGINT or SIGTERM.\n",
	.options = trace_options,
	.options_size = sizeof(struct trace_options),
	.run = run_trace,
};

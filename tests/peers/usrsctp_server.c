/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * An SCTP server on usrsctp over raw IP: sends every message back on the stream it came by, or (--sink) only digests it
 * (with --no-verify not even that: for measurements).
 *
 *   usrsctp_server [--port P] [--local ADDRESS]... [--family 4|6] [--streams N] [--sink] [--no-verify] [--associations N]
 *                  [--abort-after N] [--shutdown-after N] [--sleep-after N] [--timers I/M/X/H/R] [--udp-port P]
 *
 * With --abort-after it ends each association by ABORT when it has had N messages, with --shutdown-after in order. --timers: RTO initial, minimum and maximum,
 * heartbeat interval (ms), path retransmissions. With --sleep-after it reads N messages of each association, and the next three
 * seconds later.
 *
 * One usrsctp program per network namespace: its raw sockets see all SCTP packets there are, and it answers ABORT to those
 * that are not its own.
 *
 * Prints "listening on port P" when it is ready and, per association that ends, one line of JSON. Ends after
 * --associations of them (0: never).
 */
#include "peer.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	uint16_t port, streams, udp_port;
	struct addresses local;
	struct timers timers;
	int family;
	bool sink, verify;
	uint64_t associations, abort_after, shutdown_after, sleep_after;
} options = { .port = 5001, .streams = 64, .family = AF_INET, .verify = true };

static pthread_mutex_t ended_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended_changed = PTHREAD_COND_INITIALIZER;
static uint64_t ended;

static void usage(void)
{
	fprintf(stderr, "usage: usrsctp_server [--port P] [--local ADDRESS]... [--family 4|6] [--streams N] [--sink] [--no-verify] [--associations N]\n"
	                "                      [--abort-after N] [--shutdown-after N] [--sleep-after N] [--timers I/M/X/H/R] [--udp-port P]\n");
	exit(2);
}

static void read_options(int count, char **values)
{
	static const struct option known[] = {
		{ "port", required_argument, NULL, 'p' },  { "local", required_argument, NULL, 'l' },
		{ "family", required_argument, NULL, 'f' }, { "streams", required_argument, NULL, 's' },
		{ "sink", no_argument, NULL, 'k' },        { "associations", required_argument, NULL, 'a' },
		{ "no-verify", no_argument, NULL, 'V' },   { "abort-after", required_argument, NULL, 'A' },
		{ "timers", required_argument, NULL, 'T' }, { "shutdown-after", required_argument, NULL, 'S' },
		{ "udp-port", required_argument, NULL, 'U' }, { "sleep-after", required_argument, NULL, 'Z' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(count, values, "", known, NULL)) != -1) {
		switch (option) {
		case 'p': options.port = (uint16_t)number("--port", optarg, 65535); break;
		case 'l': addresses_add(&options.local, optarg, options.port); break;
		case 'S': options.shutdown_after = number("--shutdown-after", optarg, UINT64_MAX); break;
		case 'Z': options.sleep_after = number("--sleep-after", optarg, UINT64_MAX); break;
		case 'U': options.udp_port = (uint16_t)number("--udp-port", optarg, 65535); break;
		case 'T': options.timers = timers_parse(optarg); break;
		case 'A': options.abort_after = number("--abort-after", optarg, UINT64_MAX); break;
		case 'f': options.family = number("--family", optarg, 6) == 6 ? AF_INET6 : AF_INET; break;
		case 's': options.streams = (uint16_t)number("--streams", optarg, 65535); break;
		case 'V': options.verify = false; break;
		case 'k': options.sink = true; break;
		case 'a': options.associations = number("--associations", optarg, UINT64_MAX); break;
		default: usage();
		}
	}
	if (optind != count)
		usage();
}

/* Serves one association until it ends. */
static void *serve(void *argument)
{
	struct socket *socket = argument;
	struct reader reader;
	struct digest digest;
	double first = 0, last = 0;
	ssize_t got;
	int error = 0;
	bool ending = false;

	reader_init(&reader);
	digest_init(&digest);
	while ((got = reader_next(&reader, socket)) > 0) {
		last = seconds_now();
		if (first == 0)
			first = last;
		if (options.verify) {
			digest_add(&digest, reader.info.rcv_sid, reader.buffer, reader.length);
		} else {
			digest.messages++;
			digest.bytes += reader.length;
		}
		if (!options.sink && !ending &&
		    peer_send(socket, reader.buffer, reader.length, reader.info.rcv_sid, ntohl(reader.info.rcv_ppid),
		              (reader.info.rcv_flags & SCTP_UNORDERED) != 0) != 0) {
			error = errno;
			break;
		}
		if (options.shutdown_after != 0 && digest.messages == options.shutdown_after) {
			ending = true;
			if (usrsctp_shutdown(socket, SHUT_WR) != 0) {
				error = errno;
				break;
			}
		}
		if (options.sleep_after != 0 && digest.messages == options.sleep_after)
			sleep(3);
		if (options.abort_after != 0 && digest.messages == options.abort_after) {
			if (peer_abort(socket, "enough") != 0)
				error = errno;
			break;
		}
	}
	if (got < 0)
		error = errno;
	usrsctp_close(socket);

	pthread_mutex_lock(&ended_lock);
	printf("{\"role\":\"server\",\"mode\":\"%s\",\"received\":%llu,\"bytes\":%llu,\"seconds\":%.6f,"
	       "\"digest\":\"%016llx\",\"digest_by_stream\":\"%016llx\",\"error\":\"%s\",",
	       options.sink ? "sink" : "echo", (unsigned long long)digest.messages, (unsigned long long)digest.bytes,
	       last - first, (unsigned long long)digest.any_order, (unsigned long long)digest_by_stream(&digest),
	       error == 0 ? "" : strerror(error));
	print_reader(stdout, &reader);
	printf(",");
	print_counters(stdout);
	printf("}\n");
	fflush(stdout);
	ended++;
	pthread_cond_signal(&ended_changed);
	pthread_mutex_unlock(&ended_lock);

	reader_free(&reader);
	digest_free(&digest);
	return NULL;
}

static void *accept_all(void *argument)
{
	struct socket *listener = argument;

	for (;;) {
		struct socket *socket = usrsctp_accept(listener, NULL, NULL);
		pthread_t thread;

		if (socket == NULL) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			fail("usrsctp_accept");
		}
		if (pthread_create(&thread, NULL, serve, socket) != 0)
			fail("pthread_create");
		pthread_detach(thread);
	}
	return NULL;
}

int main(int count, char **values)
{
	struct socket *listener;
	pthread_t acceptor;

	read_options(count, values);
	signal(SIGPIPE, SIG_IGN);
	peer_start(options.udp_port);
	if (options.local.count != 0)
		options.family = addresses_family(&options.local);
	listener = peer_socket(options.family, options.streams);
	peer_timers(listener, &options.timers);
	peer_bind(listener, &options.local, options.port, options.family);
	if (usrsctp_listen(listener, 128) != 0)
		fail("usrsctp_listen");
	printf("listening on port %u\n", options.port);
	fflush(stdout);
	if (pthread_create(&acceptor, NULL, accept_all, listener) != 0)
		fail("pthread_create");

	pthread_mutex_lock(&ended_lock);
	while (options.associations == 0 || ended < options.associations)
		pthread_cond_wait(&ended_changed, &ended_lock);
	pthread_mutex_unlock(&ended_lock);
	/* What the peer still lacks (SHUTDOWN ACK, SHUTDOWN COMPLETE) is sent by usrsctp's own threads. */
	for (int tries = 0; tries < 50 && usrsctp_finish() != 0; tries++)
		usleep(20000);
	_exit(0);
}

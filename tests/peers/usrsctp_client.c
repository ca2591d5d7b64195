/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * An SCTP client on usrsctp over raw IP.
 *
 *   usrsctp_client [options] ADDRESS...
 *     --port P              port of the server (5001), which has all these addresses
 *     --local ADDRESS       bind to this address alone (else to all); may be given several times
 *     --local-port P        bind to this port: an association that comes again from the same port is a restart
 *     --timers I/M/X/H/R    RTO initial, minimum and maximum, heartbeat interval (ms), path retransmissions
 *     --mode echo|sink|ping echo: every message must come back; sink: one way; ping: echo with one message outstanding
 *     --count N             messages (0: until --duration)
 *     --duration SECONDS    stop sending after this time
 *     --size S              N, LOW-HIGH (uniform) or LOW~HIGH (mostly small), octets
 *     --streams N           messages go to the streams in turn (1)
 *     --window N            at most N messages outstanding in mode echo (256)
 *     --unordered           unordered delivery
 *     --no-verify           do not look at the content of echoes, and send one content for all: for measurements
 *     --abort REASON        end the association by ABORT, when all is done, instead of SHUTDOWN
 *     --hold                after the handshake print the verification tags, and send only when a line comes on stdin
 *     --timeout SECONDS     gives up after this time (300)
 *
 * SIGTERM has it send nothing more and end as if all were done.
 *
 * The last line of the output is one JSON object. Exit status 0 only if everything was sent, echoed and verified, and the
 * association ended by SHUTDOWN (or, with --abort, by ABORT).
 */
#include "peer.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum mode { MODE_ECHO, MODE_SINK, MODE_PING };
static const char *const mode_names[] = { "echo", "sink", "ping" };

static struct {
	const char *abort;
	struct addresses local;
	struct timers timers;
	uint16_t udp_port, remote_udp_port;
	uint16_t port, local_port, streams;
	enum mode mode;
	uint64_t count, window;
	double duration;
	struct sizes sizes;
	bool unordered, verify, hold;
	unsigned timeout;
} options = {
	.port = 5001, .streams = 1, .mode = MODE_ECHO, .count = 1, .window = 256, .sizes = { 64, 64, false }, .verify = true,
	.timeout = 300,
};

/* Numbers of the messages outstanding on one stream, oldest first. */
struct outstanding {
	uint64_t *sequences;
	uint64_t head, tail;
};

/* What the sending and the receiving thread share, under `lock`. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct outstanding *outstanding; /* one per stream, for ordered messages */
static double *sent_at;                 /* ring of `window` sending times, by sequence number */
static uint64_t sent, received, mismatched;
static bool receiver_ended;

/* The receiving thread's own. */
static struct reader reader;
static struct digest echoed;
static double *round_trips;
static uint64_t round_trips_kept, round_trips_room;
static int receive_error;

/* The server. */
static struct addresses peer;

static void usage(void)
{
	fprintf(stderr, "usage: usrsctp_client [--port P] [--local ADDRESS]... [--local-port P] [--timers I/M/X/H/R] [--udp-port P] [--remote-udp-port P] [--mode echo|sink|ping] [--count N] [--duration S] [--size S]\n"
	                "                      [--streams N] [--window N] [--unordered] [--no-verify] [--abort REASON] [--hold] [--timeout S] ADDRESS...\n");
	exit(2);
}

static void read_options(int count, char **values)
{
	static const struct option known[] = {
		{ "port", required_argument, NULL, 'p' },     { "local", required_argument, NULL, 'l' },
		{ "mode", required_argument, NULL, 'm' },     { "count", required_argument, NULL, 'n' },
		{ "duration", required_argument, NULL, 'd' }, { "size", required_argument, NULL, 'z' },
		{ "streams", required_argument, NULL, 's' },  { "window", required_argument, NULL, 'w' },
		{ "unordered", no_argument, NULL, 'u' },      { "no-verify", no_argument, NULL, 'V' },
		{ "hold", no_argument, NULL, 'h' },           { "timeout", required_argument, NULL, 't' },
		{ "abort", required_argument, NULL, 'a' },    { "local-port", required_argument, NULL, 'L' },
		{ "timers", required_argument, NULL, 'T' },   { "udp-port", required_argument, NULL, 'U' },
		{ "remote-udp-port", required_argument, NULL, 'R' }, { NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(count, values, "", known, NULL)) != -1) {
		switch (option) {
		case 'p': options.port = (uint16_t)number("--port", optarg, 65535); break;
		case 'l': addresses_add(&options.local, optarg, 0); break;
		case 'L': options.local_port = (uint16_t)number("--local-port", optarg, 65535); break;
		case 'U': options.udp_port = (uint16_t)number("--udp-port", optarg, 65535); break;
		case 'R': options.remote_udp_port = (uint16_t)number("--remote-udp-port", optarg, 65535); break;
		case 'T': options.timers = timers_parse(optarg); break;
		case 'a': options.abort = optarg; break;
		case 'm':
			for (options.mode = MODE_ECHO; strcmp(optarg, mode_names[options.mode]) != 0; options.mode++)
				if (options.mode == MODE_PING)
					usage();
			break;
		case 'n': options.count = number("--count", optarg, UINT64_MAX); break;
		case 'd': options.duration = (double)number("--duration", optarg, 86400); break;
		case 'z':
			if (!sizes_parse(optarg, &options.sizes))
				usage();
			break;
		case 's': options.streams = (uint16_t)number("--streams", optarg, 65535); break;
		case 'w': options.window = number("--window", optarg, 1 << 20); break;
		case 'u': options.unordered = true; break;
		case 'V': options.verify = false; break;
		case 'h': options.hold = true; break;
		case 't': options.timeout = (unsigned)number("--timeout", optarg, 86400); break;
		default: usage();
		}
	}
	if (optind >= count || options.streams == 0 || options.window == 0)
		usage();
	if (options.count == 0 && options.duration == 0)
		usage();
	if (options.mode == MODE_PING)
		options.window = 1;
	for (; optind < count; optind++)
		addresses_add(&peer, values[optind], options.port);
}

static void timed_out(int signal_number)
{
	static const char text[] = "timed out\n";

	(void)signal_number;
	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(4);
	_exit(3);
}

/* SIGTERM has come. */
static volatile sig_atomic_t told_to_end;

static void tell_to_end(int signal_number)
{
	(void)signal_number;
	told_to_end = 1;
}

/* Which message an echo must be, if it is one of those outstanding. Called with the lock held. */
static bool take_outstanding(uint64_t *sequence)
{
	if (options.unordered) {
		/* Echoes come in any order; the content carries the number, and content_matches() judges the rest. */
		*sequence = 0;
		for (int i = 7; i >= 0; i--)
			*sequence = *sequence << 8 | reader.buffer[i];
		return *sequence < sent;
	}
	if (reader.info.rcv_sid >= options.streams)
		return false;
	struct outstanding *stream = &outstanding[reader.info.rcv_sid];

	if (stream->head == stream->tail)
		return false;
	*sequence = stream->sequences[stream->head++ % options.window];
	return true;
}

static void keep_round_trip(double seconds)
{
	if (round_trips_kept == round_trips_room) {
		round_trips_room = round_trips_room == 0 ? 4096 : round_trips_room * 2;
		round_trips = realloc(round_trips, round_trips_room * sizeof *round_trips);
		if (round_trips == NULL)
			fail("realloc");
	}
	round_trips[round_trips_kept++] = seconds;
}

/* Judges the echo that is in `reader`. */
static void receive_echo(void)
{
	double now = seconds_now();
	uint64_t sequence = 0;
	/* Unordered messages too short to carry their number are judged by the digests alone. */
	bool anonymous = options.unordered && reader.length < sizeof sequence;
	bool correct = true;

	if (!anonymous) {
		pthread_mutex_lock(&lock);
		correct = take_outstanding(&sequence);
		if (correct)
			keep_round_trip(now - sent_at[sequence % options.window]);
		pthread_mutex_unlock(&lock);
		if (correct && options.verify)
			correct = reader.length == size_of(&options.sizes, sequence) &&
			          content_matches(reader.buffer, reader.length, sequence);
	}
	if (options.verify)
		digest_add(&echoed, reader.info.rcv_sid, reader.buffer, reader.length);

	pthread_mutex_lock(&lock);
	received++;
	if (!correct)
		mismatched++;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

static void *receive_all(void *argument)
{
	struct socket *socket = argument;
	ssize_t got;

	while ((got = reader_next(&reader, socket)) > 0)
		if (options.mode != MODE_SINK)
			receive_echo();
	pthread_mutex_lock(&lock);
	receive_error = got < 0 ? errno : 0;
	receiver_ended = true;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* Waits until fewer than `limit` messages are outstanding; false if the association ended first. */
static bool wait_for_room(uint64_t limit)
{
	bool alive;

	pthread_mutex_lock(&lock);
	while (!receiver_ended && sent - received >= limit)
		pthread_cond_wait(&changed, &lock);
	alive = !receiver_ended;
	pthread_mutex_unlock(&lock);
	return alive;
}

static void note_sending(uint64_t sequence, uint16_t stream)
{
	pthread_mutex_lock(&lock);
	if (!options.unordered) {
		struct outstanding *queue = &outstanding[stream];

		queue->sequences[queue->tail++ % options.window] = sequence;
	}
	sent_at[sequence % options.window] = seconds_now();
	sent++;
	pthread_mutex_unlock(&lock);
}

/* Sends everything that was asked for. Returns 0 or an errno. */
static int send_all(struct socket *socket, struct digest *digest)
{
	uint8_t *buffer = malloc(LARGEST_MESSAGE);
	double end = options.duration == 0 ? 0 : seconds_now() + options.duration;
	int error = 0;

	if (buffer == NULL)
		fail("malloc");
	content_fill(buffer, LARGEST_MESSAGE, 0);
	for (uint64_t sequence = 0; (options.count == 0 || sequence < options.count) && !told_to_end; sequence++) {
		uint32_t length = size_of(&options.sizes, sequence);
		uint16_t stream = (uint16_t)(sequence % options.streams);

		if (end != 0 && (sequence & 15) == 0 && seconds_now() >= end)
			break;
		if (options.mode != MODE_SINK && !wait_for_room(options.window)) {
			error = ECONNRESET;
			break;
		}
		if (options.verify) {
			content_fill(buffer, length, sequence);
			digest_add(digest, stream, buffer, length);
		} else {
			digest->bytes += length;
		}
		note_sending(sequence, stream);
		if (peer_send(socket, buffer, length, stream, 0, options.unordered) != 0) {
			error = errno;
			break;
		}
	}
	free(buffer);
	if (error == 0 && options.mode != MODE_SINK && !wait_for_room(1))
		error = ECONNRESET;
	return error;
}

static int compare_doubles(const void *left, const void *right)
{
	double a = *(const double *)left, b = *(const double *)right;

	return (a > b) - (a < b);
}

static double microseconds_at(double quantile)
{
	if (round_trips_kept == 0)
		return 0;
	return round_trips[(uint64_t)((double)(round_trips_kept - 1) * quantile)] * 1e6;
}

static void hold(struct socket *socket)
{
	/* SCTP_GET_NONCE_VALUES has its structure in the public header but not its number. */
	enum { GET_NONCE_VALUES = 0x00001105 };
	struct sctp_get_nonce_values tags;
	socklen_t length = sizeof tags;
	char line[16];

	memset(&tags, 0, sizeof tags);
	if (usrsctp_getsockopt(socket, IPPROTO_SCTP, GET_NONCE_VALUES, &tags, &length) != 0)
		fail("SCTP_GET_NONCE_VALUES");
	printf("{\"peer_tag\":%u,\"local_tag\":%u}\n", tags.gn_peers_tag, tags.gn_local_tag);
	fflush(stdout);
	if (fgets(line, sizeof line, stdin) == NULL)
		fprintf(stderr, "stdin ended\n");
}

/* Whether closing the socket ends the association at once, by ABORT. */
static void set_linger(struct socket *socket, bool at_once)
{
	struct linger linger = { .l_onoff = at_once, .l_linger = 0 };

	if (usrsctp_setsockopt(socket, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) != 0)
		fail("SO_LINGER");
}

int main(int count, char **values)
{
	struct socket *socket;
	struct digest digest;
	struct sctp_status status;
	socklen_t status_length = sizeof status;
	pthread_t receiver;
	double handshake, start, end;
	int error;
	bool succeeded;

	read_options(count, values);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, timed_out);
	signal(SIGTERM, tell_to_end);
	alarm(options.timeout);
	peer_start(options.udp_port);
	digest_init(&digest);
	digest_init(&echoed);
	reader_init(&reader);

	socket = peer_socket(addresses_family(&peer), options.streams);
	peer_timers(socket, &options.timers);
	peer_udp(socket, options.remote_udp_port);
	/* Killed, it is to be gone at once: a kernel would go on with a graceful end. */
	set_linger(socket, true);
	if (options.local.count != 0 || options.local_port != 0)
		peer_bind(socket, &options.local, options.local_port, addresses_family(&peer));
	start = seconds_now();
	peer_connect(socket, &peer);
	handshake = seconds_now() - start;
	memset(&status, 0, sizeof status);
	if (usrsctp_getsockopt(socket, IPPROTO_SCTP, SCTP_STATUS, &status, &status_length) != 0)
		fail("SCTP_STATUS");
	if (status.sstat_outstrms < options.streams)
		options.streams = status.sstat_outstrms;

	outstanding = calloc(options.streams, sizeof *outstanding);
	sent_at = calloc(options.window, sizeof *sent_at);
	if (outstanding == NULL || sent_at == NULL)
		fail("calloc");
	for (uint16_t i = 0; i < options.streams; i++) {
		outstanding[i].sequences = calloc(options.window, sizeof *outstanding[i].sequences);
		if (outstanding[i].sequences == NULL)
			fail("calloc");
	}
	if (options.hold)
		hold(socket);
	if (pthread_create(&receiver, NULL, receive_all, socket) != 0)
		fail("pthread_create");

	start = seconds_now();
	error = send_all(socket, &digest);
	if (error == 0 && (options.abort != NULL ? peer_abort(socket, options.abort) : usrsctp_shutdown(socket, SHUT_WR)) != 0)
		error = errno;
	/* The receiving thread ends when the peer has acknowledged everything and answered the SHUTDOWN; after an ABORT at once. */
	if (error == 0 || error == EPIPE || error == ECONNRESET)
		pthread_join(receiver, NULL);
	end = seconds_now();
	if (error == 0 && options.abort == NULL)
		error = receive_error;
	if (options.abort == NULL)
		set_linger(socket, false);
	usrsctp_close(socket);

	qsort(round_trips, round_trips_kept, sizeof *round_trips, compare_doubles);
	succeeded = error == 0 && mismatched == 0 && (options.abort != NULL || (reader.graceful && !reader.lost));
	if (options.mode != MODE_SINK) {
		succeeded = succeeded && sent == received;
		if (options.verify) {
			succeeded = succeeded && digest.any_order == echoed.any_order;
			if (!options.unordered)
				succeeded = succeeded && digest_by_stream(&digest) == digest_by_stream(&echoed);
		}
	}
	printf("{\"role\":\"client\",\"mode\":\"%s\",\"succeeded\":%s,\"sent\":%llu,\"bytes\":%llu,\"received\":%llu,\"mismatched\":%llu,"
	       "\"streams\":%u,\"handshake_seconds\":%.6f,\"seconds\":%.6f,\"messages_per_second\":%.1f,\"megabytes_per_second\":%.3f,"
	       "\"digest\":\"%016llx\",\"digest_by_stream\":\"%016llx\",\"digest_received\":\"%016llx\","
	       "\"rtt_us\":{\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f},\"error\":\"%s\",",
	       mode_names[options.mode], succeeded ? "true" : "false", (unsigned long long)sent, (unsigned long long)digest.bytes,
	       (unsigned long long)received, (unsigned long long)mismatched, options.streams, handshake, end - start,
	       (double)sent / (end - start), (double)digest.bytes / (end - start) / 1e6,
	       (unsigned long long)digest.any_order, (unsigned long long)digest_by_stream(&digest),
	       (unsigned long long)echoed.any_order, microseconds_at(0.5), microseconds_at(0.99), microseconds_at(0.999),
	       microseconds_at(1), error == 0 ? "" : strerror(error));
	print_reader(stdout, &reader);
	printf(",");
	print_counters(stdout);
	printf("}\n");
	fflush(stdout);
	for (int tries = 0; tries < 50 && usrsctp_finish() != 0; tries++)
		usleep(20000);
	_exit(succeeded ? 0 : 1);
}

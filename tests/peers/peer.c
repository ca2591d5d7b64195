/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FNV_OFFSET 0xcbf29ce484222325ull
#define FNV_PRIME 0x00000100000001b3ull
#define SIZE_SALT 0x5c7b1e2d3f4a5968ull

/* The finaliser of SplitMix64: every bit of the result depends on every bit of `x`. */
static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* ---- content ---- */

bool sizes_parse(const char *text, struct sizes *sizes)
{
	char *end;
	unsigned long low = strtoul(text, &end, 10), high = low;

	if (end == text)
		return false;
	sizes->mostly_small = *end == '~';
	if (*end == '-' || *end == '~') {
		const char *second = end + 1;

		high = strtoul(second, &end, 10);
		if (end == second)
			return false;
	}
	if (*end != '\0' || low == 0 || low > high || high > LARGEST_MESSAGE)
		return false;
	sizes->low = (uint32_t)low;
	sizes->high = (uint32_t)high;
	return true;
}

uint32_t size_of(const struct sizes *sizes, uint64_t sequence)
{
	uint64_t random = mix(sequence ^ SIZE_SALT);
	uint64_t from = sizes->low, until = (uint64_t)sizes->high + 1;

	if (sequence == 0)
		return sizes->low;
	if (sequence == 1)
		return sizes->high;
	if (sizes->mostly_small) {
		unsigned powers = 0;

		while ((from << powers) < sizes->high)
			powers++;
		if (powers > 0) {
			from <<= (random >> 40) % powers;
			if (from * 2 < until)
				until = from * 2;
		}
	}
	return (uint32_t)(from + (random & 0xffffffffffull) % (until - from));
}

static uint64_t content_word(uint64_t sequence, uint64_t index)
{
	return index == 0 ? sequence : mix(sequence * FNV_PRIME + index);
}

static void store_word(uint8_t out[8], uint64_t word)
{
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(word >> (8 * i));
}

void content_fill(uint8_t *buffer, size_t length, uint64_t sequence)
{
	for (size_t at = 0; at < length; at += 8) {
		uint8_t word[8];

		store_word(word, content_word(sequence, at / 8));
		memcpy(buffer + at, word, length - at < 8 ? length - at : 8);
	}
}

bool content_matches(const uint8_t *buffer, size_t length, uint64_t sequence)
{
	for (size_t at = 0; at < length; at += 8) {
		uint8_t word[8];

		store_word(word, content_word(sequence, at / 8));
		if (memcmp(buffer + at, word, length - at < 8 ? length - at : 8) != 0)
			return false;
	}
	return true;
}

/* ---- digests ---- */

void digest_init(struct digest *digest)
{
	memset(digest, 0, sizeof *digest);
	digest->streams = malloc(65536 * sizeof *digest->streams);
	if (digest->streams == NULL)
		fail("malloc");
	for (size_t i = 0; i < 65536; i++)
		digest->streams[i] = FNV_OFFSET;
}

void digest_add(struct digest *digest, uint16_t stream, const uint8_t *buffer, size_t length)
{
	uint64_t hash = FNV_OFFSET;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ buffer[i]) * FNV_PRIME;
	digest->messages++;
	digest->bytes += length;
	digest->any_order += hash;
	digest->streams[stream] = (digest->streams[stream] ^ hash) * FNV_PRIME;
}

uint64_t digest_by_stream(const struct digest *digest)
{
	uint64_t sum = 0;

	for (uint64_t stream = 0; stream < 65536; stream++)
		if (digest->streams[stream] != FNV_OFFSET)
			sum += mix(digest->streams[stream] ^ stream);
	return sum;
}

void digest_free(struct digest *digest)
{
	free(digest->streams);
}

/* ---- associations ---- */

struct address address_parse(const char *text, uint16_t port, int family)
{
	struct address address;
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any };

	memset(&address, 0, sizeof address);
	if (text != NULL) {
		if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) {
			family = AF_INET;
		} else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1) {
			family = AF_INET6;
		} else {
			fprintf(stderr, "%s is neither an IPv4 nor an IPv6 address\n", text);
			exit(2);
		}
	}
	address.family = family;
	if (family == AF_INET) {
		address.length = sizeof v4;
		memcpy(&address.storage, &v4, sizeof v4);
	} else {
		address.length = sizeof v6;
		memcpy(&address.storage, &v6, sizeof v6);
	}
	return address;
}

void addresses_add(struct addresses *addresses, const char *text, uint16_t port)
{
	if (addresses->count == ADDRESSES) {
		fprintf(stderr, "at most %d addresses\n", ADDRESSES);
		exit(2);
	}
	addresses->address[addresses->count++] = address_parse(text, port, AF_UNSPEC);
}

int addresses_family(const struct addresses *addresses)
{
	for (unsigned i = 0; i < addresses->count; i++)
		if (addresses->address[i].family == AF_INET6)
			return AF_INET6;
	return AF_INET;
}

/* The addresses one behind the other without gaps, as bindx and connectx want them. */
static size_t pack(const struct addresses *addresses, unsigned from, uint8_t *packed)
{
	size_t length = 0;

	for (unsigned i = from; i < addresses->count; i++) {
		/* Behind a sockaddr_in6 lies the next address, not the padding of sockaddr_storage. */
		memcpy(packed + length, &addresses->address[i].storage, addresses->address[i].length);
		length += addresses->address[i].length;
	}
	return length;
}

static void set_port(struct address *address, uint16_t port)
{
	if (address->family == AF_INET)
		((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
	else
		((struct sockaddr_in6 *)&address->storage)->sin6_port = htons(port);
}

void peer_bind(struct socket *socket, struct addresses *addresses, uint16_t port, int family)
{
	struct address any = address_parse(NULL, port, family);
	struct address *first = addresses->count == 0 ? &any : &addresses->address[0];
	uint8_t packed[sizeof addresses->address];

	for (unsigned i = 0; i < addresses->count; i++)
		set_port(&addresses->address[i], port);
	if (usrsctp_bind(socket, (struct sockaddr *)&first->storage, first->length) != 0)
		fail("usrsctp_bind");
	if (addresses->count < 2)
		return;
	pack(addresses, 1, packed);
	if (usrsctp_bindx(socket, (struct sockaddr *)packed, (int)addresses->count - 1, SCTP_BINDX_ADD_ADDR) != 0)
		fail("usrsctp_bindx");
}

void peer_connect(struct socket *socket, struct addresses *addresses)
{
	uint8_t packed[sizeof addresses->address];
	sctp_assoc_t id;

	if (addresses->count == 1) {
		const struct address *peer = &addresses->address[0];

		if (usrsctp_connect(socket, (struct sockaddr *)&peer->storage, peer->length) != 0)
			fail("usrsctp_connect");
		return;
	}
	pack(addresses, 0, packed);
	if (usrsctp_connectx(socket, (struct sockaddr *)packed, (int)addresses->count, &id) != 0)
		fail("usrsctp_connectx");
}

struct timers timers_parse(const char *text)
{
	struct timers timers;
	unsigned retransmits;
	char rest;

	if (sscanf(text, "%u/%u/%u/%u/%u%c", &timers.rto_initial, &timers.rto_min, &timers.rto_max, &timers.heartbeat,
	           &retransmits, &rest) != 5 || retransmits > 255) {
		fprintf(stderr, "--timers %s: INITIAL/MIN/MAX/HEARTBEAT/RETRANSMITS is wanted\n", text);
		exit(2);
	}
	timers.path_max_retransmits = (uint16_t)retransmits;
	return timers;
}

void peer_timers(struct socket *socket, const struct timers *timers)
{
	struct sctp_rtoinfo rto = {
		.srto_initial = timers->rto_initial, .srto_min = timers->rto_min, .srto_max = timers->rto_max,
	};
	struct sctp_paddrparams path = { .spp_hbinterval = timers->heartbeat, .spp_pathmaxrxt = timers->path_max_retransmits };

	if (timers->rto_initial + timers->rto_min + timers->rto_max != 0 &&
	    usrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_RTOINFO, &rto, sizeof rto) != 0)
		fail("SCTP_RTOINFO");
	path.spp_address.ss_family = AF_INET;
	path.spp_flags = timers->heartbeat == 0 ? 0 : SPP_HB_ENABLE;
	if (path.spp_flags + path.spp_pathmaxrxt != 0 &&
	    usrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_PEER_ADDR_PARAMS, &path, sizeof path) != 0)
		fail("SCTP_PEER_ADDR_PARAMS");
}

static void debug(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
}

void peer_udp(struct socket *socket, uint16_t remote_port)
{
	struct sctp_udpencaps udp = { .sue_port = htons(remote_port) };

	udp.sue_address.ss_family = AF_INET;
	if (remote_port != 0 &&
	    usrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_REMOTE_UDP_ENCAPS_PORT, &udp, sizeof udp) != 0)
		fail("SCTP_REMOTE_UDP_ENCAPS_PORT");
}

void peer_start(uint16_t udp_port)
{
	/* Port 0: raw IP sockets alone, no UDP encapsulation. */
	usrsctp_init(udp_port, NULL, debug);
	/* Only what the tests ask for: no answers to what other tests inject. */
	usrsctp_sysctl_set_sctp_blackhole(0);
	/* A path with an error is not used while there is another (RFC 7829), as the Linux kernel has it too. */
	usrsctp_sysctl_set_sctp_path_pf_threshold(0);
	usrsctp_sysctl_set_sctp_sendspace(SOCKET_BUFFER);
	usrsctp_sysctl_set_sctp_recvspace(SOCKET_BUFFER);
}

struct socket *peer_socket(int family, uint16_t streams)
{
	static const uint16_t wanted[] = { SCTP_ASSOC_CHANGE, SCTP_SHUTDOWN_EVENT, SCTP_PEER_ADDR_CHANGE };
	struct socket *socket = usrsctp_socket(family, SOCK_STREAM, IPPROTO_SCTP, NULL, NULL, 0, NULL);
	struct sctp_initmsg init = { .sinit_num_ostreams = streams, .sinit_max_instreams = 65535 };
	int on = 1, buffer = SOCKET_BUFFER;

	if (socket == NULL)
		fail("usrsctp_socket (needs CAP_NET_RAW)");
	if (usrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_INITMSG, &init, sizeof init) != 0)
		fail("SCTP_INITMSG");
	if (usrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_NODELAY, &on, sizeof on) != 0)
		fail("SCTP_NODELAY");
	if (usrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_RECVRCVINFO, &on, sizeof on) != 0)
		fail("SCTP_RECVRCVINFO");
	if (usrsctp_setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer) != 0)
		fail("SO_SNDBUF");
	if (usrsctp_setsockopt(socket, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer) != 0)
		fail("SO_RCVBUF");
	for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
		struct sctp_event event = { .se_assoc_id = SCTP_FUTURE_ASSOC, .se_type = wanted[i], .se_on = 1 };

		if (usrsctp_setsockopt(socket, IPPROTO_SCTP, SCTP_EVENT, &event, sizeof event) != 0)
			fail("SCTP_EVENT");
	}
	return socket;
}

void reader_init(struct reader *reader)
{
	memset(reader, 0, sizeof *reader);
	reader->buffer = malloc(LARGEST_MESSAGE);
	if (reader->buffer == NULL)
		fail("malloc");
}

void reader_free(struct reader *reader)
{
	free(reader->buffer);
}

/* Takes down why the peer has aborted: `data` is its ABORT chunk, or the causes in it alone. */
static void reader_abort(struct reader *reader, const uint8_t *data, size_t length)
{
	enum { ABORT = 6, CHUNK_HEADER = 4, CAUSE_HEADER = 4, USER_INITIATED = 12 };
	size_t cause_length;

	if (length >= CHUNK_HEADER && data[0] == ABORT && ((size_t)data[2] << 8 | data[3]) <= length) {
		data += CHUNK_HEADER;
		length -= CHUNK_HEADER;
	}
	if (length < CAUSE_HEADER)
		return;
	reader->cause = (uint16_t)(data[0] << 8 | data[1]);
	cause_length = (size_t)data[2] << 8 | data[3];
	if (reader->cause != USER_INITIATED || cause_length < CAUSE_HEADER || cause_length > length)
		return;
	cause_length -= CAUSE_HEADER;
	if (cause_length >= sizeof reader->reason)
		cause_length = sizeof reader->reason - 1;
	for (size_t i = 0; i < cause_length; i++) {
		char letter = (char)data[CAUSE_HEADER + i];

		/* It goes into JSON as it is. */
		reader->reason[i] = letter < ' ' || letter == '"' || letter == '\\' || letter > '~' ? '?' : letter;
	}
}

/* A notification says how the association ended before the read that returns 0 does. */
static void reader_notification(struct reader *reader, const uint8_t *data, size_t length)
{
	union sctp_notification notification;

	memset(&notification, 0, sizeof notification);
	memcpy(&notification, data, length < sizeof notification ? length : sizeof notification);
	switch (notification.sn_header.sn_type) {
	case SCTP_SHUTDOWN_EVENT:
		reader->graceful = true;
		break;
	case SCTP_PEER_ADDR_CHANGE:
		if (notification.sn_paddr_change.spc_state == SCTP_ADDR_UNREACHABLE)
			reader->paths_lost++;
		if (notification.sn_paddr_change.spc_state == SCTP_ADDR_AVAILABLE)
			reader->paths_found++;
		break;
	case SCTP_ASSOC_CHANGE:
		switch (notification.sn_assoc_change.sac_state) {
		case SCTP_RESTART:
			reader->restarts++;
			break;
		case SCTP_SHUTDOWN_COMP:
			reader->graceful = true;
			reader->ended = true;
			break;
		case SCTP_COMM_LOST:
		case SCTP_CANT_STR_ASSOC:
			reader->lost = true;
			reader->ended = true;
			if (length > offsetof(struct sctp_assoc_change, sac_info))
				reader_abort(reader, data + offsetof(struct sctp_assoc_change, sac_info),
				             length - offsetof(struct sctp_assoc_change, sac_info));
			break;
		}
		break;
	}
}

ssize_t reader_next(struct reader *reader, struct socket *socket)
{
	reader->length = 0;
	while (!reader->ended) {
		struct sockaddr_storage from;
		struct sctp_rcvinfo info;
		socklen_t from_length = sizeof from, info_length = sizeof info;
		unsigned info_type = SCTP_RECVV_NOINFO;
		int flags = 0;
		ssize_t got = usrsctp_recvv(socket, reader->buffer + reader->length, LARGEST_MESSAGE - reader->length,
		                            (struct sockaddr *)&from, &from_length, &info, &info_length, &info_type, &flags);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got;
		if ((flags & MSG_NOTIFICATION) != 0) {
			reader_notification(reader, reader->buffer + reader->length, (size_t)got);
			continue;
		}
		if (info_type != SCTP_RECVV_RCVINFO) {
			errno = EPROTO;
			return -1;
		}
		reader->info = info;
		reader->length += (size_t)got;
		if ((flags & MSG_EOR) != 0) {
			double now = seconds_now();

			if (reader->last != 0 && now - reader->last > reader->longest_gap)
				reader->longest_gap = now - reader->last;
			reader->last = now;
			return (ssize_t)reader->length;
		}
		if (reader->length == LARGEST_MESSAGE) {
			errno = EMSGSIZE;
			return -1;
		}
	}
	return 0;
}

int peer_send(struct socket *socket, const void *data, size_t length, uint16_t stream, uint32_t ppid, bool unordered)
{
	struct sctp_sndinfo info = {
		.snd_sid = stream,
		.snd_flags = unordered ? SCTP_UNORDERED : 0,
		.snd_ppid = htonl(ppid),
	};

	for (;;) {
		ssize_t sent = usrsctp_sendv(socket, data, length, NULL, 0, &info, sizeof info, SCTP_SENDV_SNDINFO, 0);

		if (sent == (ssize_t)length)
			return 0;
		if (sent >= 0) {
			errno = EMSGSIZE;
			return -1;
		}
		/* The socket blocks, so a full buffer waits inside the call; these two are what may still come through. */
		if (errno == EWOULDBLOCK)
			usleep(200);
		else if (errno != EINTR)
			return -1;
	}
}

int peer_abort(struct socket *socket, const char *reason)
{
	struct sctp_sndinfo info = { .snd_flags = SCTP_ABORT };

	return usrsctp_sendv(socket, reason, strlen(reason), NULL, 0, &info, sizeof info, SCTP_SENDV_SNDINFO, 0) < 0 ? -1 : 0;
}

/* ---- the rest ---- */

double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void print_reader(FILE *out, const struct reader *reader)
{
	fprintf(out,
	        "\"longest_gap_seconds\":%.6f,\"graceful\":%s,\"lost\":%s,\"restarts\":%u,\"paths_lost\":%u,\"paths_found\":%u,"
	        "\"abort_cause\":%u,\"abort_reason\":\"%s\"",
	        reader->longest_gap, reader->graceful && !reader->lost ? "true" : "false", reader->lost ? "true" : "false",
	        reader->restarts, reader->paths_lost, reader->paths_found, reader->cause, reader->reason);
}

void print_counters(FILE *out)
{
	struct sctpstat stat;

	usrsctp_get_stat(&stat);
	fprintf(out,
	        "\"checksum_errors\":%u,\"out_of_the_blue\":%u,\"duplicate_data\":%u,\"retransmitted_data\":%u,"
	        "\"t3_timeouts\":%u,\"fast_retransmits\":%u,\"aborted\":%u,\"shut_down\":%u",
	        stat.sctps_checksumerrors, stat.sctps_outoftheblue, stat.sctps_recvdupdata, stat.sctps_sendretransdata,
	        stat.sctps_timodata, stat.sctps_sendfastretrans, stat.sctps_aborted, stat.sctps_shutdown);
}

void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

uint64_t number(const char *option, const char *text, uint64_t highest)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || value > highest) {
		fprintf(stderr, "%s %s: a number of at most %llu is wanted\n", option, text, (unsigned long long)highest);
		exit(2);
	}
	return value;
}

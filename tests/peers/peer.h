/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What the usrsctp test peers share: message content and digests, options of the association, a summary in JSON.
 *
 * Content and digests are defined here and once more, in Rust, in `tests/lab/src/content.rs`; a test holds the two together.
 */
#ifndef SCTP_TEST_PEER_H
#define SCTP_TEST_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>
#include <usrsctp.h>

/* The largest message that the peers send or take. */
#define LARGEST_MESSAGE (1u << 20)

/* Octets that usrsctp may queue per association and direction: room for several messages of the largest usual size (64 KiB). */
#define SOCKET_BUFFER (2u << 20)

/* ---- content ---- */

/* A range of message sizes; message `sequence` has a size that depends on nothing but its number. */
struct sizes {
	uint32_t low, high;
	bool mostly_small; /* every power of two of the range is equally likely, instead of every size */
};

/* Reads "N", "LOW-HIGH" (uniform) or "LOW~HIGH" (mostly small). */
bool sizes_parse(const char *text, struct sizes *sizes);

/* The first message has the lowest size, the second the highest, so that a short run has met both ends. */
uint32_t size_of(const struct sizes *sizes, uint64_t sequence);

/* Writes the content of message `sequence`: its number (little endian), then words drawn from it. */
void content_fill(uint8_t *buffer, size_t length, uint64_t sequence);

/* True if `buffer` is the content of message `sequence`. */
bool content_matches(const uint8_t *buffer, size_t length, uint64_t sequence);

/* ---- digests ---- */

/* Digests over any number of messages on any number of streams. */
struct digest {
	uint64_t messages, bytes;
	uint64_t any_order; /* sum of the messages' FNV-1a hashes: does not see order */
	uint64_t *streams;  /* 65536 hashes, each over the hashes of its stream's messages in order */
};

void digest_init(struct digest *digest);
void digest_add(struct digest *digest, uint16_t stream, const uint8_t *buffer, size_t length);
/* Combines the streams: sees order within a stream, and not between streams. */
uint64_t digest_by_stream(const struct digest *digest);
void digest_free(struct digest *digest);

/* ---- associations ---- */

/* An IPv4 or IPv6 address and a port. */
struct address {
	struct sockaddr_storage storage;
	socklen_t length;
	int family;
};

/* Most addresses of one end that are used. */
#define ADDRESSES 8

/* The addresses of one end of an association, which share a port. */
struct addresses {
	struct address address[ADDRESSES];
	unsigned count;
};

/* Reads a numeric address; NULL gives the wildcard address of `family`. Ends the program if it cannot be read. */
struct address address_parse(const char *text, uint16_t port, int family);

/* Adds a numeric address, in the order in which they are to be used. Ends the program if it cannot be read. */
void addresses_add(struct addresses *addresses, const char *text, uint16_t port);

/* The family of the sockets for these addresses: IPv6 as soon as one of them is. */
int addresses_family(const struct addresses *addresses);

/* Binds a socket to all these addresses and `port`; to the wildcard address of `family` if there are none. */
void peer_bind(struct socket *socket, struct addresses *addresses, uint16_t port, int family);

/* Connects to a peer that has these addresses, the first of them first. */
void peer_connect(struct socket *socket, struct addresses *addresses);

/* Timers of associations to come. */
struct timers {
	uint32_t rto_initial, rto_min, rto_max; /* milliseconds; 0: the stack's own */
	uint32_t heartbeat;                     /* milliseconds; 0: the stack's own */
	uint16_t path_max_retransmits;          /* 0: the stack's own */
};

/* Reads "INITIAL/MIN/MAX/HEARTBEAT/RETRANSMITS", all but the last in milliseconds. Ends the program if it cannot be read. */
struct timers timers_parse(const char *text);

/* Sets them. */
void peer_timers(struct socket *socket, const struct timers *timers);

/* Associations to come go in UDP to this port (RFC 6951); 0: directly over IP. */
void peer_udp(struct socket *socket, uint16_t remote_port);

/* Starts usrsctp over raw IP sockets, and over UDP from and to this port unless it is 0. Must come before anything else of it. */
void peer_start(uint16_t udp_port);

/* A one-to-one socket with the options of all test peers: no Nagle, big buffers, notifications, receive information. */
struct socket *peer_socket(int family, uint16_t streams);

/* Reads whole messages: puts the parts of a partial delivery together. */
struct reader {
	uint8_t *buffer; /* LARGEST_MESSAGE octets */
	size_t length;
	struct sctp_rcvinfo info;
	bool graceful;     /* a SHUTDOWN ended the association */
	bool lost;         /* an ABORT or too many retransmissions ended it */
	bool ended;        /* the one or the other is over */
	unsigned restarts; /* how often the peer has set the association up anew */
	unsigned paths_lost, paths_found; /* how often an address of the peer became unreachable, and reachable again */
	uint16_t cause;    /* the first cause of the ABORT that ended it; 0: none */
	char reason[64];   /* its text, if the peer's user gave one */
	double last, longest_gap; /* seconds: when the last message came, and the longest time between two of them */
};

void reader_init(struct reader *reader);
void reader_free(struct reader *reader);

/* Waits for a message: its length, or 0 when the association has ended (see `graceful`), or -1 with errno. */
ssize_t reader_next(struct reader *reader, struct socket *socket);

/* Sends one message and waits for room where there is none. 0, or -1 with errno. */
int peer_send(struct socket *socket, const void *data, size_t length, uint16_t stream, uint32_t ppid, bool unordered);

/* Ends an association by ABORT, with this reason where the stack lets its user give one. What waits in reader_next() for the
 * association returns; the ABORT has been sent when the socket is closed. */
int peer_abort(struct socket *socket, const char *reason);

/* ---- the rest ---- */

/* Seconds of the monotonic clock. */
double seconds_now(void);

/* Prints how an association went as the members of a JSON object, without the braces. */
void print_reader(FILE *out, const struct reader *reader);

/* Prints usrsctp's own counters as the members of a JSON object, without the braces. */
void print_counters(FILE *out);

/* Says what failed, with errno, and ends the program with status 1. */
void fail(const char *what) __attribute__((noreturn));

/* Reads a decimal number of at most `highest`; ends the program if it is none. */
uint64_t number(const char *option, const char *text, uint64_t highest);

#endif

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

/* Reads a numeric address; NULL gives the wildcard address of `family`. Ends the program if it cannot be read. */
struct address address_parse(const char *text, uint16_t port, int family);

/* Starts usrsctp over raw IP sockets. Must come before anything else of it. */
void peer_start(void);

/* A one-to-one socket with the options of all test peers: no Nagle, big buffers, notifications, receive information. */
struct socket *peer_socket(int family, uint16_t streams);

/* Reads whole messages: puts the parts of a partial delivery together. */
struct reader {
	uint8_t *buffer; /* LARGEST_MESSAGE octets */
	size_t length;
	struct sctp_rcvinfo info;
	bool graceful;     /* a SHUTDOWN ended the association */
	bool lost;         /* an ABORT or too many retransmissions ended it */
};

void reader_init(struct reader *reader);
void reader_free(struct reader *reader);

/* Waits for a message: its length, or 0 when the association has ended (see `graceful`), or -1 with errno. */
ssize_t reader_next(struct reader *reader, struct socket *socket);

/* Sends one message and waits for room where there is none. 0, or -1 with errno. */
int peer_send(struct socket *socket, const void *data, size_t length, uint16_t stream, uint32_t ppid, bool unordered);

/* ---- the rest ---- */

/* Seconds of the monotonic clock. */
double seconds_now(void);

/* Prints usrsctp's own counters as the members of a JSON object, without the braces. */
void print_counters(FILE *out);

/* Says what failed, with errno, and ends the program with status 1. */
void fail(const char *what) __attribute__((noreturn));

/* Reads a decimal number of at most `highest`; ends the program if it is none. */
uint64_t number(const char *option, const char *text, uint64_t highest);

#endif

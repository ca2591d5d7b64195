/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The part of usrsctp's programming interface that the test peers use, over the sockets of the kernel that they run on.
 *
 * Both interfaces are RFC 6458's, so that little is left to translate; what it buys is that one text of client and server
 * speaks through two stacks, with the same command line, content and summary. Compiled with this directory ahead of the
 * system's, the peers find this header in place of usrsctp's own.
 */
#ifndef SCTP_TEST_KERNEL_USRSCTP_H
#define SCTP_TEST_KERNEL_USRSCTP_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* The kernel's own description of its sockets: structures, options and notifications of RFC 6458. */
#include <linux/sctp.h>

/* A descriptor, under the type that usrsctp has for it. */
struct socket;

/* What usrsctp_recvv() says of the information that it returns, and usrsctp_sendv() of what it is given. */
#define SCTP_RECVV_NOINFO 0
#define SCTP_RECVV_RCVINFO 1
#define SCTP_SENDV_SNDINFO 1

/* The tags of an association: the kernel has no option that tells them. */
struct sctp_get_nonce_values {
	sctp_assoc_t gn_assoc_id;
	uint32_t gn_peers_tag, gn_local_tag;
};

/* Of usrsctp's counters those that are printed. They are the whole kernel's, from /proc/net/sctp/snmp. */
struct sctpstat {
	uint32_t sctps_checksumerrors;
	uint32_t sctps_outoftheblue;
	uint32_t sctps_recvdupdata;     /* DATA chunks discarded: duplicates, and those beyond the window */
	uint32_t sctps_sendretransdata; /* packets, not chunks */
	uint32_t sctps_timodata;
	uint32_t sctps_sendfastretrans;
	uint32_t sctps_aborted;
	uint32_t sctps_shutdown;
};

void usrsctp_init(uint16_t udp_port, void *output, void (*debug)(const char *format, ...));
int usrsctp_finish(void);
int usrsctp_sysctl_set_sctp_blackhole(uint32_t value);
int usrsctp_sysctl_set_sctp_path_pf_threshold(uint32_t value);
int usrsctp_sysctl_set_sctp_sendspace(uint32_t value);
int usrsctp_sysctl_set_sctp_recvspace(uint32_t value);
void usrsctp_get_stat(struct sctpstat *stat);

struct socket *usrsctp_socket(int family, int type, int protocol, void *receive, void *send, uint32_t threshold, void *data);
int usrsctp_setsockopt(struct socket *socket, int level, int option, const void *value, socklen_t length);
int usrsctp_getsockopt(struct socket *socket, int level, int option, void *value, socklen_t *length);
int usrsctp_bind(struct socket *socket, struct sockaddr *address, socklen_t length);
int usrsctp_bindx(struct socket *socket, struct sockaddr *addresses, int count, int flags);
int usrsctp_connectx(struct socket *socket, const struct sockaddr *addresses, int count, sctp_assoc_t *id);
int usrsctp_listen(struct socket *socket, int backlog);
struct socket *usrsctp_accept(struct socket *socket, struct sockaddr *address, socklen_t *length);
int usrsctp_connect(struct socket *socket, struct sockaddr *address, socklen_t length);
ssize_t usrsctp_recvv(struct socket *socket, void *buffer, size_t room, struct sockaddr *from, socklen_t *from_length,
                      void *info, socklen_t *info_length, unsigned *info_type, int *flags);
/* SCTP_ABORT ends the association, but the kernel's one-to-one sockets take no reason: the text is left out. */
ssize_t usrsctp_sendv(struct socket *socket, const void *data, size_t length, struct sockaddr *to, int to_count, void *info,
                      socklen_t info_length, unsigned info_type, int flags);
int usrsctp_shutdown(struct socket *socket, int how);
void usrsctp_close(struct socket *socket);

#endif

/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * See kernel/usrsctp.h.
 */
#include <usrsctp.h>

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct socket {
	int descriptor;
	atomic_bool aborted; /* the association has been ended by ABORT, which closing the socket will send */
};

/* Milliseconds after which a reader that waits looks for itself. */
#define LOOK_AGAIN 100

static struct socket *wrap(int descriptor)
{
	struct socket *socket;

	if (descriptor < 0)
		return NULL;
	socket = calloc(1, sizeof *socket);
	if (socket == NULL)
		close(descriptor);
	else
		*socket = (struct socket){ .descriptor = descriptor };
	return socket;
}

/* ---- the library: the kernel needs neither start nor end ---- */

void usrsctp_init(uint16_t udp_port, void *output, void (*debug)(const char *format, ...))
{
	(void)udp_port, (void)output, (void)debug;
}

int usrsctp_finish(void)
{
	return 0;
}

int usrsctp_sysctl_set_sctp_blackhole(uint32_t value)
{
	(void)value;
	return 0;
}

/* It is so by default. */
int usrsctp_sysctl_set_sctp_path_pf_threshold(uint32_t value)
{
	(void)value;
	return 0;
}

/* The defaults of sockets are left alone: the peers set both buffers of each. */
int usrsctp_sysctl_set_sctp_sendspace(uint32_t value)
{
	(void)value;
	return 0;
}

int usrsctp_sysctl_set_sctp_recvspace(uint32_t value)
{
	(void)value;
	return 0;
}

void usrsctp_get_stat(struct sctpstat *stat)
{
	/* Several of the kernel's counters may make up one of usrsctp's. */
	const struct {
		const char *name;
		uint32_t *to;
	} known[] = {
		{ "SctpChecksumErrors", &stat->sctps_checksumerrors },
		{ "SctpOutOfBlues", &stat->sctps_outoftheblue },
		{ "SctpInDataChunkDiscards", &stat->sctps_recvdupdata },
		{ "SctpT3Retransmits", &stat->sctps_sendretransdata },
		{ "SctpFastRetransmits", &stat->sctps_sendretransdata },
		{ "SctpFastRetransmits", &stat->sctps_sendfastretrans },
		{ "SctpT3RtxExpireds", &stat->sctps_timodata },
		{ "SctpAborteds", &stat->sctps_aborted },
		{ "SctpShutdowns", &stat->sctps_shutdown },
	};
	FILE *counters = fopen("/proc/net/sctp/snmp", "r");
	char name[64];
	unsigned long value;

	memset(stat, 0, sizeof *stat);
	if (counters == NULL)
		return;
	while (fscanf(counters, "%63s %lu", name, &value) == 2)
		for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
			if (strcmp(name, known[i].name) == 0)
				*known[i].to += (uint32_t)value;
	fclose(counters);
}

/* ---- sockets ---- */

struct socket *usrsctp_socket(int family, int type, int protocol, void *receive, void *send, uint32_t threshold, void *data)
{
	(void)receive, (void)send, (void)threshold, (void)data;
	return wrap(socket(family, type | SOCK_CLOEXEC, protocol));
}

int usrsctp_setsockopt(struct socket *socket, int level, int option, const void *value, socklen_t length)
{
	/* Beyond the limits of sysctl, which are too small for a single message of the largest size. */
	if (level == SOL_SOCKET && option == SO_SNDBUF)
		option = SO_SNDBUFFORCE;
	if (level == SOL_SOCKET && option == SO_RCVBUF)
		option = SO_RCVBUFFORCE;
	return setsockopt(socket->descriptor, level, option, value, length);
}

int usrsctp_getsockopt(struct socket *socket, int level, int option, void *value, socklen_t *length)
{
	return getsockopt(socket->descriptor, level, option, value, length);
}

int usrsctp_bind(struct socket *socket, struct sockaddr *address, socklen_t length)
{
	int on = 1;

	if (setsockopt(socket->descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
		return -1;
	return bind(socket->descriptor, address, length);
}

static socklen_t packed_length(const struct sockaddr *addresses, int count)
{
	const char *at = (const char *)addresses;

	for (int i = 0; i < count; i++) {
		sa_family_t family;

		memcpy(&family, at, sizeof family);
		at += family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	}
	return (socklen_t)(at - (const char *)addresses);
}

int usrsctp_bindx(struct socket *socket, struct sockaddr *addresses, int count, int flags)
{
	int option = flags == SCTP_BINDX_ADD_ADDR ? SCTP_SOCKOPT_BINDX_ADD : SCTP_SOCKOPT_BINDX_REM;

	return setsockopt(socket->descriptor, IPPROTO_SCTP, option, addresses, packed_length(addresses, count));
}

int usrsctp_connectx(struct socket *socket, const struct sockaddr *addresses, int count, sctp_assoc_t *id)
{
	int result = setsockopt(socket->descriptor, IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX, addresses,
	                        packed_length(addresses, count));

	if (result < 0)
		return -1;
	*id = result;
	return 0;
}

int usrsctp_listen(struct socket *socket, int backlog)
{
	return listen(socket->descriptor, backlog);
}

struct socket *usrsctp_accept(struct socket *socket, struct sockaddr *address, socklen_t *length)
{
	return wrap(accept4(socket->descriptor, address, length, SOCK_CLOEXEC));
}

int usrsctp_connect(struct socket *socket, struct sockaddr *address, socklen_t length)
{
	return connect(socket->descriptor, address, length);
}

ssize_t usrsctp_recvv(struct socket *socket, void *buffer, size_t room, struct sockaddr *from, socklen_t *from_length,
                      void *info, socklen_t *info_length, unsigned *info_type, int *flags)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(struct sctp_rcvinfo))];
	} control;
	struct iovec part = { .iov_base = buffer, .iov_len = room };
	struct msghdr message = {
		.msg_name = from, .msg_namelen = *from_length, .msg_iov = &part, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof control,
	};
	ssize_t got;

	/* Not in recvmsg(2), which nothing but a message or the end of the association would wake, and that not always: kernel 6.1 was
	 * seen to leave a reader asleep when the last packet of a graceful end had come. */
	while ((got = recvmsg(socket->descriptor, &message, *flags | MSG_DONTWAIT)) < 0 && errno == EAGAIN) {
		struct pollfd waiting = { .fd = socket->descriptor, .events = POLLIN };

		if (atomic_load(&socket->aborted))
			return 0;
		if (poll(&waiting, 1, LOOK_AGAIN) < 0)
			return -1;
	}
	*info_type = SCTP_RECVV_NOINFO;
	/* A reader that waits while the association ends in order; after an ABORT it would be ECONNRESET. */
	if (got < 0 && errno == ENOTCONN)
		return 0;
	if (got < 0)
		return got;
	*flags = message.msg_flags;
	*from_length = message.msg_namelen;
	for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
		if (header->cmsg_level != IPPROTO_SCTP || header->cmsg_type != SCTP_RCVINFO)
			continue;
		if (*info_length < sizeof(struct sctp_rcvinfo)) {
			errno = EINVAL;
			return -1;
		}
		memcpy(info, CMSG_DATA(header), sizeof(struct sctp_rcvinfo));
		*info_length = sizeof(struct sctp_rcvinfo);
		*info_type = SCTP_RECVV_RCVINFO;
	}
	return got;
}

ssize_t usrsctp_sendv(struct socket *socket, const void *data, size_t length, struct sockaddr *to, int to_count, void *info,
                      socklen_t info_length, unsigned info_type, int flags)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(struct sctp_sndinfo))];
	} control;
	struct iovec part = { .iov_base = (void *)data, .iov_len = length };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control,
	};

	if (to != NULL || to_count != 0 || info_type != SCTP_SENDV_SNDINFO || info_length != sizeof(struct sctp_sndinfo)) {
		errno = EINVAL;
		return -1;
	}
	if ((((const struct sctp_sndinfo *)info)->snd_flags & SCTP_ABORT) != 0) {
		/* sendmsg(2) takes SCTP_ABORT on one-to-many sockets alone. */
		struct linger at_once = { .l_onoff = 1, .l_linger = 0 };

		if (setsockopt(socket->descriptor, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) != 0)
			return -1;
		atomic_store(&socket->aborted, true);
		return (ssize_t)length;
	}
	memset(&control, 0, sizeof control);
	control.header.cmsg_level = IPPROTO_SCTP;
	control.header.cmsg_type = SCTP_SNDINFO;
	control.header.cmsg_len = CMSG_LEN(sizeof(struct sctp_sndinfo));
	memcpy(CMSG_DATA(&control.header), info, sizeof(struct sctp_sndinfo));
	return sendmsg(socket->descriptor, &message, flags | MSG_NOSIGNAL);
}

int usrsctp_shutdown(struct socket *socket, int how)
{
	return shutdown(socket->descriptor, how);
}

void usrsctp_close(struct socket *socket)
{
	close(socket->descriptor);
	free(socket);
}

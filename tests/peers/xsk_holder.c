/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * Binds an AF_XDP socket to queue 0 of an interface and keeps it, without any XDP program: for whoever comes next, the queue
 * is busy.
 *
 *   xsk_holder INTERFACE
 *
 * Prints "holding" when it has the queue; ends when its stdin does.
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAMES 16
#define FRAME_SIZE 4096

static void check(int result, const char *what)
{
	if (result < 0) {
		fprintf(stderr, "%s: %s\n", what, strerror(errno));
		exit(1);
	}
}

int main(int count, char **values)
{
	if (count != 2) {
		fprintf(stderr, "usage: xsk_holder INTERFACE\n");
		return 2;
	}
	int socket_fd = socket(AF_XDP, SOCK_RAW, 0);
	void *memory = mmap(NULL, FRAMES * FRAME_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* The version of the structure that every kernel with AF_XDP knows. */
	struct { uint64_t addr, len; uint32_t chunk_size, headroom; } umem = {
		.addr = (uintptr_t)memory, .len = FRAMES * FRAME_SIZE, .chunk_size = FRAME_SIZE,
	};
	int entries = FRAMES;
	struct sockaddr_xdp address = { .sxdp_family = AF_XDP, .sxdp_ifindex = if_nametoindex(values[1]) };

	check(socket_fd, "socket");
	check(memory == MAP_FAILED ? -1 : 0, "mmap");
	check(setsockopt(socket_fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof umem), "XDP_UMEM_REG");
	check(setsockopt(socket_fd, SOL_XDP, XDP_UMEM_FILL_RING, &entries, sizeof entries), "XDP_UMEM_FILL_RING");
	check(setsockopt(socket_fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &entries, sizeof entries), "XDP_UMEM_COMPLETION_RING");
	check(setsockopt(socket_fd, SOL_XDP, XDP_RX_RING, &entries, sizeof entries), "XDP_RX_RING");
	check(bind(socket_fd, (struct sockaddr *)&address, sizeof address), "bind");
	printf("holding\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

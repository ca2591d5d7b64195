/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The first process of a User-Mode Linux guest: mounts what programs expect, loads the modules that /modules/list names in
 * that order, and then runs commands for the host until it is told to switch the guest off.
 *
 * It talks with the host over the first serial line, in frames:
 *
 *      0       4     6      7      8
 *      +-------+-----+------+------+----------------------+
 *      |length | id  | kind |  0   | `length` octets      |
 *      +-------+-----+------+------+----------------------+
 *
 * Numbers are little endian; `id` is the host's name for a command. From the host:
 *
 *      RUN         start a command: its words, each ended by a zero octet
 *      INPUT       for its stdin; none at all: end of file
 *      SIGNAL      to the command's process group: the signal's number, four octets
 *      POWER_OFF   ends the guest
 *
 * and from the guest:
 *
 *      READY       first of all frames: the kernel's release
 *      STDOUT, STDERR   what the command printed
 *      ENDED       after all its output: the status as waitpid(2) has it, four octets
 *
 * Nothing here waits by looking again and again: an idle guest costs no processor time.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define LINE "/dev/ttyS0"
#define COMMANDS 64
#define LARGEST_FRAME (1u << 16)
#define WORDS 256

enum kind { RUN = 1, INPUT, SIGNAL, POWER_OFF, READY = 16, STDOUT, STDERR, ENDED };

struct header {
	uint32_t length;
	uint16_t id;
	uint8_t kind, zero;
};

/* A command; a place is free when `used` is false. */
static struct command {
	bool used;
	uint16_t id;
	pid_t pid; /* 0: has ended, with `status` */
	int status;
	int input;     /* -1: closed */
	int output[2]; /* stdout and stderr; -1: at their end */
} commands[COMMANDS];

static int line;

/* There is nobody to report to but the console, and nothing to do without what failed. */
static void give_up(const char *what)
{
	fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	fflush(NULL);
	reboot(RB_POWER_OFF);
	_exit(1);
}

/* ---- frames ---- */

static void write_all(int to, const void *data, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t wrote = write(to, (const char *)data + done, length - done);

		if (wrote > 0)
			done += (size_t)wrote;
		else if (errno != EINTR)
			give_up(LINE);
	}
}

static void send_frame(uint16_t id, enum kind kind, const void *data, size_t length)
{
	struct header header = { .length = (uint32_t)length, .id = id, .kind = (uint8_t)kind };

	write_all(line, &header, sizeof header);
	write_all(line, data, length);
}

static void read_all(void *data, size_t length)
{
	for (size_t done = 0; done < length;) {
		ssize_t got = read(line, (char *)data + done, length - done);

		if (got > 0) {
			done += (size_t)got;
		} else if (got == 0 || errno != EINTR) {
			/* The host is gone. */
			reboot(RB_POWER_OFF);
			_exit(0);
		}
	}
}

/* ---- commands ---- */

static struct command *find(uint16_t id)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (commands[i].used && commands[i].id == id)
			return &commands[i];
	return NULL;
}

/* In the child: becomes the command. */
static void become(char *const words[], const int ends[3])
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	for (int i = 0; i < 3; i++)
		dup2(ends[i], i);
	execvp(words[0], words);
	fprintf(stderr, "%s: %s\n", words[0], strerror(errno));
	_exit(127);
}

static void start(uint16_t id, char *text, size_t length)
{
	char *words[WORDS + 1] = { NULL };
	size_t count = 0, place = 0;
	int pipes[3][2];

	for (size_t at = 0; at < length && count < WORDS; at += strlen(text + at) + 1)
		words[count++] = text + at;
	while (place < COMMANDS && commands[place].used)
		place++;
	if (count == 0 || place == COMMANDS) {
		static const char reason[] = "agent: no words, or too many commands\n";
		int32_t status = 127 << 8;

		send_frame(id, STDERR, reason, sizeof reason - 1);
		send_frame(id, ENDED, &status, sizeof status);
		return;
	}

	for (int i = 0; i < 3; i++)
		if (pipe2(pipes[i], O_CLOEXEC) != 0)
			give_up("pipe");
	struct command *command = &commands[place];

	*command = (struct command){ .used = true, .id = id, .pid = fork() };
	if (command->pid < 0)
		give_up("fork");
	if (command->pid == 0)
		become(words, (const int[]){ pipes[0][0], pipes[1][1], pipes[2][1] });
	/* Here too, so that a signal that comes next finds the group. */
	setpgid(command->pid, command->pid);
	close(pipes[0][0]);
	close(pipes[1][1]);
	close(pipes[2][1]);
	command->input = pipes[0][1];
	command->output[0] = pipes[1][0];
	command->output[1] = pipes[2][0];
}

static void feed(struct command *command, const char *data, size_t length)
{
	if (command->input < 0)
		return;
	for (size_t done = 0; done < length;) {
		/* Blocks if the command does not read: what the host writes are lines, which fit into the pipe. */
		ssize_t wrote = write(command->input, data + done, length - done);

		if (wrote > 0)
			done += (size_t)wrote;
		else if (errno != EINTR)
			break; /* the command has closed its stdin */
	}
	if (length == 0) {
		close(command->input);
		command->input = -1;
	}
}

/* Says that the command has ended, once that is so and all its output has been sent. */
static void finish(struct command *command)
{
	int32_t status = command->status;

	if (command->pid != 0 || command->output[0] >= 0 || command->output[1] >= 0)
		return;
	if (command->input >= 0)
		close(command->input);
	send_frame(command->id, ENDED, &status, sizeof status);
	command->used = false;
}

static void forward(struct command *command, int which)
{
	static char buffer[16384];
	ssize_t got = read(command->output[which], buffer, sizeof buffer);

	if (got > 0) {
		send_frame(command->id, which == 0 ? STDOUT : STDERR, buffer, (size_t)got);
	} else if (got == 0 || errno != EINTR) {
		close(command->output[which]);
		command->output[which] = -1;
		finish(command);
	}
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < COMMANDS; i++) {
			if (commands[i].used && commands[i].pid == pid) {
				commands[i].pid = 0;
				commands[i].status = status;
				finish(&commands[i]);
			}
		}
	}
}

static void obey(void)
{
	static char body[LARGEST_FRAME + 1];
	struct header header;
	struct command *command;
	uint32_t number;

	read_all(&header, sizeof header);
	if (header.length > LARGEST_FRAME) {
		errno = EMSGSIZE;
		give_up(LINE);
	}
	read_all(body, header.length);
	body[header.length] = '\0';
	command = find(header.id);
	switch (header.kind) {
	case RUN:
		start(header.id, body, header.length);
		break;
	case INPUT:
		if (command != NULL)
			feed(command, body, header.length);
		break;
	case SIGNAL:
		memcpy(&number, body, sizeof number);
		if (command != NULL && command->pid != 0)
			kill(-command->pid, (int)number);
		break;
	case POWER_OFF:
		reboot(RB_POWER_OFF);
		break;
	default:
		errno = EPROTO;
		give_up(LINE);
	}
}

/* ---- start ---- */

static void mount_at(const char *type, const char *where)
{
	if (mount(type, where, type, 0, NULL) != 0 && errno != EBUSY)
		give_up(where);
}

static void load_modules(void)
{
	FILE *list = fopen("/modules/list", "re");
	char name[128], path[160];

	if (list == NULL)
		give_up("/modules/list");
	while (fscanf(list, "%127s", name) == 1) {
		snprintf(path, sizeof path, "/modules/%s", name);
		int module = open(path, O_RDONLY | O_CLOEXEC);

		if (module < 0)
			give_up(path);
		if (syscall(SYS_finit_module, module, "", 0) != 0 && errno != EEXIST)
			give_up(path);
		close(module);
	}
	fclose(list);
}

static void open_line(void)
{
	struct termios raw;

	line = open(LINE, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (line < 0 || tcgetattr(line, &raw) != 0)
		give_up(LINE);
	cfmakeraw(&raw);
	if (tcsetattr(line, TCSANOW, &raw) != 0)
		give_up(LINE);
}

int main(void)
{
	struct pollfd polls[2 + 2 * COMMANDS];
	struct { struct command *command; int which; } owners[2 + 2 * COMMANDS];
	struct utsname name;
	sigset_t children;

	mount_at("proc", "/proc");
	mount_at("sysfs", "/sys");
	mount_at("devtmpfs", "/dev");
	mount_at("tmpfs", "/tmp");
	mount_at("tmpfs", "/run");
	setenv("PATH", "/bin", 1);
	setenv("HOME", "/tmp", 1);
	if (chdir("/tmp") != 0)
		give_up("/tmp");
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&children);
	sigaddset(&children, SIGCHLD);
	sigprocmask(SIG_BLOCK, &children, NULL);
	polls[0] = (struct pollfd){ .fd = signalfd(-1, &children, SFD_CLOEXEC), .events = POLLIN };
	load_modules();
	open_line();
	polls[1] = (struct pollfd){ .fd = line, .events = POLLIN };
	uname(&name);
	send_frame(0, READY, name.release, strlen(name.release));

	for (;;) {
		nfds_t count = 2;

		for (size_t i = 0; i < COMMANDS; i++) {
			for (int which = 0; which < 2; which++) {
				if (!commands[i].used || commands[i].output[which] < 0)
					continue;
				polls[count] = (struct pollfd){ .fd = commands[i].output[which], .events = POLLIN };
				owners[count].command = &commands[i];
				owners[count++].which = which;
			}
		}
		if (poll(polls, count, -1) < 0) {
			if (errno == EINTR)
				continue;
			give_up("poll");
		}
		for (nfds_t i = 2; i < count; i++)
			if (polls[i].revents != 0)
				forward(owners[i].command, owners[i].which);
		if (polls[0].revents != 0) {
			struct signalfd_siginfo information;

			if (read(polls[0].fd, &information, sizeof information) < 0 && errno != EINTR)
				give_up("signalfd");
			reap();
		}
		if (polls[1].revents != 0)
			obey();
	}
}

/* SPDX-License-Identifier: MIT */
/*
 * ebbmalloc samples - A small HTTP server on epoll
 *
 * httpd [--port=N] [--workers=N] [--buffers=N] [--leak=N] [--strict=1]
 *
 * The main thread accepts connections and reads; when the head of a request
 * has arrived it opens a context, parses the head into it, hands it to a worker
 * (ebb_context_transfer()) and forgets it.  The worker answers from the same
 * context, closes it, and lets the main thread hear of the connection again.
 * What arrives lies in buffers of a pool, one for each connection that has sent
 * part of a request.
 *
 * GET / says hello, /headers what was sent, /accounts who holds what of the
 * heap, /buffers how many are out.  Port 0 takes one that is free; it is
 * printed.  With --leak=N one buffer of N is forgotten instead of returned: a
 * bug, that the pool finds at the end, or at once with --strict=1.  SIGTERM and
 * SIGINT end it; the exit status is 3 if buffers were not returned.
 *
 * A connection is one thread's at a time: the main thread's while epoll may
 * report it (EPOLLONESHOT), else who has taken it out of the queue.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "httpd.h"

#define EVENTS		64
#define WORKERS_MAX	64
#define SEND_MS		5000	/* a client that does not read for so long goes */

struct connection {
	struct connection *next;	/* in the queue, or of those that wait */
	struct connection *prev_all;	/* all_lock: of all there are */
	struct connection *next_all;
	int fd;
	char *buffer;		/* NULL: nothing has arrived */
	size_t len;		/* of what has */
	struct request *request;
};

static unsigned long port = 8080, nr_workers = 4, nr_buffers = 256, leak_every;
static unsigned long strict;
static int epoll_fd, listen_fd, stop_fd;

/* Connections with a request, for the workers. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t filled;
	struct connection *first;
	struct connection **end;
	bool closed;
} queue = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.filled = PTHREAD_COND_INITIALIZER,
	.end = &queue.first,
};

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct connection *all;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* === The queue ========================================================== */

static void queue_put(struct connection *connection)
{
	connection->next = NULL;
	pthread_mutex_lock(&queue.lock);
	*queue.end = connection;
	queue.end = &connection->next;
	pthread_cond_signal(&queue.filled);
	pthread_mutex_unlock(&queue.lock);
}

/* NULL: the server ends, and nothing is left. */
static struct connection *queue_get(void)
{
	struct connection *connection;

	pthread_mutex_lock(&queue.lock);
	while (!queue.first && !queue.closed)
		pthread_cond_wait(&queue.filled, &queue.lock);
	connection = queue.first;
	if (connection)
		queue.first = connection->next;
	if (!queue.first)
		queue.end = &queue.first;
	pthread_mutex_unlock(&queue.lock);
	return connection;
}

static void queue_close(void)
{
	pthread_mutex_lock(&queue.lock);
	queue.closed = true;
	pthread_cond_broadcast(&queue.filled);
	pthread_mutex_unlock(&queue.lock);
}

/* === Connections ======================================================== */

static void connection_open(int fd)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLONESHOT,
		.data.ptr = connection,
	};

	if (!connection) {
		close(fd);
		return;
	}
	connection->fd = fd;
	pthread_mutex_lock(&all_lock);
	connection->next_all = all;
	if (all)
		all->prev_all = connection;
	all = connection;
	pthread_mutex_unlock(&all_lock);
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static void connection_close(struct connection *connection)
{
	pthread_mutex_lock(&all_lock);
	if (connection->next_all)
		connection->next_all->prev_all = connection->prev_all;
	if (connection->prev_all)
		connection->prev_all->next_all = connection->next_all;
	else
		all = connection->next_all;
	pthread_mutex_unlock(&all_lock);
	buffer_return(connection->buffer);
	close(connection->fd);
	free(connection);
}

/* From now on it is the main thread's. */
static void connection_watch(struct connection *connection)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLONESHOT,
		.data.ptr = connection,
	};

	if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event))
		die("epoll_ctl");
}

/*
 * Parse the first request that has arrived, if its head is complete, into a
 * context of this thread's.  False: what has arrived is no request.
 */
static bool connection_parse(struct connection *connection)
{
	size_t len = request_head(connection->buffer, connection->len);

	connection->request = NULL;
	if (!len)
		return connection->len < BUFFER_BYTES;
	connection->request = request_parse(connection->buffer, len);
	connection->len -= len;
	memmove(connection->buffer, connection->buffer + len, connection->len);
	return connection->request;
}

/* === Workers ============================================================ */

static bool send_all(int fd, const char *text, size_t len)
{
	struct pollfd writable = { fd, POLLOUT, 0 };

	while (len) {
		ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

		if (sent < 0 && errno == EAGAIN &&
		    poll(&writable, 1, SEND_MS) == 1)
			continue;
		if (sent < 0)
			return false;
		text += sent;
		len -= (size_t)sent;
	}
	return true;
}

/* False: the connection ends with it. */
static bool answer(struct connection *connection)
{
	struct request *request = connection->request;
	struct answer answer = request_answer(request);
	bool goes_on = answer.text &&
		       send_all(connection->fd, answer.text, answer.len) &&
		       request->keep_alive;

	/* All of it: the request itself, too. */
	ebb_context_close(request->context);
	connection->request = NULL;
	return goes_on;
}

static void serve(struct connection *connection)
{
	/* What has arrived together is parsed here, and handed to nobody. */
	do {
		if (!answer(connection) || !connection_parse(connection)) {
			connection_close(connection);
			return;
		}
	} while (connection->request);
	if (!connection->len) {
		buffer_return(connection->buffer);
		connection->buffer = NULL;
	}
	connection_watch(connection);
}

static void *work(void *unused)
{
	struct connection *connection;

	(void)unused;
	pthread_setname_np(pthread_self(), "worker");
	while ((connection = queue_get()))
		serve(connection);
	return NULL;
}

/* === The main thread ==================================================== */

static void accept_all(void)
{
	int fd, yes = 1;

	while ((fd = accept4(listen_fd, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		/* Answers are sent whole: there is nothing to wait for. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
		connection_open(fd);
	}
}

/* -1: it has ended, or there is no buffer for it. */
static ssize_t receive(struct connection *connection)
{
	ssize_t got;

	if (!connection->buffer)
		connection->buffer = buffer_take();
	if (!connection->buffer)
		return -1;
	got = recv(connection->fd, connection->buffer + connection->len,
		   BUFFER_BYTES - connection->len, 0);
	if (got < 0 && errno == EAGAIN)
		return 0;
	return got > 0 ? got : -1;
}

static void hear(struct connection *connection)
{
	ssize_t got = receive(connection);

	if (got < 0) {
		connection_close(connection);
		return;
	}
	connection->len += (size_t)got;
	if (!connection_parse(connection)) {
		connection_close(connection);
		return;
	}
	if (!connection->request) {
		connection_watch(connection);
		return;
	}
	/* Opened here, closed in the worker. */
	ebb_context_transfer(connection->request->context);
	queue_put(connection);
}

static void listen_on(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(address);
	int yes = 1;

	listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
			   0);
	if (listen_fd < 0 ||
	    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &yes,
		       sizeof(yes)) ||
	    bind(listen_fd, (void *)&address, len) || listen(listen_fd, 511) ||
	    getsockname(listen_fd, (void *)&address, &len))
		die("listen");
	printf("listening on port %u\n", ntohs(address.sin_port));
	fflush(stdout);
}

static void watch(int *fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = fd };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, *fd, &event))
		die("epoll_ctl");
}

static void run(void)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int nr = epoll_wait(epoll_fd, events, EVENTS, -1);

		for (int i = 0; i < nr; i++) {
			if (events[i].data.ptr == &stop_fd)
				return;
			if (events[i].data.ptr == &listen_fd)
				accept_all();
			else
				hear(events[i].data.ptr);
		}
	}
}

static void parse_options(char **argv)
{
	static const struct {
		const char *name;
		unsigned long *value;
		unsigned long most;
	} options[] = {
		{ "--port=", &port, 65535 },
		{ "--workers=", &nr_workers, WORKERS_MAX },
		{ "--buffers=", &nr_buffers, 1000000 },
		{ "--leak=", &leak_every, 1000000 },
		{ "--strict=", &strict, 1 },
	};

	while (*++argv) {
		bool known = false;

		for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
			size_t len = strlen(options[i].name);
			char *end;

			if (strncmp(*argv, options[i].name, len))
				continue;
			*options[i].value = strtoul(*argv + len, &end, 10);
			known = (*argv)[len] && !*end &&
				*options[i].value <= options[i].most;
		}
		if (!known) {
			fprintf(stderr, "httpd: %s?\n", *argv);
			exit(1);
		}
	}
}

/* Before there are threads: none but the main one's epoll gets it. */
static void block_signals(void)
{
	sigset_t stop;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	pthread_sigmask(SIG_BLOCK, &stop, NULL);
	stop_fd = signalfd(-1, &stop, SFD_CLOEXEC);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (stop_fd < 0 || epoll_fd < 0)
		die("signalfd");
}

int main(int argc, char **argv)
{
	pthread_t workers[WORKERS_MAX];
	unsigned int nr_left;

	(void)argc;
	parse_options(argv);
	if (!buffers_open((unsigned int)nr_buffers, (unsigned int)leak_every,
			  strict))
		die("ebb_pool_create");
	block_signals();
	listen_on();
	watch(&stop_fd);
	watch(&listen_fd);
	for (unsigned long i = 0; i < nr_workers; i++)
		if (pthread_create(&workers[i], NULL, work, NULL))
			die("pthread_create");
	run();
	queue_close();
	for (unsigned long i = 0; i < nr_workers; i++)
		pthread_join(workers[i], NULL);
	while (all)
		connection_close(all);
	nr_left = buffers_close();
	if (nr_left)
		printf("%u buffers were not returned\n", nr_left);
	return nr_left ? 3 : 0;
}

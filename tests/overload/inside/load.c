/* An open-loop load: clients arrive at random, each on a connection of its own, and leave after
 * their patience. Prints a line for each: kind, start, seconds, status (0: left, -1: cut off).
 *
 *   load HOST PORT PATH PATIENCE SEED RATE:SECONDS [RATE:SECONDS ...]
 *
 * Besides, a probe asks /healthz/live every tenth of a second, with a patience of 20 s.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 200000
#define PROBE_PATIENCE 20.0
#define PROBE_EVERY 0.1

struct client {
    int fd, got, status, open;
    char kind, head[1024];
    double start;
};

static struct client *clients;
static int count, first_open, epoll;
static double began, patience;
static struct sockaddr_in server;
static const char *path, *host;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9 - began;
}

static void finish(struct client *c, int status) {
    printf("%c %.6f %.6f %d\n", c->kind, c->start, now() - c->start, status);
    if (c->fd >= 0) close(c->fd);
    c->open = 0;
}

static void arrive(char kind) {
    if (count == MOST) return;
    struct client *c = &clients[count];
    memset(c, 0, sizeof *c);
    c->kind = kind;
    c->start = now();
    c->open = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int one = 1, number = count++;
    if (c->fd < 0) { finish(c, -1); return; }
    struct sockaddr_in own = {.sin_family = AF_INET};
    own.sin_addr.s_addr = htonl(0x7f000001 + number % 200); /* ports enough */
    setsockopt(c->fd, IPPROTO_IP, 24 /* IP_BIND_ADDRESS_NO_PORT */, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    bind(c->fd, (struct sockaddr *)&own, sizeof own);
    if (connect(c->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) {
        finish(c, -1);
        return;
    }
    struct epoll_event e = {.events = EPOLLOUT, .data.u32 = number};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &e);
}

static void work(struct client *c, int number) {
    if (!c->status && !c->got) { /* connected, or not */
        char text[512];
        const char *which = c->kind == 'p' ? "/healthz/live" : path;
        int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", which, host);
        int error = 0;
        socklen_t length = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
        if (error || send(c->fd, text, size, MSG_NOSIGNAL) != size) { finish(c, -1); return; }
        c->status = 1;
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = number};
        epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &e);
        return;
    }
    int room = sizeof c->head - 1 - c->got;
    int size = recv(c->fd, c->head + c->got, room, 0);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) { finish(c, -1); return; }
    c->got += size;
    char *end = strstr(c->head, "\r\n\r\n"), *length = strcasestr(c->head, "content-length:");
    if (end && length && end + 4 - c->head + atoi(length + 15) <= c->got)
        finish(c, atoi(c->head + 9));
}

int main(int n, char **arguments) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (n < 7) return 2;
    host = arguments[1];
    server.sin_family = AF_INET;
    server.sin_port = htons(atoi(arguments[2]));
    inet_pton(AF_INET, host, &server.sin_addr);
    path = arguments[3];
    patience = atof(arguments[4]);
    srand48(atol(arguments[5]));
    clients = calloc(MOST, sizeof *clients);
    epoll = epoll_create1(0);
    began = 0;
    began = now();
    double next = 0, probe = 0, until = 0, last;
    int step = 6;
    double rate = atof(arguments[step]);
    until += atof(strchr(arguments[step], ':') + 1);
    for (;;) {
        double t = now();
        while (step < n && next <= t) {
            if (rate > 0 && next < until) arrive('c');
            next = rate > 0 ? next - log(1 - drand48()) / rate : until;
            if (next >= until) {
                next = until;
                if (++step < n) {
                    rate = atof(arguments[step]);
                    until += atof(strchr(arguments[step], ':') + 1);
                    if (rate > 0) next -= log(1 - drand48()) / rate;
                }
            }
        }
        if (probe <= t && step < n) { arrive('p'); probe += PROBE_EVERY; }
        last = 0;
        for (int i = first_open; i < count; i++) {
            struct client *c = &clients[i];
            if (!c->open) { if (i == first_open) first_open++; continue; }
            double most = c->kind == 'p' ? PROBE_PATIENCE : patience;
            if (t - c->start > most) finish(c, 0);
            else { last = 1; if (t - c->start < patience && c->kind == 'c') break; }
        }
        if (step >= n && !last) break;
        struct epoll_event events[256];
        double wait = step < n ? fmin(next, probe) - t : 0.05;
        int ms = wait > 0.05 ? 50 : wait > 0 ? (int)(wait * 1000) : 0;
        int found = epoll_wait(epoll, events, 256, ms);
        for (int i = 0; i < found; i++) {
            struct client *c = &clients[events[i].data.u32];
            if (c->open) work(c, events[i].data.u32);
        }
    }
    return 0;
}

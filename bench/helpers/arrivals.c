/* HTTP requests that begin when they are due, however long the answers to earlier ones take: a
 * client that waits for an answer before it asks again slows down with the server, and never sees
 * the queue that others stand in.
 *
 *     arrivals PORT new|kept CLIENTS END_US < SCHEDULE > OUTCOMES
 *
 * A line of the schedule, a request, is "DUE_US PATH". With END_US, not 0, only the first CLIENTS
 * are due then; each later one is due as soon as an earlier one has ended, until END_US: saturation.
 *
 * "new" makes a connection for each request. "kept" has CLIENTS connections, made as they are first
 * needed; a request takes the one that has rested longest, and waits if all are in use. Nothing is
 * sent twice. A line of the outcomes is "DUE_US LATE_US TOOK_US PATH HOW": LATE is how much later
 * than due the request was begun (connect(2) or send(2)), TOOK counts from when it was due. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CLIENTS = 60000, MOST_REQUESTS = 1000000, PATIENCE_US = 5000000 };
enum { APART, CONNECTING, WAITING, IDLE, PARTING };

struct request {
    int64_t due, begun, ended;  // microseconds since the start; 0: not yet
    char path[8];
    const char *how;
};

struct client {
    int fd, state, request;
    uint32_t turn;  // tells an event for an earlier connection of this client from one for this
    size_t has;
    char answer[2048];
};

static struct request requests[MOST_REQUESTS];
static struct client clients[MOST_CLIENTS];
static int resting[MOST_CLIENTS], queue[MOST_REQUESTS];  // rings: clients, and requests for one
static unsigned first_resting, rests, first_queued, queued;
static int asked, begun, answered, is_new, epoll;
static int64_t start, end_us;
static struct sockaddr_in server;

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000 - start;
}

static void rest(struct client *client)
{
    client->state = client->fd < 0 ? APART : IDLE;
    resting[(first_resting + rests++) % MOST_CLIENTS] = (int)(client - clients);
}

static void part(struct client *client)
{
    close(client->fd);  // leaves the epoll set, too
    client->fd = -1;
    client->turn++;
}

static void begin(int number);

static void ended(struct client *client, const char *how, int stays)
{
    struct request *request = &requests[client->request];
    request->ended = now_us();
    request->how = how;
    answered++;
    if (is_new && stays)
        client->state = PARTING;  // the server closes first, as it was asked: no port stays taken
    else {
        if (!stays)
            part(client);
        rest(client);
    }
    if (end_us && request->ended < end_us && begun < asked) {
        requests[begun].due = request->ended;
        begin(begun++);
    } else if (queued) {
        queued--;
        begin(queue[first_queued++ % MOST_REQUESTS]);
    }
}

static void ask(struct client *client)
{
    char text[128];
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: %s\r\n\r\n",
                        requests[client->request].path, is_new ? "close" : "keep-alive");
    client->state = WAITING;
    client->has = 0;
    if (send(client->fd, text, (size_t)size, MSG_NOSIGNAL) != size)
        ended(client, "reset", 0);
}

static void begin(int number)
{
    if (!rests) {
        queue[(first_queued + queued++) % MOST_REQUESTS] = number;
        return;
    }
    struct client *client = &clients[resting[first_resting++ % MOST_CLIENTS]];
    rests--;
    client->request = number;
    requests[number].begun = now_us();
    if (client->fd >= 0) {
        ask(client);
        return;
    }
    int one = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) {
        perror("socket");
        exit(1);
    }
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    client->state = CONNECTING;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = (uint64_t)client->turn << 32 | (uint32_t)(client - clients)};
    if (connect(client->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS) {
        ended(client, errno == ECONNREFUSED ? "refused" : "reset", 0);
        return;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event);
}

// Say how an answer is: NULL if it is not whole yet. It goes on after that if *stays.
static const char *judged(struct client *client, int is_over, int *stays)
{
    client->answer[client->has] = 0;
    char *body = strstr(client->answer, "\r\n\r\n");
    if (!body)
        return NULL;
    char *length = strcasestr(client->answer, "\r\ncontent-length:");
    char *chunked = strcasestr(client->answer, "\r\ntransfer-encoding: chunked");
    size_t here = client->has - (size_t)(body + 4 - client->answer);
    if (length && length < body) {
        if (here < strtoul(length + 17, NULL, 10))
            return NULL;
    } else if (chunked && chunked < body) {
        if (!strstr(body, "\r\n0\r\n\r\n"))
            return NULL;
    } else if (!is_over)
        return NULL;
    char *closes = strcasestr(client->answer, "\r\nconnection: close");
    *stays = !is_over && (is_new || !closes || closes > body);
    return client->answer[9] == '2' ? "ok" : client->answer[9] == '5' ? "5xx" : "other";
}

static void receive(struct client *client)
{
    while (client->state == WAITING) {
        ssize_t got = recv(client->fd, client->answer + client->has,
                           sizeof client->answer - 1 - client->has, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got < 0) {
            ended(client, "reset", 0);
            return;
        }
        client->has += (size_t)got;
        int stays = 0;
        const char *how = judged(client, !got, &stays);
        if (how)
            ended(client, how, stays);
        else if (!got)
            ended(client, client->has ? "cut" : "no_answer", 0);
    }
}

static void on_event(const struct epoll_event *event)
{
    struct client *client = &clients[(uint32_t)event->data.u64];
    if (client->turn != event->data.u64 >> 32)
        return;
    if (client->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error)
            ended(client, error == ECONNREFUSED ? "refused" : "reset", 0);
        else
            ask(client);  // what has come already brings another event
    } else if (client->state == WAITING && event->events & ~(uint32_t)EPOLLOUT)
        receive(client);
    if (client->turn != event->data.u64 >> 32 || !(event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        return;
    if (client->state == PARTING) {
        part(client);
        rest(client);
    } else if (client->state == IDLE) {
        part(client);  // it keeps its place among those that rest
        client->state = APART;
    }
}

static void run(int timed)
{
    struct epoll_event events[256];
    int64_t give_up = (end_us ? end_us : requests[timed - 1].due) + PATIENCE_US;
    for (int next = 0; next < timed || answered < begun;) {
        int64_t now = now_us();
        if (now > give_up)
            return;
        if (next < timed && requests[next].due <= now) {
            begun += !end_us;
            begin(next++);
            continue;
        }
        int64_t left = (next < timed ? requests[next].due : give_up) - now;
        struct timespec until = {left / 1000000, left % 1000000 * 1000};
        struct pollfd poll = {.fd = epoll, .events = POLLIN};
        ppoll(&poll, 1, &until, NULL);  // epoll_wait(2) knows whole milliseconds alone
        int count = epoll_wait(epoll, events, 256, 0);
        for (int i = 0; i < count; i++)
            on_event(&events[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1);
    // Clients have processors of their own elsewhere: where it may, it never waits for one
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
    server.sin_family = AF_INET;
    server.sin_port = htons((uint16_t)atoi(argv[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_new = !strcmp(argv[2], "new");
    end_us = atoll(argv[4]);
    for (int i = 0; i < (is_new ? MOST_CLIENTS : atoi(argv[3])); i++) {
        clients[i].fd = -1;
        rest(&clients[i]);
    }
    while (asked < MOST_REQUESTS
           && scanf("%ld %7s", &requests[asked].due, requests[asked].path) == 2)
        asked++;
    int timed = end_us && asked > atoi(argv[3]) ? atoi(argv[3]) : asked;
    begun = end_us ? timed : 0;
    if (!timed || (epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        return 2;
    start = now_us();
    run(timed);
    for (int i = 0; i < begun; i++) {
        struct request *it = &requests[i];
        int64_t until = it->ended ? it->ended : now_us(), sent = it->begun ? it->begun : until;
        printf("%ld %ld %ld %s %s\n", it->due, sent - it->due, until - it->due, it->path,
               it->how ? it->how : "timeout");
    }
    return 0;
}

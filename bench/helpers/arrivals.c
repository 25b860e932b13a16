/* HTTP requests that begin when they are due, however long the answers to earlier ones take: a
 * client that waits for an answer before it asks again slows down with the server, and never sees
 * the queue that others stand in.
 *
 *     arrivals PORT[,PORT...] new|kept CLIENTS END_US < SCHEDULE > OUTCOMES
 *
 * A line of the schedule, a request, is "DUE_US WHERE PATH", WHERE being 0 for the first port. Where
 * DUE_US falls a new slice begins: as soon as all before have ended; its clock is 0 then. So several
 * servers take short turns, and none has the last one's work beside it.
 *
 * With END_US, not 0, only the first CLIENTS are due as they say; each later one is due as soon as
 * an earlier one has ended, until END_US: saturation.
 *
 * "new" makes a connection for each request. "kept" has CLIENTS connections to each port, made as
 * they are first needed; a request takes the one that has rested longest, and waits if all are in
 * use. Nothing is sent twice. Outcomes come in the order of the schedule, up to the first that was
 * not begun: "DUE_US LATE_US TOOK_US HOW". LATE is how much later than due the request was begun
 * (connect(2) or send(2)), TOOK counts from when it was due. */
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

enum { MOST_PORTS = 8, MOST_CLIENTS = 20000, MOST_REQUESTS = 200000, PATIENCE_US = 5000000 };
enum { APART, CONNECTING, WAITING, IDLE, PARTING };

struct request {
    int64_t due, begun, ended;  // microseconds since the start; 0: not yet
    int where;
    char path[8];
    const char *how;
};

struct client {
    int fd, state, request, where;
    uint32_t turn;  // tells an event for an earlier connection of this client from one for this
    size_t has;
    char answer[2048];
};

struct ring {
    unsigned first, size;
    int *members, room;
};

static struct request requests[MOST_REQUESTS];
static struct client clients[MOST_PORTS * MOST_CLIENTS];
static struct ring resting[MOST_PORTS], queues[MOST_PORTS];  // clients; requests that wait for one
static struct sockaddr_in servers[MOST_PORTS];
static int asked, begun, answered, is_new, epoll;
static int64_t start, end_us;

static void put(struct ring *ring, int member)
{
    ring->members[(ring->first + ring->size++) % (unsigned)ring->room] = member;
}

static int take(struct ring *ring)
{
    ring->size--;
    return ring->members[ring->first++ % (unsigned)ring->room];
}

static int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000) + now.tv_nsec / 1000 - start;
}

static void rest(struct client *client)
{
    client->state = client->fd < 0 ? APART : IDLE;
    put(&resting[client->where], (int)(client - clients));
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
    } else if (queues[client->where].size && resting[client->where].size)
        begin(take(&queues[client->where]));
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
    int where = requests[number].where;
    if (!resting[where].size) {
        put(&queues[where], number);
        return;
    }
    struct client *client = &clients[take(&resting[where])];
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
    if (connect(client->fd, (struct sockaddr *)&servers[where], sizeof servers[where]) && errno != EINPROGRESS) {
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

// Go through one slice: the requests from `next` to `timed`, and at saturation those after it. 0: one
// was not answered.
static int slice(int next, int timed)
{
    struct epoll_event events[256];
    int64_t give_up = (end_us ? end_us : requests[timed - 1].due) + PATIENCE_US;
    while (next < timed || answered < begun) {
        int64_t now = now_us();
        if (now > give_up)
            return 0;
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
    return 1;
}

static void run(int count)
{
    if (end_us) {
        begun = asked < count ? asked : count;
        start += now_us();
        slice(0, begun);
        return;
    }
    for (int first = 0, next; first < asked; first = next) {
        for (next = first + 1; next < asked && requests[next].due >= requests[next - 1].due;)
            next++;
        start += now_us();
        if (!slice(first, next))
            return;
    }
}

static void prepare(char *ports, int count)
{
    int where = 0;
    for (char *port = strtok(ports, ","); port && where < MOST_PORTS; port = strtok(NULL, ",")) {
        servers[where].sin_family = AF_INET;
        servers[where].sin_port = htons((uint16_t)atoi(port));
        servers[where].sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        resting[where].room = MOST_CLIENTS;
        queues[where].room = MOST_REQUESTS;
        resting[where].members = calloc(MOST_CLIENTS, sizeof(int));
        queues[where].members = calloc(MOST_REQUESTS, sizeof(int));
        for (int i = 0; i < count; i++) {
            struct client *client = &clients[where * MOST_CLIENTS + i];
            client->fd = -1;
            client->where = where;
            rest(client);
        }
        where++;
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
    is_new = !strcmp(argv[2], "new");
    end_us = atoll(argv[4]);
    prepare(argv[1], is_new ? MOST_CLIENTS : atoi(argv[3]));
    struct request *it = requests;
    while (asked < MOST_REQUESTS && scanf("%ld %d %7s", &it->due, &it->where, it->path) == 3)
        it = &requests[++asked];
    if (!asked || (epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        return 2;
    run(atoi(argv[3]));
    for (it = requests; it < requests + begun; it++) {
        int64_t until = it->ended ? it->ended : now_us(), sent = it->begun ? it->begun : until;
        printf("%ld %ld %ld %s\n", it->due, sent - it->due, until - it->due,
               it->how ? it->how : "timeout");
    }
    return 0;
}

/* A worker for images that have nothing: serves on fd 3, and is asked for its tricks by path.
 *
 *   /         its pid                       /crash  ends with 3, unanswered
 *   /hog      takes memory until killed     /orphan leaves a child behind, which ends at once
 *   /sleep/N  its pid, N seconds later
 *
 * After a TERM it empties the accept queue, then ends with 0. It is linked in two ways: statically,
 * for images without a C library, and against the image's own. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LISTENER = 3, MEGABYTE = 1 << 20 };

static volatile sig_atomic_t is_asked_to_stop;

static void stop(int number)
{
    (void)number;
    is_asked_to_stop = 1;
}

static void answer(int connection)
{
    char request[4096], body[64], text[256];
    unsigned int seconds;
    ssize_t length = read(connection, request, sizeof request - 1);

    if (length <= 0)
        return;
    request[length] = 0;
    if (strstr(request, "GET /crash "))
        _exit(3);
    if (strstr(request, "GET /hog "))
        for (;;)
            memset(malloc(MEGABYTE), 1, MEGABYTE);
    if (strstr(request, "GET /orphan ") && fork() == 0) {
        if (fork() == 0)
            usleep(100000); /* outlives its parent */
        _exit(0);
    }
    if (sscanf(request, "GET /sleep/%u ", &seconds) == 1)
        sleep(seconds);
    snprintf(body, sizeof body, "%d\n", getpid());
    length = snprintf(text, sizeof text,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    (void)!write(connection, text, length);
}

int main(void)
{
    struct pollfd ready = {.fd = LISTENER, .events = POLLIN};
    struct sigaction action = {.sa_handler = stop};
    const struct timespec no_time = {0, 0};
    sigset_t term, before;

    /* TERM is taken during ppoll alone, so that it is never missed on the way there. */
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, &before);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGCHLD, SIG_IGN);
    /* The socket is shared: where another worker is quicker, accept must not wait. */
    fcntl(LISTENER, F_SETFL, fcntl(LISTENER, F_GETFL) | O_NONBLOCK);
    for (;;) {
        int found = ppoll(&ready, 1, is_asked_to_stop ? &no_time : NULL, &before);
        if (found == 0)
            return 0;
        int connection = found < 0 ? -1 : accept4(LISTENER, NULL, NULL, SOCK_CLOEXEC);
        if (connection < 0)
            continue;
        answer(connection);
        close(connection);
    }
}

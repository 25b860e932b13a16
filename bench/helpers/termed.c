/* A worker that says when its SIGTERM came: a line of its generation and of CLOCK_MONOTONIC's
 * nanoseconds on stdout, then it ends. It waits for a client on descriptor 3, which shows that
 * it is ready.
 *
 *   termed           does just that
 *   termed slow      from generation 2 on it waits for the signal alone: it is not ready yet
 *   termed lingers   in generation 1 it stays for a second after its SIGTERM */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct timespec came;

static void note(int number)
{
    (void)number;
    clock_gettime(CLOCK_MONOTONIC, &came);
}

int main(int argc, char **argv)
{
    const char *role = argc > 1 ? argv[1] : "";
    const char *generation = getenv("SRVINIT_GENERATION");
    int is_first = generation == NULL || atoi(generation) == 1;
    struct sigaction action = {.sa_handler = note};
    struct pollfd listener = {.fd = 3, .events = POLLIN};
    sigset_t waited, other;
    char line[64];

    sigaction(SIGTERM, &action, NULL);
    sigemptyset(&waited);
    sigaddset(&waited, SIGTERM);
    sigprocmask(SIG_BLOCK, &waited, &other);
    if (is_first || strcmp(role, "slow") != 0)
        ppoll(&listener, 1, NULL, &other); /* nobody connects: its end is the signal's doing */
    else
        sigsuspend(&other);
    int length = snprintf(line, sizeof line, "%d %lld\n", is_first ? 1 : 2,
                          came.tv_sec * 1000000000LL + came.tv_nsec);
    if (write(1, line, length) != length)
        return 1;
    if (is_first && strcmp(role, "lingers") == 0)
        sleep(1);
    return 0;
}

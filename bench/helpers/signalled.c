/* How long is a signal on its way through a supervisor? Two roles:
 *
 *   signalled                      (the worker) answers each SIGUSR1 with one byte on stdout
 *   signalled PID COUNT PAUSE_US   signals PID, waits for the byte on stdin, writes nanoseconds
 *
 * The way back over the pipe is the same for all supervisors, and in every figure. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int answer(void)
{
    sigset_t taken;
    int number;

    sigemptyset(&taken);
    sigaddset(&taken, SIGUSR1);
    sigprocmask(SIG_BLOCK, &taken, NULL);
    do
        if (write(1, ".", 1) != 1)  /* the first byte says that the worker is there */
            return 1;
    while (sigwait(&taken, &number) == 0);
    return 1;
}

int main(int argc, char **argv)
{
    char byte;

    if (argc < 4)
        return answer();
    int pid = atoi(argv[1]), count = atoi(argv[2]), pause_us = atoi(argv[3]);
    for (int i = 0; i < count; i++) {
        usleep(pause_us);
        long long sent = now();
        if (kill(pid, SIGUSR1) != 0 || read(0, &byte, 1) != 1)
            return 1;
        printf("%lld\n", now() - sent);
    }
    return 0;
}

/* When does the worker run? Two roles, for two ends of one way:
 *
 *   clock COMMAND...   writes the time to stdout and becomes COMMAND
 *   clock              (the worker) writes the time to stdout and ends
 *
 * Static, so that a dynamic loader's time is in nobody's figure. Lines are nanoseconds of
 * CLOCK_MONOTONIC, which all processes share. */
#include <stdio.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct timespec now;
    char line[32];

    clock_gettime(CLOCK_MONOTONIC, &now);
    int length = snprintf(line, sizeof line, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    if (write(1, line, length) != length)
        return 1;
    if (argc == 1)
        return 0;
    execvp(argv[1], argv + 1);
    return 127;
}

/* A storm of orphans: how fast does PID 1 reap them, and how many lie unreaped meanwhile?
 *
 *   storm COUNT   (the worker of PID 1 of a namespace) makes COUNT orphans and waits for their end
 *
 * vfork twice: the grandchild ends at once, its parent right after it, so PID 1 adopts a zombie.
 * Writes one line: seconds until all were reaped, the most that were seen unreaped, the seconds
 * of CPU that PID 1 took for it. */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_EVERY = 256, SETTLE_US = 200 };

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

/* All processes of the namespace: PID 1, this one, and what is not reaped. */
static int processes(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    int count = 0;

    while (proc && (entry = readdir(proc)))
        count += isdigit((unsigned char)entry->d_name[0]) != 0;
    closedir(proc);
    return count;
}

/* The time PID 1 was on a CPU, in seconds: the first number of schedstat (proc(5)). */
static double cpu_of_init(void)
{
    FILE *file = fopen("/proc/1/schedstat", "r");
    long long ns = 0;

    if (!file || fscanf(file, "%lld", &ns) != 1)
        return -1;
    fclose(file);
    return ns / 1e9;
}

static void make_orphan(void)
{
    pid_t child = vfork();

    if (child == 0) {
        pid_t grandchild = vfork();
        _exit(grandchild < 0);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 1000, most = 0;
    int at_first = processes();
    double began = now(), cpu = cpu_of_init();

    for (int i = 1; i <= count; i++) {
        make_orphan();
        if (i % LOOK_EVERY == 0) {
            int unreaped = processes() - at_first;
            most = unreaped > most ? unreaped : most;
        }
    }
    while (processes() > at_first)
        usleep(SETTLE_US);
    printf("%.6f %d %.6f\n", now() - began, most, cpu_of_init() - cpu);
    return 0;
}

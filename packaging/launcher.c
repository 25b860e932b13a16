/* /opt/srvinit/srvinit and srvinitctl: make the frozen program start clean, and at once.
 *
 *   1. Block the signals. A TERM that comes before Python can take it in would kill srvinit, or be
 *      dropped where srvinit is PID 1; blocked, it waits (signal(7)). _SRVINIT_FOUND tells what
 *      workers get back: the mask, and which signals were ignored, of which Python keeps no trace.
 *   2. Hide from the loader, the C library and Python what is meant for the workers: a LD_PRELOAD
 *      made for the image's C library would keep ours from starting. Hidden is renamed, with
 *      _SRVINIT_KEPT_ in front; packaging/start.py undoes it.
 *   3. Exec the bundle's Python, bootloader.c, which tells by argv[0] which program it shall be.
 *
 * Linked statically: it must run where there is no C library, and before the bundle's own.
 * Raw system calls for signals, since a C library keeps some of them to itself. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PROGRAM PREFIX "/_internal/srvinit"
#define CALLED PREFIX "/_internal/" NAME /* tells the program which of its two names it has */
#define KEPT "_SRVINIT_KEPT_"
#define FOUND "_SRVINIT_FOUND="
#define ADDED 1 /* found */
#define BIT(number) (UINT64_C(1) << ((number) - 1))

/* As kernel/signals.py has it: faults must act at once; PIPE and XFSZ are ignored by Python. */
static const uint64_t LEFT_ALONE = BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL)
    | BIT(SIGTRAP) | BIT(SIGSYS) | BIT(SIGABRT) | BIT(SIGPIPE) | BIT(SIGXFSZ);

/* Obeyed by ld.so, by the C library (malloc, resolver; locales would be read from the image, which
 * has another library's), and by Python. */
static const char *const OBEYED[] = {
    "LD_", "GLIBC_TUNABLES=", "MALLOC_", "LOCALDOMAIN=", "RES_OPTIONS=", "HOSTALIASES=",
    "LANG=", "LANGUAGE=", "LC_", "LOCPATH=", "GCONV_PATH=", "NLSPATH=",
    "PYTHON",
};

static int is_obeyed(const char *entry)
{
    for (size_t i = 0; i < sizeof OBEYED / sizeof *OBEYED; i++)
        if (strncmp(entry, OBEYED[i], strlen(OBEYED[i])) == 0)
            return 1;
    return 0;
}

static uint64_t ignored(void)
{
    uint64_t found = 0;
    struct sigaction old;

    for (int number = 1; number < 32; number++)
        if (sigaction(number, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            found |= BIT(number);
    return found;
}

static char *put_bits(char *to, uint64_t bits)
{
    for (int shift = 60; shift >= 0; shift -= 4)
        *to++ = "0123456789abcdef"[bits >> shift & 15];
    return to;
}

int main(int argc, char **argv, char **given)
{
    static const char refused[] = NAME ": cannot execute " PROGRAM
        ": the bundle works at " PREFIX " alone\n";
    static char found[] = FOUND "................ ................";
    uint64_t wanted = ~LEFT_ALONE, before = 0;
    size_t count = 0, kept_bytes = 0, used = 0;

    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &wanted, &before, sizeof before);
    put_bits(put_bits(found + strlen(FOUND), before) + 1, ignored());

    for (; given[count]; count++)
        if (is_obeyed(given[count]))
            kept_bytes += sizeof KEPT + strlen(given[count]);

    char *environment[count + ADDED + 1];
    char kept[kept_bytes + 1], *next = kept;
    for (size_t i = 0; i < count; i++) {
        if (strncmp(given[i], FOUND, strlen(FOUND)) == 0)
            continue;
        environment[used] = given[i];
        if (is_obeyed(given[i])) {
            environment[used] = next;
            memcpy(next, KEPT, strlen(KEPT));
            next = stpcpy(next + strlen(KEPT), given[i]) + 1;
        }
        used++;
    }
    environment[used++] = found;
    environment[used] = NULL;

    if (argc > 0)
        argv[0] = CALLED;
    execve(PROGRAM, argc > 0 ? argv : (char *[]){CALLED, NULL}, environment);
    (void)!write(STDERR_FILENO, refused, sizeof refused - 1);
    return 126;
}

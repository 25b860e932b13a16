/* A worker that counts itself, a byte in the file argv[1], and crashes; it stays if argv[2] is there. */
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int fd = argc > 2 ? open(argv[1], O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;

    if (fd < 0 || write(fd, ".", 1) != 1)
        return 2;
    if (access(argv[2], F_OK) == 0)
        pause();
    return 1;
}

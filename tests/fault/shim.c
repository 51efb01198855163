/*
 * A disk that fails on demand: preloaded into the service, it stands before the calls that write and sync the journal's
 * segments ("…/journal/<digits>.jsonl") and lets the test, through one shared file, fail or delay them. It also notes how
 * far a segment is really synced, so that a test can cut off what a power loss would take; and it can hold up every call
 * on the index's files ("…/index/…", but not the filters beside it, which are the ledger's own), or on those of detection's
 * state that is not in memory ("…/state/spill-…").
 *
 * Build: cc -O1 -shared -fPIC -o shim.so shim.c -ldl      Use: LD_PRELOAD=shim.so FAULT_CONTROL=<file of 104 zero bytes>
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, TRUNCATE = 4, PATH_BYTES = 4096 };

/* The same order and widths as in support/shim.rs. */
struct control {
    int64_t kinds;          /* which calls count: WRITE | SYNC | TRUNCATE; 0 = none */
    int64_t nth;            /* the first counted call that fails, from 1 */
    int64_t times;          /* how many fail */
    int64_t error;          /* with this errno */
    int64_t half;           /* 1: the first of them writes half of its bytes instead */
    int64_t delay_ms;       /* every sync takes this much longer */
    int64_t counted;        /* calls counted since armed */
    int64_t fired;          /* calls failed or cut since armed */
    int64_t writes;         /* all journal writes */
    int64_t syncs;          /* all journal syncs that returned 0 */
    int64_t synced_segment; /* first seq of the segment synced last */
    int64_t synced_bytes;   /* and how far */
    int64_t hang;           /* calls on the index's files (1) or on spilled state (2) wait until it is 0 again */
};

static volatile struct control *control;

__attribute__((constructor)) static void set_up(void) {
    const char *path = getenv("FAULT_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED)
        control = map;
}

/* Where a descriptor leads; 0 when that is not known or not asked for. */
static int path_of(int fd, char path[PATH_BYTES]) {
    char link[64];
    if (!control)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_BYTES - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return 1;
}

static void pause_ms(int64_t ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* Holds up a call on one of the files that hang for as long as the test says. */
static void wait_for_it(int fd) {
    char path[PATH_BYTES];
    int64_t hang = control ? control->hang : 0;
    if (!hang || !path_of(fd, path))
        return;
    int index = strstr(path, "/index/") && !strstr(path, "/filters");
    if (hang == 1 ? index : strstr(path, "/state/spill-") != NULL)
        while (control->hang == hang)
            pause_ms(5);
}

/* The first seq in the name of a journal segment; -1 for any other file. */
static int64_t segment(int fd) {
    char path[PATH_BYTES];
    if (!path_of(fd, path))
        return -1;
    char *name = strrchr(path, '/');
    if (!name || name - path < 8 || strncmp(name - 8, "/journal", 8) != 0)
        return -1;
    char *end;
    long long first = strtoll(name + 1, &end, 10);
    return end - name == 21 && strcmp(end, ".jsonl") == 0 ? first : -1;
}

/* 0 = go on, 1 = fail, 2 = write half. */
static int fate(int kind) {
    if (!(control->kinds & kind))
        return 0;
    int64_t number = __atomic_add_fetch(&control->counted, 1, __ATOMIC_SEQ_CST);
    if (number < control->nth || number - control->nth >= control->times)
        return 0;
    __atomic_add_fetch(&control->fired, 1, __ATOMIC_SEQ_CST);
    if (control->half && number == control->nth)
        return 2;
    errno = (int)control->error;
    return 1;
}

static int fate_of_write(int fd) {
    wait_for_it(fd);
    if (segment(fd) < 0)
        return 0;
    __atomic_add_fetch(&control->writes, 1, __ATOMIC_SEQ_CST);
    return fate(WRITE);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
    int what = fate_of_write(fd);
    return what == 1 ? -1 : REAL(write)(fd, data, what == 2 ? (size + 1) / 2 : size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    int what = fate_of_write(fd);
    return what == 1 ? -1 : REAL(pwrite)(fd, data, what == 2 ? (size + 1) / 2 : size, at);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    int what = fate_of_write(fd);
    return what == 1 ? -1 : REAL(pwrite64)(fd, data, what == 2 ? (size + 1) / 2 : size, at);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    int what = fate_of_write(fd);
    if (what == 2) /* half of the first part */
        return REAL(write)(fd, parts[0].iov_base, (parts[0].iov_len + 1) / 2);
    return what == 1 ? -1 : REAL(writev)(fd, parts, count);
}

static int synced(int fd, int (*real)(int)) {
    wait_for_it(fd);
    int64_t first = segment(fd);
    struct stat before;
    if (first < 0)
        return real(fd);
    if (control->delay_ms > 0)
        pause_ms(control->delay_ms);
    /* What the kernel does after a failed sync is to forget that the pages were dirty: nothing is written. */
    if (fate(SYNC) || fstat(fd, &before) != 0)
        return -1;
    int result = real(fd);
    if (result == 0) {
        control->synced_segment = first;
        control->synced_bytes = before.st_size;
        __atomic_add_fetch(&control->syncs, 1, __ATOMIC_SEQ_CST);
    }
    return result;
}

int fdatasync(int fd) { return synced(fd, REAL(fdatasync)); }

int fsync(int fd) { return synced(fd, REAL(fsync)); }

int ftruncate(int fd, off_t size) { return segment(fd) >= 0 && fate(TRUNCATE) ? -1 : REAL(ftruncate)(fd, size); }

int ftruncate64(int fd, off64_t size) { return segment(fd) >= 0 && fate(TRUNCATE) ? -1 : REAL(ftruncate64)(fd, size); }

ssize_t read(int fd, void *data, size_t size) {
    wait_for_it(fd);
    return REAL(read)(fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    wait_for_it(fd);
    return REAL(pread64)(fd, data, size, at);
}

int sync_file_range(int fd, off64_t at, off64_t size, unsigned int flags) {
    wait_for_it(fd);
    return REAL(sync_file_range)(fd, at, size, flags);
}

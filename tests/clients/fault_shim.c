/* A library between a process and its disk and wall clock, for LD_PRELOAD. FAULT_CONTROL names a file with a `struct control`, which
 * is mapped: what is written there holds from the next call on. For tests of what a process does about a disk that fails and a clock
 * that steps. CLOCK_BOOTTIME and CLOCK_MONOTONIC are left alone.
 *
 * Disk, for files whose path begins with `under`:
 *   GOOD       all is passed on
 *   FAILING    writing fails with EIO; what was written before can be made durable
 *   READ_ONLY  writing, making and renaming fail with EROFS
 *   SHORT      a write takes half of what it is given
 *   LOSING     writes succeed and are gone, as when the kernel drops pages it could not write; making them durable fails with EIO
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { GOOD, FAILING, READ_ONLY, SHORT, LOSING };

struct control {
    int64_t step;       /* seconds on top of CLOCK_REALTIME */
    uint64_t disk;      /* one of the above */
    uint64_t struck;    /* calls that failed, were cut or lost */
    uint64_t misled;    /* readings of the clock that were off */
    char under[480];
};

static struct control *control;

__attribute__((constructor)) static void map(void) {
    const char *path = getenv("FAULT_CONTROL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *at = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (at != MAP_FAILED) control = at;
}

static uint64_t disk(void) {
    return control ? __atomic_load_n(&control->disk, __ATOMIC_ACQUIRE) : GOOD;
}

static int is_under(const char *path) {
    size_t length = strnlen(control->under, sizeof control->under);
    return length && !strncmp(path, control->under, length);
}

static void count(uint64_t *counter) {
    __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

/* What happens to a descriptor's file: GOOD unless it lies under the directory. */
static uint64_t of_file(int file) {
    uint64_t now = disk();
    if (now == GOOD) return GOOD;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return GOOD;
    path[length] = 0;
    return is_under(path) ? now : GOOD;
}

static uint64_t of_path(const char *path) {
    uint64_t now = disk();
    return now != GOOD && is_under(path) ? now : GOOD;
}

/* Whether a write fails; *length is what is left of it. */
static int strikes(int file, size_t *length) {
    switch (of_file(file)) {
    case FAILING: errno = EIO; break;
    case READ_ONLY: errno = EROFS; break;
    case SHORT:
        if (*length > 1) {
            *length /= 2;
            count(&control->struck);
        }
        return 0;
    default: return 0;
    }
    count(&control->struck);
    return 1;
}

static int loses(int file) {
    if (of_file(file) != LOSING) return 0;
    count(&control->struck);
    return 1;
}

ssize_t write(int file, const void *bytes, size_t length) {
    if (loses(file)) return length;
    if (strikes(file, &length)) return -1;
    return syscall(SYS_write, file, bytes, length);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset) {
    if (loses(file)) return length;
    if (strikes(file, &length)) return -1;
    return syscall(SYS_pwrite64, file, bytes, length, offset);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset) {
    return pwrite64(file, bytes, length, offset);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    /* A short one is a write of the first part. */
    if (count > 0 && of_file(file) != GOOD) return write(file, parts[0].iov_base, parts[0].iov_len);
    return syscall(SYS_writev, file, parts, count);
}

int ftruncate64(int file, off64_t length) {
    size_t whole = 1;
    if (loses(file)) return 0;
    if (strikes(file, &whole)) return -1;
    return syscall(SYS_ftruncate, file, length);
}

int ftruncate(int file, off_t length) {
    return ftruncate64(file, length);
}

int fsync(int file) {
    if (loses(file)) return errno = EIO, -1;
    return syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    if (loses(file)) return errno = EIO, -1;
    return syscall(SYS_fdatasync, file);
}

static int refuses(const char *path) {
    if (of_path(path) != READ_ONLY) return 0;
    count(&control->struck);
    errno = EROFS;
    return 1;
}

static int open_at(int at, const char *path, int flags, va_list rest) {
    int mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, int) : 0;
    if (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) && refuses(path)) return -1;
    return syscall(SYS_openat, at, path, flags, mode);
}

#define OPENS(at)                                                                                                                          \
    {                                                                                                                                      \
        va_list rest;                                                                                                                      \
        va_start(rest, flags);                                                                                                             \
        int file = open_at(at, path, flags, rest);                                                                                     \
        va_end(rest);                                                                                                                      \
        return file;                                                                                                                       \
    }

int open(const char *path, int flags, ...) OPENS(AT_FDCWD)
int open64(const char *path, int flags, ...) OPENS(AT_FDCWD)
int openat(int at, const char *path, int flags, ...) OPENS(at)
int openat64(int at, const char *path, int flags, ...) OPENS(at)

int rename(const char *from, const char *to) {
    return refuses(from) ? -1 : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlink(const char *path) {
    return refuses(path) ? -1 : syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

int mkdir(const char *path, mode_t mode) {
    return refuses(path) ? -1 : syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

static int64_t step(void) {
    int64_t now = control ? __atomic_load_n(&control->step, __ATOMIC_ACQUIRE) : 0;
    if (now) count(&control->misled);
    return now;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real ? real(clock, time) : syscall(SYS_clock_gettime, clock, time);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += step();
    return result;
}

int gettimeofday(struct timeval *time, void *zone) {
    int result = syscall(SYS_gettimeofday, time, zone);
    if (!result) time->tv_sec += step();
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

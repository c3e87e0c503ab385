// Instead of what a C library asks its system for: there is none. The clock stands at the request's time, and what would be written to a
// terminal goes nowhere. With these no part of the library that imports WASI is linked.

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

extern uint64_t signet_clock;
extern bool signet_clock_asked;

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    signet_clock_asked = true;
    *time = (struct timeval){.tv_sec = (time_t)signet_clock};
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    signet_clock_asked = true;
    *time = (struct timespec){.tv_sec = (time_t)signet_clock};
    return 0;
}

// UTC: of the result only the offset is used.
struct tm *localtime_r(const time_t *restrict time, struct tm *restrict parts) {
    memset(parts, 0, sizeof *parts);
    return parts;
}

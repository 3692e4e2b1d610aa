/* How long freed memory is kept, before anything runs. `main.rs` says why. */

#include <malloc.h>
#include <mimalloc.h>

/* 1 s instead of 10 ms: longer than between two polls, and over before anybody looks at how much a process has. */
#define KEPT_MS 1000
/* 4 MiB: fetches of 1 MiB, with what they are unpacked to, come from the heap; larger ones are rare. */
#define MAPPED_FROM (4 << 20)
/* 32 MiB at the end of the heap: two rounds of fetches and what waits to be sent of them. */
#define TRIMMED_FROM (32 << 20)

__attribute__((constructor)) static void keep_freed_memory(void) {
        mi_option_set(mi_option_purge_delay, KEPT_MS);
#ifdef __GLIBC__
        mallopt(M_MMAP_THRESHOLD, MAPPED_FROM);
        mallopt(M_TRIM_THRESHOLD, TRIMMED_FROM);
#endif
}

/*
 * A stand-in for libcuda.so.1, for tests: one card whose memory is a number, shared by every process through the file
 * CUDA_STUB_LEDGER. What a process holds is free again once it has ended, as with a driver. After every change the
 * memory in use is written to NVML_STUB_STATE, so that the stand-in for libnvidia-ml shows the same card.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

typedef unsigned long long u64;

enum { SUCCESS = 0, OUT_OF_MEMORY = 2, NO_DEVICE = 100, OPERATING_SYSTEM = 304, HOLDERS = 64, BLOCKS = 4096 };

#define TOTAL (24ULL << 30)
#define CONTEXT (400ULL << 20)

struct holder { u64 pid, bytes; };
static u64 sizes[BLOCKS]; /* of this process's blocks, by address - 1 */

static void show(u64 used)
{
    const char *path = getenv("NVML_STUB_STATE");
    char fresh[512];
    snprintf(fresh, sizeof fresh, "%s.%d", path, (int)getpid());
    FILE *file = fopen(fresh, "w");
    if (!file)
        return;
    fprintf(file, "count=1\nlonguuid=1\nreserved.0=0\ntotal.0=%llu\nused.0=%llu\ngpu.0=0\n", TOTAL, used);
    fclose(file);
    rename(fresh, path);
}

/* Add delta to what this process holds if it fits; *used is then the card's memory in use. */
static int account(long long delta, u64 *used)
{
    struct holder held[HOLDERS] = {{0, 0}};
    int ledger = open(getenv("CUDA_STUB_LEDGER"), O_RDWR | O_CREAT, 0600), mine = -1, status = SUCCESS;
    if (ledger < 0 || flock(ledger, LOCK_EX))
        return OPERATING_SYSTEM;
    if (pread(ledger, held, sizeof held, 0) < 0)
        status = OPERATING_SYSTEM;
    *used = 0;
    for (int i = 0; i < HOLDERS; i++) {
        if (held[i].pid && kill((pid_t)held[i].pid, 0) && errno == ESRCH)
            held[i] = (struct holder){0, 0};
        if (held[i].pid == (u64)getpid() || (mine < 0 && !held[i].pid))
            mine = i;
        *used += held[i].bytes;
    }
    if (mine < 0)
        status = OPERATING_SYSTEM;
    else if (delta > 0 && *used + (u64)delta > TOTAL)
        status = OUT_OF_MEMORY;
    else if (!status) {
        held[mine] = (struct holder){(u64)getpid(), held[mine].bytes + (u64)delta};
        *used += (u64)delta;
        if (pwrite(ledger, held, sizeof held, 0) != sizeof held)
            status = OPERATING_SYSTEM;
        show(*used);
    }
    close(ledger);
    return status;
}

int cuInit(unsigned flags) { (void)flags; return SUCCESS; }
int cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }

int cuDeviceGetUuid(unsigned char *uuid, int device)
{
    static const unsigned char card[16] = {0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0};
    memcpy(uuid, card, sizeof card);
    return device ? NO_DEVICE : SUCCESS;
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{ u64 used; *context = &sizes; return device ? NO_DEVICE : account(CONTEXT, &used); }

int cuCtxSetCurrent(void *context) { return context == &sizes ? SUCCESS : NO_DEVICE; }

int cuDevicePrimaryCtxReset_v2(int device)
{
    u64 used, held = CONTEXT;
    for (int i = 0; i < BLOCKS; i++) {
        held += sizes[i];
        sizes[i] = 0;
    }
    return device ? NO_DEVICE : account(-(long long)held, &used);
}

int cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    u64 used;
    int status = account(0, &used);
    *total = TOTAL;
    *free_bytes = TOTAL - used;
    return status;
}

int cuMemAlloc_v2(u64 *address, size_t bytes)
{
    u64 used;
    int status;
    for (int i = 0; i < BLOCKS; i++)
        if (!sizes[i]) {
            if (!(status = account((long long)bytes, &used))) {
                sizes[i] = bytes;
                *address = (u64)i + 1;
            }
            return status;
        }
    return OUT_OF_MEMORY;
}

int cuMemFree_v2(u64 address)
{
    u64 used, bytes = sizes[address - 1];
    sizes[address - 1] = 0;
    return account(-(long long)bytes, &used);
}

/*
 * Fake cards for tests: libcuda.so.1 and libnvidia-ml.so.1 in one, over a ledger of memory that all processes share.
 *
 * The ledger is a file named by CARD_STUB_LEDGER, made by tests/fake_cards.py. It says how large the cards are and who
 * holds what of them; what a process held is free when the process is gone, as with a real driver. CUDA counts the cards
 * in the other direction than NVML, as it may. A ledger that says "hang" makes every call hang.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;

enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, NVML_INVALID = 2, NVML_INSUFFICIENT_SIZE = 7, NVML_DRIVER_NOT_LOADED = 9 };
enum { SLOTS = 4096, CONTEXT = -1 };

struct slot { u32 pid, card; u64 bytes; long long pointer; };
struct ledger { u32 cards, hang, integrated, exclusive; u64 total, context, next; struct slot slots[SLOTS]; };

static struct ledger *ledger;
static int file = -1;
static int current = -1; /* the card whose context is current */

static int enter(void)
{
    if (!ledger) {
        const char *path = getenv("CARD_STUB_LEDGER");
        file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        if (file < 0)
            return 0;
        ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    }
    while (ledger->hang)
        usleep(20000);
    flock(file, LOCK_EX);
    for (int i = 0; i < SLOTS; i++)
        if (ledger->slots[i].pid && kill((pid_t)ledger->slots[i].pid, 0) && errno == ESRCH)
            ledger->slots[i].pid = 0;
    return 1;
}

static int leave(int status) { flock(file, LOCK_UN); return status; }

static u64 used(u32 card)
{
    u64 sum = 0;
    for (int i = 0; i < SLOTS; i++)
        if (ledger->slots[i].pid && ledger->slots[i].card == card)
            sum += ledger->slots[i].bytes;
    return sum;
}

static struct slot *find(u32 card, long long pointer)
{
    for (int i = 0; i < SLOTS; i++)
        if (ledger->slots[i].pid == (u32)getpid() && ledger->slots[i].card == card && ledger->slots[i].pointer == pointer)
            return &ledger->slots[i];
    return NULL;
}

static int take(u32 card, u64 bytes, long long pointer)
{
    if (bytes > ledger->total - used(card))
        return OUT_OF_MEMORY;
    for (int i = 0; i < SLOTS; i++)
        if (!ledger->slots[i].pid) {
            ledger->slots[i] = (struct slot){ (u32)getpid(), card, bytes, pointer };
            return OK;
        }
    return OUT_OF_MEMORY;
}

/* --- CUDA; a device's handle is its number as NVML counts --- */

int cuInit(u32 flags) { (void)flags; return enter() ? leave(OK) : NO_DEVICE; }
int cuDeviceGetCount(int *count) { enter(); *count = (int)ledger->cards; return leave(OK); }

int cuDeviceGet(int *device, int ordinal)
{
    enter();
    *device = (int)ledger->cards - 1 - ordinal;
    return leave(*device < 0 ? INVALID : OK);
}

int cuDeviceGetUuid_v2(unsigned char *uuid, int device)
{
    memset(uuid, 0, 16);
    uuid[0] = 0xfa;
    uuid[1] = 0xce;
    uuid[15] = (unsigned char)device;
    return OK;
}

int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    (void)device;
    enter();
    *value = attribute == 18 ? (int)ledger->integrated : attribute == 20 ? (int)ledger->exclusive : 0;
    return leave(OK);
}

int cuDevicePrimaryCtxRetain(void **context, int device)
{
    enter();
    *context = (void *)(long)(device + 1);
    return leave(find((u32)device, CONTEXT) ? OK : take((u32)device, ledger->context, CONTEXT));
}

int cuDevicePrimaryCtxRelease_v2(int device)
{
    enter();
    for (int i = 0; i < SLOTS; i++)
        if (ledger->slots[i].pid == (u32)getpid() && ledger->slots[i].card == (u32)device)
            ledger->slots[i].pid = 0;
    return leave(OK);
}

int cuCtxSetCurrent(void *context) { current = (int)(long)context - 1; return OK; }

int cuMemGetInfo_v2(size_t *free_bytes, size_t *total)
{
    enter();
    *total = ledger->total;
    *free_bytes = ledger->total - used((u32)current);
    return leave(OK);
}

int cuMemAlloc_v2(u64 *pointer, size_t bytes)
{
    enter();
    u64 rounded = (bytes + (2 << 20) - 1) >> 21 << 21; /* in steps of 2 MiB, as drivers do */
    long long next = (long long)++ledger->next;
    int status = take((u32)current, rounded, next);
    *pointer = status ? 0 : (u64)next;
    return leave(status);
}

int cuMemFree_v2(u64 pointer)
{
    enter();
    struct slot *slot = find((u32)current, (long long)pointer);
    if (slot)
        slot->pid = 0;
    return leave(slot ? OK : INVALID);
}

/* --- NVML; a handle is the card's number plus one --- */

#define CARD(handle) ((u32)((long)(handle)-1))

int nvmlInitWithFlags(u32 flags) { (void)flags; return enter() ? leave(OK) : NVML_DRIVER_NOT_LOADED; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "fake driver's error"; }
int nvmlSystemGetDriverVersion(char *text, u32 size) { snprintf(text, size, "0 (fake)"); return OK; }
int nvmlDeviceGetCount_v2(u32 *count) { enter(); *count = ledger->cards; return leave(OK); }
int nvmlDeviceGetHandleByIndex_v2(u32 index, void **handle) { *handle = (void *)(long)(index + 1); return OK; }
int nvmlDeviceGetName(void *handle, char *text, u32 size) { (void)handle; snprintf(text, size, "Fake Card"); return OK; }

int nvmlDeviceGetUUID(void *handle, char *text, u32 size)
{
    snprintf(text, size, "GPU-face0000-0000-0000-0000-%012x", CARD(handle));
    return OK;
}

struct memory_v2 { u32 version; u64 total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *m)
{
    enter();
    m->total = ledger->total;
    m->reserved = 0;
    m->used = used(CARD(handle));
    m->free = m->total - m->used;
    return leave(m->version == 0x02000028 ? OK : NVML_INVALID);
}

int nvmlDeviceGetUtilizationRates(void *handle, u32 *rates) { (void)handle; rates[0] = rates[1] = 0; return OK; }
int nvmlDeviceGetTemperature(void *handle, int sensor, u32 *value) { (void)handle, (void)sensor; *value = 36; return OK; }
int nvmlDeviceGetPowerUsage(void *handle, u32 *value) { (void)handle; *value = 75000; return OK; }
int nvmlDeviceGetClockInfo(void *handle, int kind, u32 *value) { (void)handle; *value = kind == 1 ? 345 : 0; return OK; }

struct process { u32 pid; u64 held; u32 gpu_instance, compute_instance; };

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, u32 *count, struct process *found)
{
    enter();
    u32 room = *count, here = 0;
    for (int i = 0; i < SLOTS; i++) {
        struct slot *context = &ledger->slots[i];
        if (!context->pid || context->card != CARD(handle) || context->pointer != CONTEXT)
            continue;
        if (here++ >= room)
            continue;
        found[here - 1] = (struct process){ context->pid, 0, 0, 0 };
        for (int j = 0; j < SLOTS; j++)
            if (ledger->slots[j].pid == context->pid && ledger->slots[j].card == context->card)
                found[here - 1].held += ledger->slots[j].bytes;
    }
    *count = here;
    return leave(here > room ? NVML_INSUFFICIENT_SIZE : OK);
}

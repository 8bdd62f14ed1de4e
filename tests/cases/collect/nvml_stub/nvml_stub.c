/*
 * A stand-in for libnvidia-ml.so.1, for tests: its state is a file of key=value lines, named by NVML_STUB_STATE and
 * read again at every call. Built by the test session; see tests/unit/collect/test_gpu_nvml.py. With
 * NVML_STUB_READ_ONCE=1 it is read once, so that a benchmark measures the reader and not this file.
 *
 *   count=2            cards
 *   init=9             what nvmlInitWithFlags returns
 *   lost=1             this card answers every call with "GPU is lost" (15)
 *   nohandle=1         this card's handle cannot be looked up either
 *   unsupported=NAME   this call is "not supported" (3); may stand several times
 *   hang=NAME          this call does not return while the line is there
 *   crash=NAME         this call ends the process
 *   KEY.N=VALUE        a reading of card N: total reserved used gpu mem temp limit power cap clock reasons ecc pid held
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;

enum { OK = 0, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, INVALID = 2, LOST = 15 };

/* The state file, with a zero at its end. */
static char *state(void)
{
    static __thread char text[1 << 16];
    static __thread int kept;
    const char *path = getenv("NVML_STUB_STATE"), *once = getenv("NVML_STUB_READ_ONCE");
    if (kept && once && *once == '1')
        return text;
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t size = file >= 0 ? read(file, text, sizeof text - 1) : 0;
    if (file >= 0)
        close(file);
    text[size > 0 ? size : 0] = 0;
    kept = 1;
    return text;
}

/* The value of the line "key=…", or fallback; with match, whether the line "key=match" is there. */
static u64 look(const char *key, const char *match, u64 fallback)
{
    u64 found = fallback;
    size_t length = strlen(key);
    for (const char *line = state(), *end; *line; line = *end ? end + 1 : end) {
        end = line + strcspn(line, "\n");
        if (strncmp(line, key, length) || line[length] != '=')
            continue;
        const char *value = line + length + 1;
        if (!match)
            found = strtoull(value, NULL, 0);
        else if ((size_t)(end - value) == strlen(match) && !strncmp(value, match, (size_t)(end - value)))
            found = 1;
    }
    return found;
}

static u64 reading(const char *key, long card, u64 fallback)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%ld", key, card);
    return look(name, NULL, fallback);
}

static int enter(const char *call, long card)
{
    char number[16];
    while (look("hang", call, 0))
        usleep(20000);
    if (look("crash", call, 0))
        abort();
    snprintf(number, sizeof number, "%ld", card);
    if (card >= 0 && look("lost", number, 0))
        return LOST;
    return look("unsupported", call, 0) ? NOT_SUPPORTED : OK;
}

#define CARD(handle) ((long)(handle) - 1)
#define ENTER(handle) int status = enter(__func__, CARD(handle)); if (status) return status

int nvmlInitWithFlags(u32 flags) { (void)flags; enter(__func__, -1); return (int)look("init", NULL, OK); }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { (void)code; return "stub error"; }
int nvmlSystemGetDriverVersion(char *text, u32 size) { snprintf(text, size, "570.148"); return OK; }
int nvmlDeviceGetCount_v2(u32 *count) { *count = (u32)look("count", NULL, 1); return enter(__func__, -1); }

int nvmlDeviceGetHandleByIndex_v2(u32 index, void **handle)
{
    char number[16];
    snprintf(number, sizeof number, "%u", index);
    *handle = (void *)(long)(index + 1);
    return look("nohandle", number, 0) ? LOST : OK;
}

int nvmlDeviceGetUUID(void *handle, char *text, u32 size)
{ ENTER(handle); snprintf(text, size, "GPU-%llu", reading("uuid", CARD(handle), (u64)CARD(handle))); return OK; }

int nvmlDeviceGetName(void *handle, char *text, u32 size)
{ ENTER(handle); snprintf(text, size, "Stub H200"); return OK; }

struct memory { u64 total, free, used; };
struct memory_v2 { u32 version; u64 total, reserved, free, used; };

int nvmlDeviceGetMemoryInfo(void *handle, struct memory *m)
{
    ENTER(handle);
    m->total = reading("total", CARD(handle), 80ULL << 30);
    m->used = reading("used", CARD(handle), 60ULL << 30) + reading("reserved", CARD(handle), 1ULL << 30);
    m->free = m->total - m->used;
    return OK;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *m)
{
    ENTER(handle);
    m->total = reading("total", CARD(handle), 80ULL << 30);
    m->used = reading("used", CARD(handle), 60ULL << 30);
    m->reserved = reading("reserved", CARD(handle), 1ULL << 30);
    m->free = m->total - m->used - m->reserved;
    return m->version == 0x02000028 ? OK : INVALID;
}

int nvmlDeviceGetUtilizationRates(void *handle, u32 *rates)
{ ENTER(handle); rates[0] = (u32)reading("gpu", CARD(handle), 90); rates[1] = (u32)reading("mem", CARD(handle), 40); return OK; }

int nvmlDeviceGetTemperature(void *handle, int sensor, u32 *value)
{ ENTER(handle); (void)sensor; *value = (u32)reading("temp", CARD(handle), 65); return OK; }

int nvmlDeviceGetTemperatureThreshold(void *handle, int kind, u32 *value)
{ ENTER(handle); *value = kind == 1 ? (u32)reading("limit", CARD(handle), 90) : 0; return OK; }

int nvmlDeviceGetPowerUsage(void *handle, u32 *value)
{ ENTER(handle); *value = (u32)reading("power", CARD(handle), 350000); return OK; }

int nvmlDeviceGetEnforcedPowerLimit(void *handle, u32 *value)
{ ENTER(handle); *value = (u32)reading("cap", CARD(handle), 700000); return OK; }

int nvmlDeviceGetClockInfo(void *handle, int kind, u32 *value)
{ ENTER(handle); *value = kind == 1 ? (u32)reading("clock", CARD(handle), 1980) : 0; return OK; }

int nvmlDeviceGetCurrentClocksEventReasons(void *handle, u64 *value)
{ ENTER(handle); *value = reading("reasons", CARD(handle), 0); return OK; }

int nvmlDeviceGetTotalEccErrors(void *handle, int kind, int counter, u64 *value)
{ ENTER(handle); (void)counter; *value = kind == 1 ? reading("ecc", CARD(handle), 0) : 7; return OK; }

struct process { u32 pid; u64 held; u32 gpu_instance, compute_instance; };

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, u32 *count, struct process *found)
{
    ENTER(handle);
    u32 pid = (u32)reading("pid", CARD(handle), 0);
    if (!pid) { *count = 0; return OK; }
    if (*count < 2) { *count = 2; return INSUFFICIENT_SIZE; }
    found[0] = (struct process){ pid, reading("held", CARD(handle), 50ULL << 30), 0, 0 };
    found[1] = (struct process){ pid + 1, ~0ULL, 0, 0 }; /* "not available" */
    *count = 2;
    return OK;
}

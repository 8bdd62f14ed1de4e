/*
 * A stand-in for libnvidia-ml.so.1, for tests: its state is a file of key=value lines, named by NVML_STUB_STATE and
 * read again at every call. Built by the test session; see tests/nvml_stub.py. With
 * NVML_STUB_READ_ONCE=1 it is read once, so that a benchmark measures the reader and not this file.
 *
 *   count=2            cards
 *   init=9             what nvmlInitWithFlags returns
 *   unloaded=1         every call returns "driver not loaded" (9)
 *   lost=1             this card answers every call with "GPU is lost" (15)
 *   broken=1           this card answers every call with "unknown error" (999)
 *   nohandle=1         this card's handle cannot be looked up either
 *   unsupported=NAME   this call is "not supported" (3); may stand several times
 *   missing=NAME       this call is not in the library (13)
 *   hang=NAME          this call does not return while the line is there
 *   crash=NAME         this call ends the process
 *   xid=SEQ:CARD:CODE  an Xid, delivered once, if SEQ is higher than all before the event set was made
 *   KEY.N=VALUE        a reading of card N: total reserved used gpu mem temp limit shutdown memlimit margin power cap
 *                      clock memclock maxclock reasons ecc ecclife rows badrows rowpending rowfailed replays width
 *                      gen pid held mpspid nvlink (generation, 0 for none) links down (links) mig (instances)
 *   proc.N=PID:BYTES   a process on card N; may stand several times, and replaces pid and held; 0:0 is nobody
 *   fID.N=VALUE        a field value of card N, of each link where the field is one of a link
 *   rID.N=CODE         the return code of that field value
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned int u32;
typedef unsigned long long u64;

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, MISSING = 13, LOST = 15, UNKNOWN = 999 };

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
    if (look("unloaded", NULL, 0))
        return 9;
    snprintf(number, sizeof number, "%ld", card);
    if (card >= 0 && look("lost", number, 0))
        return LOST;
    if (card >= 0 && look("broken", number, 0))
        return UNKNOWN;
    if (look("missing", call, 0))
        return MISSING;
    return look("unsupported", call, 0) ? NOT_SUPPORTED : OK;
}

/* A handle is the card's number plus one; that of a MIG instance holds its own number plus one above it. */
#define CARD(handle) (((long)(handle) & 0xff) - 1)
#define INSTANCE(handle) (((long)(handle) >> 8) - 1)
#define MIG(handle) reading("mig", CARD(handle), 0)
#define ENTER(handle) int status = enter(__func__, CARD(handle)); if (status) return status

int nvmlInitWithFlags(u32 flags) { (void)flags; int status = enter(__func__, -1); return status ? status : (int)look("init", NULL, OK); }
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

/* legacy address, domain, bus, device, two ids, address */
struct pci { char legacy[16]; u32 domain, bus, device, id, subsystem; char address[32]; };

int nvmlDeviceGetPciInfo_v3(void *handle, struct pci *pci)
{
    ENTER(handle);
    memset(pci, 0, sizeof *pci);
    snprintf(pci->address, sizeof pci->address, "00000000:%02lX:00.0", 0x10 + CARD(handle));
    return OK;
}

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
    u64 parts = INSTANCE(handle) < 0 ? 1 : MIG(handle);
    m->total = reading("total", CARD(handle), 80ULL << 30) / parts;
    m->used = reading("used", CARD(handle), 60ULL << 30) / parts;
    m->reserved = reading("reserved", CARD(handle), 1ULL << 30) / parts;
    m->free = m->total - m->used - m->reserved;
    return m->version == 0x02000028 ? OK : INVALID;
}

int nvmlDeviceGetUtilizationRates(void *handle, u32 *rates)
{
    ENTER(handle);
    rates[0] = (u32)reading("gpu", CARD(handle), 90);
    rates[1] = (u32)reading("mem", CARD(handle), 40);
    return MIG(handle) ? NOT_SUPPORTED : OK;
}

/* A call that gives one number of a card. */
#define GIVES(call, key, fallback) \
    int call(void *handle, u32 *value) { ENTER(handle); *value = (u32)reading(key, CARD(handle), fallback); return OK; }
#define GIVES_BY_KIND(call, key) \
    int call(void *handle, int kind, u32 *value) { ENTER(handle); *value = (u32)(key); return OK; }

GIVES_BY_KIND(nvmlDeviceGetTemperature, kind == 0 ? reading("temp", CARD(handle), 65) : 0)
GIVES_BY_KIND(nvmlDeviceGetTemperatureThreshold,
              kind == 0 ? reading("shutdown", CARD(handle), 95) : kind == 1 ? reading("limit", CARD(handle), 90)
              : kind == 2 ? reading("memlimit", CARD(handle), 105) : 0)
GIVES_BY_KIND(nvmlDeviceGetClockInfo,
              kind == 1 ? reading("clock", CARD(handle), 1980) : kind == 2 ? reading("memclock", CARD(handle), 3201) : 0)
GIVES_BY_KIND(nvmlDeviceGetMaxClockInfo, kind == 1 ? reading("maxclock", CARD(handle), 1980) : 0)
GIVES(nvmlDeviceGetPowerUsage, "power", 350000)
GIVES(nvmlDeviceGetEnforcedPowerLimit, "cap", 700000)
GIVES(nvmlDeviceGetPcieReplayCounter, "replays", 0)
GIVES(nvmlDeviceGetCurrPcieLinkWidth, "width", 16)
GIVES(nvmlDeviceGetMaxPcieLinkWidth, "maxwidth", 16)
GIVES(nvmlDeviceGetCurrPcieLinkGeneration, "gen", 5)
GIVES(nvmlDeviceGetMaxPcieLinkGeneration, "maxgen", 5)

struct margin { u32 version; int value; };

int nvmlDeviceGetMarginTemperature(void *handle, struct margin *margin)
{ ENTER(handle); margin->value = (int)reading("margin", CARD(handle), 0); return margin->value ? OK : NOT_SUPPORTED; }

int nvmlDeviceGetCurrentClocksEventReasons(void *handle, u64 *value)
{ ENTER(handle); *value = reading("reasons", CARD(handle), 0); return OK; }

int nvmlDeviceGetTotalEccErrors(void *handle, int kind, int counter, u64 *value)
{
    ENTER(handle);
    if (counter == 0)
        *value = kind == 1 ? reading("ecc", CARD(handle), 0) : 7;
    else
        *value = kind == 1 ? reading("ecclife", CARD(handle), 0) : 70;
    return OK;
}

int nvmlDeviceGetRemappedRows(void *handle, u32 *corrected, u32 *uncorrected, u32 *pending, u32 *failed)
{
    ENTER(handle);
    *corrected = (u32)reading("rows", CARD(handle), 0);
    *uncorrected = (u32)reading("badrows", CARD(handle), 0);
    *pending = (u32)reading("rowpending", CARD(handle), 0);
    *failed = (u32)reading("rowfailed", CARD(handle), 0);
    return OK;
}

/* --- field values ------------------------------------------------------------------------------------------------- */

struct field { u32 id, scope; long long at, latency; int type, status; union { int i; u64 u; } value; };
enum { UNSIGNED_LONG_LONG = 3, SIGNED_INT = 5 };

/* Whether a card of NVLink generation has this field without being told so. */
static int has_field(u32 id, u64 nvlink)
{
    if (id == 38 || id == 45 || id == 52 || id == 59)
        return nvlink >= 2 && nvlink <= 3;
    if (id >= 161 && id <= 163)
        return nvlink == 4;
    if (id >= 206 && id <= 215)
        return nvlink == 5;
    return id == 82 || id == 230; /* memory temperature, recovery action */
}

int nvmlDeviceGetFieldValues(void *handle, int count, struct field *fields)
{
    ENTER(handle);
    for (struct field *field = fields; field < fields + count; field++) {
        char key[16];
        snprintf(key, sizeof key, "f%u", field->id);
        u64 value = reading(key, CARD(handle), ~0ULL);
        int known = value != ~0ULL || has_field(field->id, reading("nvlink", CARD(handle), 4));
        if (value == ~0ULL)
            value = field->id == 82 ? 70 : 0;
        snprintf(key, sizeof key, "r%u", field->id);
        field->status = (int)reading(key, CARD(handle), known ? OK : NOT_SUPPORTED);
        field->type = field->id >= 193 && field->id <= 196 ? SIGNED_INT : UNSIGNED_LONG_LONG;
        if (field->type == SIGNED_INT)
            field->value.i = (int)value;
        else
            field->value.u = value;
    }
    return OK;
}

int nvmlDeviceGetNvLinkState(void *handle, u32 link, u32 *active)
{
    ENTER(handle);
    u64 links = reading("links", CARD(handle), 18);
    if (!reading("nvlink", CARD(handle), 4))
        return NOT_SUPPORTED;
    *active = link + reading("down", CARD(handle), 0) < links;
    return link < links ? OK : INVALID;
}

/* --- MIG ---------------------------------------------------------------------------------------------------------- */

int nvmlDeviceGetMigMode(void *handle, u32 *now, u32 *pending)
{ ENTER(handle); *now = *pending = MIG(handle) > 0; return OK; }

int nvmlDeviceGetMaxMigDeviceCount(void *handle, u32 *count)
{ ENTER(handle); *count = 7; return OK; }

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, u32 index, void **instance)
{
    ENTER(handle);
    *instance = (void *)((long)handle | (long)(index + 1) << 8);
    return index < MIG(handle) ? OK : NOT_FOUND;
}

int nvmlDeviceGetGpuInstanceId(void *handle, u32 *id)
{ ENTER(handle); *id = (u32)INSTANCE(handle) + 7; return OK; }

/* --- processes ---------------------------------------------------------------------------------------------------- */

struct process { u32 pid; u64 held; u32 gpu_instance, compute_instance; };

/* Those that the state file lists. */
static int listed(long card, u32 *count, struct process *found)
{
    u32 room = *count, known = 0;
    for (const char *line = state(), *end; *line; line = *end ? end + 1 : end) {
        long on;
        u32 pid;
        unsigned long long held;
        end = line + strcspn(line, "\n");
        if (sscanf(line, "proc.%ld=%u:%llu", &on, &pid, &held) != 3 || on != card || !pid)
            continue;
        if (known < room)
            found[known] = (struct process){ pid, held, ~0U, ~0U };
        known++;
    }
    *count = known;
    return known > room ? INSUFFICIENT_SIZE : OK;
}

/* Two of them, the second without a size; a MIG card shows them only through its instances, as to an ordinary user. */
static int processes(void *handle, const char *key, u32 *count, struct process *found)
{
    u32 pid = (u32)reading(key, CARD(handle), 0);
    if (MIG(handle) && INSTANCE(handle) < 0)
        return 4; /* no permission */
    if (!strcmp(key, "pid") && reading("proc", CARD(handle), ~0ULL) != ~0ULL)
        return listed(CARD(handle), count, found);
    if (!pid || INSTANCE(handle) > 0) { *count = 0; return OK; }
    if (*count < 2) { *count = 2; return INSUFFICIENT_SIZE; }
    found[0] = (struct process){ pid, reading("held", CARD(handle), 50ULL << 30), 0, 0 };
    found[1] = (struct process){ pid + 1, ~0ULL, 0, 0 }; /* "not available" */
    *count = 2;
    return OK;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, u32 *count, struct process *found)
{ ENTER(handle); return processes(handle, "pid", count, found); }

int nvmlDeviceGetComputeRunningProcesses_v2(void *handle, u32 *count, struct process *found)
{ ENTER(handle); return processes(handle, "pid", count, found); }

int nvmlDeviceGetMPSComputeRunningProcesses_v3(void *handle, u32 *count, struct process *found)
{ ENTER(handle); return processes(handle, "mpspid", count, found); }

/* --- events ------------------------------------------------------------------------------------------------------- */

struct event { void *device; u64 type, data; u32 gpu_instance, compute_instance; };
static u64 delivered;

/* The first "xid" line whose number is above the last one delivered. */
static int next_xid(u64 *number, u64 *card, u64 *code)
{
    u64 best = ~0ULL;
    for (const char *line = state(), *end; *line; line = *end ? end + 1 : end) {
        unsigned long long n, c, x;
        end = line + strcspn(line, "\n");
        if (sscanf(line, "xid=%llu:%llu:%llu", &n, &c, &x) == 3 && n > delivered && n < best) {
            best = n;
            *number = n, *card = c, *code = x;
        }
    }
    return best != ~0ULL;
}

int nvmlEventSetCreate(void **set)
{
    u64 number, card, code;
    *set = (void *)1;
    for (delivered = 0; next_xid(&number, &card, &code);)
        delivered = number;
    return enter(__func__, -1);
}

int nvmlDeviceRegisterEvents(void *handle, u64 types, void *set)
{ ENTER(handle); return set && types == 8 ? OK : INVALID; }

int nvmlEventSetWait_v2(void *set, struct event *event, u32 timeout_ms)
{
    u64 number, card, code;
    int status = enter(__func__, -1);
    (void)set;
    if (status)
        return status;
    if (!next_xid(&number, &card, &code)) {
        usleep(timeout_ms * 1000);
        return TIMEOUT;
    }
    delivered = number;
    *event = (struct event){ (void *)(long)(card + 1), 8, code, ~0U, ~0U };
    return OK;
}

int nvmlEventSetFree(void *set) { (void)set; return OK; }

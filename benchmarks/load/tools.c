/* Clock, histogram, what the machine spent, the report. */
#include "wsload.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <time.h>

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

uint64_t rng = 88172645463325252ull;
uint64_t rnd(void)
{
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return rng;
}

void hist_add(hist *h, uint64_t v)
{
    int e = v < STEPS ? 0 : 63 - __builtin_clzll(v) - 7;
    h->n++;
    h->bucket[v < STEPS ? v : (uint64_t)(e + 1) * STEPS + (v >> e) - STEPS]++;
}
static double hist_us(const hist *h, double quantile)
{
    uint64_t want = quantile * h->n, seen = 0;
    for (int i = 0; i < 64 * STEPS; i++)
        if ((seen += h->bucket[i]) > want)
            return (i < STEPS ? i : (double)((uint64_t)(i % STEPS + STEPS) << (i / STEPS - 1))) / 1000;
    return 0;
}

/* ---- what the machine spent ---- */
static void add_tree(int pid, usage_t *u) /* a process, its reaped children and its living descendants */
{
    char path[320], buf[1024], *p;
    unsigned long long t[4];
    long pages;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY), n = fd < 0 ? 0 : read(fd, buf, sizeof buf - 1);
    if (fd >= 0) close(fd);
    if (n <= 0) return;
    buf[n] = 0;
    if ((p = strrchr(buf, ')')) && sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu %*d %*d %*d %*d %*u %*u %ld",
                                          t, t + 1, t + 2, t + 3, &pages) == 5) {
        u->server += (double)(t[0] + t[1] + t[2] + t[3]) / sysconf(_SC_CLK_TCK);
        u->rss += (double)pages * sysconf(_SC_PAGESIZE);
    }
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.20s/children", pid, e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        for (int child; f && fscanf(f, "%d", &child) == 1;) add_tree(child, u);
        if (f) fclose(f);
    }
    closedir(d);
}

usage_t spent(void)
{
    usage_t u = {.t = now_ns() / 1e9};
    struct rusage r;
    double v[8] = {0};
    getrusage(RUSAGE_SELF, &r);
    u.client = r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
    for (int i = 0; i < o.npids; i++) add_tree(o.pids[i], &u);
    FILE *f = fopen("/proc/stat", "r"); /* cpu user nice system idle iowait irq softirq steal */
    if (f && fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7) == 8)
        u.busy = (v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / sysconf(_SC_CLK_TCK);
    if (f) fclose(f);
    return u;
}

void print_string(const char *name, const char *s)
{
    printf(",\"%s\":\"", name);
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') printf("\\%c", *s);
        else if ((unsigned char)*s < 32 || (unsigned char)*s > 126) printf("\\u%04x", (unsigned char)*s);
        else putchar(*s);
    }
    putchar('"');
}

/* Every mode reports these keys; `cost` is what the server paid for one unit. */
void report(const char *unit, double cost, double n, const usage_t *a, const usage_t *b, const hist *h)
{
    double dt = b->t - a->t, foreign = (b->busy - a->busy - (b->server - a->server) - (b->client - a->client)) / dt;
    printf("{\"mode\":\"%s\",\"unit\":\"%s\",\"cost\":%.4f,\"n\":%.0f,\"secs\":%.3f,\"rate\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
           "\"server_cpu\":%.3f,\"client_cpu\":%.3f,\"foreign\":%.3f,\"rss_bytes\":%.0f,\"open\":%d,\"failed\":%d,\"deflate\":%d,\"pings\":%" PRIu64 ",\"errors\":%" PRIu64,
           MODES[o.mode], unit, cost, n, dt, n / dt, hist_us(h, .5), hist_us(h, .99), hist_us(h, .999), (b->server - a->server) / dt,
           (b->client - a->client) / dt, foreign > 0 ? foreign : 0, b->rss, n_open, n_failed, n_deflate, pings, errors);
    print_string("tag", o.tag);
    print_string("errmsg", errmsg);
}

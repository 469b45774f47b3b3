/* The modes of the load: echo, fanout, idle, churn. */
#include "wsload.h"
#include <sys/epoll.h>
#include <sys/timerfd.h>

uint64_t msgs, msg_bytes, compressed_rx;
hist latency, last_latency;
bool measuring, running;
struct fan fan;
volatile sig_atomic_t stop;

void on_signal(int s) { (void)s, stop = 1; }

int run_churn(void) /* open, close handshake, end of stream, again; `conns` at a time */
{
    usage_t a = spent(), b;
    uint64_t first = 0;
    double warm_until = a.t + o.warm, until = warm_until + o.secs;
    for (bool warm = true; now_ns() / 1e9 < until && !stop && errors < 1000;) {
        if (warm && now_ns() / 1e9 >= warm_until) {
            warm = false, a = spent(), first = cycles;
            memset(&hs_latency, 0, sizeof hs_latency);
        }
        for (int i = 0; i < nconns; i++) {
            conn *c = &conns[i];
            if (c->state != FREE && c->state != DEAD) continue;
            free(c->ctl_out), free(c->hs);
            *c = (conn){.idx = i, .fd = -1};
            start(c, o.path);
        }
        poll_once(10);
    }
    b = spent();
    double n = cycles - first;
    report("us CPU per open+close", n ? (b.server - a.server) / n * 1e6 : 0, n, &a, &b, &hs_latency);
    puts("}");
    return errors || !n ? 4 : 0;
}

void open_all(void)
{
    uint64_t t0 = now_ns();
    for (int started = 0; (started < nconns || n_pending) && !stop && !(n_failed > 100 && !n_open);) {
        double passed = (now_ns() - t0) / 1e9;
        if (passed > o.open_timeout) break;
        for (; started < nconns && n_pending < o.inflight && (o.rate <= 0 || started < o.rate * passed + 1); started++)
            start(&conns[started], o.mode == FANOUT && started == o.conns ? o.pub_path : o.path);
        poll_once(o.rate > 0 ? 1 : 20);
    }
    if (n_open == nconns) fputs("open\n", stderr); /* for who waits for it */
}

static void prepare(conn *c) /* the frame(s) that this connection will send again and again */
{
    size_t n = o.compress ? packed_len : o.size;
    c->frames = o.mode == FANOUT ? 1 : o.pipeline;
    c->tx = malloc((n + 16) * c->frames);
    c->frame_len = build_frame(c->tx, o.binary ? 2 : 1, o.compress, o.compress ? packed : payload, n);
    for (size_t k = 1; k < c->frames; k++) memcpy(c->tx + k * c->frame_len, c->tx, c->frame_len);
    c->sent_at = malloc(8 * o.pipeline);
}

static void exchange(void) /* each idle connection sends one message and gets it back, before it is idle */
{
    uint64_t limit = now_ns() + 60000000000ull, waiting = 1;
    running = true;
    for (int i = 0; i < nconns; i++) {
        conns[i].messages = 0;
        prepare(&conns[i]);
        if (conns[i].state == OPEN) queue_messages(&conns[i], 1, now_ns()), flush(&conns[i]);
    }
    while (waiting && !errors && !stop) {
        poll_once(20);
        waiting = 0;
        for (int i = 0; i < nconns; i++) waiting += conns[i].state == OPEN && conns[i].sent_n;
        if (waiting && now_ns() > limit) errors++, snprintf(errmsg, sizeof errmsg, "%d connections got no answer", (int)waiting);
    }
    for (int i = 0; i < nconns; i++) compressed_rx += conns[i].compressed;
    running = false;
}

int run_idle(usage_t before) /* `before` the handshakes, which are done */
{
    usage_t opened = spent();
    if (o.exchange && n_open == nconns) exchange();
    for (double until = now_ns() / 1e9 + o.secs; now_ns() / 1e9 < until && !stop;) poll_once(100);
    if (n_open < nconns && !errmsg[0]) snprintf(errmsg, sizeof errmsg, "only %d of %d connections are open", n_open, nconns);
    usage_t held = spent();
    double n = n_accepted ? n_accepted : 1, bytes = (held.rss - before.rss) / n, held_for = held.t - opened.t;
    report("bytes per connection", bytes > 1 ? bytes : 1, n_accepted, &before, &opened, &hs_latency);
    printf(",\"cpu_us_per_handshake\":%.1f,\"held_secs\":%.1f,\"held_cpu\":%.4f,\"compressed_rx\":%" PRIu64 "}\n",
           (opened.server - before.server) * 1e6 / n, held_for, (held.server - opened.server) / held_for, compressed_rx);
    return n_open == nconns && !errors ? 0 : 4;
}

static void publish(conn *c) /* keep `window` publications under way; with --interval only those that are due */
{
    while (fan.sent - fan.done < (uint64_t)o.window && c->state == OPEN) {
        uint64_t t = now_ns(), due = o.interval > 0 ? fan.begun + (uint64_t)((fan.sent + 1) * o.interval * 1e6) : t;
        if (due > t) return;
        fan.missing[fan.sent % o.window] = fan.receivers;
        fan.sent_at[fan.sent++ % o.window] = due;
        c->tx_pending += c->frame_len;
        flush(c);
    }
}

static void check_stuck(void)
{
    uint64_t missing = 0;
    if (errors || now_ns() < fan.progress + 10000000000ull) return;
    for (uint64_t k = fan.done; k < fan.sent; k++) missing += fan.missing[k % o.window];
    errors++;
    snprintf(errmsg, sizeof errmsg, "stuck: %" PRIu64 " deliveries of %" PRIu64 " publications missing", missing, fan.sent - fan.done);
}

static void drain(void) /* every publication must reach every member, also after the time is over */
{
    while (fan.done < fan.sent && !errors && !stop) {
        poll_once(50);
        check_stuck();
    }
}

static void set_timer(void) /* --interval: what is to be sent goes out at every tick, whether the last was answered or not */
{
    long ns = (long)(o.interval * 1e6);
    struct itimerspec every = {{ns / 1000000000, ns % 1000000000}, {ns / 1000000000, ns % 1000000000}};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    timerfd_settime(timer, 0, &every, NULL);
    epoll_ctl(ep, EPOLL_CTL_ADD, timer, &e);
}

static void tick(void)
{
    for (int i = 0; i < nconns; i++)
        if (conns[i].state == OPEN && conns[i].sent_n < (uint64_t)o.pipeline) queue_messages(&conns[i], 1, now_ns()), flush(&conns[i]);
}

static void begin_traffic(void)
{
    for (double until = now_ns() / 1e9 + .3; now_ns() / 1e9 < until;) poll_once(10);
    for (int i = 0; i < nconns; i++) {
        conns[i].messages = 0;
        if (o.mode == ECHO || i == o.conns) prepare(&conns[i]);
    }
    if (o.mode == FANOUT) {
        fan.sent_at = calloc(o.window, 8), fan.missing = calloc(o.window, sizeof(int));
        fan.receivers = o.conns + o.echo_to_sender, fan.progress = fan.begun = now_ns(), fan.on = true;
        if (o.interval > 0) set_timer(); /* after `begun`: no tick comes before its publication is due */
        return;
    }
    running = true;
    if (o.interval > 0) { set_timer(); return; }
    for (int i = 0; i < nconns; i++)
        if (conns[i].state == OPEN) queue_messages(&conns[i], o.pipeline, now_ns()), flush(&conns[i]);
}

int run_traffic(void)
{
    begin_traffic();
    usage_t a = spent(), b;
    double warm_until = a.t + o.warm, checked = a.t;
    uint64_t seen = 0;
    while (!stop && !errors) {
        double t = now_ns() / 1e9;
        if (!measuring && t >= warm_until) measuring = true, a = spent();
        if (measuring && t >= a.t + o.secs) break;
        if (o.mode == FANOUT) {
            publish(&conns[o.conns]);
            check_stuck();
        } else if (t - checked > o.warm + 10) {
            if (msgs == seen) { errors++; snprintf(errmsg, sizeof errmsg, "stuck: no message for 10 seconds"); }
            seen = msgs, checked = t;
        }
        if (poll_once(50) && o.mode == ECHO) tick();
    }
    bool paced = o.mode == FANOUT && o.interval > 0;
    if (!paced) b = spent(), measuring = false;
    if (o.mode == FANOUT) drain();
    if (paced) b = spent(); /* the last publications count: a server that falls behind must not look fast */
    report(o.mode == ECHO ? "us CPU per message" : "us CPU per delivery", msgs ? (b.server - a.server) / msgs * 1e6 : 0, msgs, &a, &b,
           o.mode == ECHO ? &latency : &last_latency);
    printf(",\"MB_per_s\":%.2f,\"compressed_rx\":%" PRIu64 ",\"publications\":%" PRIu64 "}\n", msg_bytes / (b.t - a.t) / 1e6, compressed_rx, last_latency.n);
    return errors || !msgs ? 4 : 0;
}

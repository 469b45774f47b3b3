/* From the socket to the open connection and its end; plain or TLS. */
#include "wsload.h"
#include "wskey.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

conn *conns;
int nconns, ep, timer = -1, n_pending, n_open, n_failed, n_accepted, n_deflate;
struct sockaddr_storage dst;
socklen_t dst_len;
char errmsg[256], first_response[1024];
uint64_t errors, pings, cycles;
hist hs_latency;
#ifdef WITH_TLS
SSL_CTX *tls_ctx;
#endif
static uint8_t rbuf[262144];

static void release(conn *c, enum state state)
{
#ifdef WITH_TLS
    if (c->ssl) SSL_free(c->ssl), c->ssl = NULL;
#endif
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    c->state = state;
}

void fail(conn *c, const char *why)
{
    errors++;
    if (!errmsg[0]) snprintf(errmsg, sizeof errmsg, "connection %d, state %d: %s (%s)", c->idx, c->state, why, errno ? strerror(errno) : "-");
    if (c->state >= CONNECTING && c->state <= HANDSHAKE) n_pending--, n_failed++;
    else if (c->state == OPEN) n_open--;
    release(c, DEAD);
#ifdef WITH_TLS
    ERR_clear_error();
#endif
}

void fail_protocol(conn *c, const char *why)
{
    errno = 0;
    fail(c, why);
}

void want_out(conn *c, bool out)
{
    if (c->want_out == out) return;
    c->want_out = out;
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

/* ---- plain or TLS input and output: > 0 bytes, 0 at the end, -1 with errno (EAGAIN: wait) ---- */
#ifdef WITH_TLS
static ssize_t tls_result(conn *c, int r)
{
    if (r > 0) return r;
    errno = 0;
    switch (SSL_get_error(c->ssl, r)) {
    case SSL_ERROR_WANT_READ: case SSL_ERROR_WANT_WRITE: errno = EAGAIN; return -1;
    case SSL_ERROR_ZERO_RETURN: return 0;
    case SSL_ERROR_SYSCALL: ERR_clear_error(); errno = ECONNRESET; return -1;
    default: ERR_clear_error(); errno = EPROTO; return -1;
    }
}
#endif
static ssize_t io_recv(conn *c, void *p, size_t n)
{
#ifdef WITH_TLS
    if (c->ssl) return tls_result(c, SSL_read(c->ssl, p, n));
#endif
    return recv(c->fd, p, n, 0);
}
ssize_t io_send(conn *c, const void *p, size_t n)
{
#ifdef WITH_TLS
    if (c->ssl) return tls_result(c, SSL_write(c->ssl, p, n));
#endif
    return send(c->fd, p, n, MSG_NOSIGNAL);
}

/* ---- the life of a connection ---- */
void start(conn *c, const char *path)
{
    int one = 1;
    c->t0 = now_ns(), c->state = CONNECTING, c->want_out = true;
    n_pending++;
    c->fd = socket(dst.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) { fail(c, "socket"); return; }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (o.srcs > 0 && dst.ss_family == AF_INET) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002u + c->idx % o.srcs)};
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (void *)&a, sizeof a) < 0) { fail(c, "bind"); return; }
    }
    if (connect(c->fd, (void *)&dst, dst_len) < 0 && errno != EINPROGRESS) { fail(c, "connect"); return; }
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e) < 0) { fail(c, "epoll_ctl"); return; }
    uint64_t nonce[2] = {rnd(), rnd()};
    base64((uint8_t *)nonce, 16, c->key);
    char number[12] = "";
    if (o.paths > 1) snprintf(number, sizeof number, "%d", c->idx % o.paths);
    c->hs = realloc(c->hs, 8192);
    c->hs_len = snprintf(c->hs, 8192,
        "GET %s%s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
        "Sec-WebSocket-Version: 13\r\n%s%s%s%s%s\r\n", path, number, o.host, o.port, c->key, o.subprotocol ? "Sec-WebSocket-Protocol: " : "",
        o.subprotocol ? o.subprotocol : "", o.subprotocol ? "\r\n" : "",
        o.offer ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" : "", o.headers);
#ifdef WITH_TLS
    if (o.tls) {
        c->ssl = SSL_new(tls_ctx);
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_connect_state(c->ssl);
    }
#endif
}

static void send_request(conn *c)
{
    if (io_send(c, c->hs, c->hs_len) != c->hs_len) { fail(c, "send handshake"); return; }
    c->hs_len = 0, c->state = HANDSHAKE;
    want_out(c, false);
}

static void on_connected(conn *c)
{
    int err = 0;
    socklen_t len = sizeof err;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if ((errno = err)) fail(c, "connect");
    else if (c->ssl) c->state = TLS_HANDSHAKE;
    else send_request(c);
}

static void on_tls(conn *c)
{
#ifdef WITH_TLS
    int r = SSL_do_handshake(c->ssl);
    if (r == 1) send_request(c);
    else if (SSL_get_error(c->ssl, r) == SSL_ERROR_WANT_READ) want_out(c, false);
    else if (SSL_get_error(c->ssl, r) != SSL_ERROR_WANT_WRITE) fail(c, "TLS handshake");
#else
    (void)c;
#endif
}

static void on_open(conn *c)
{
    c->state = OPEN;
    n_pending--, n_open++;
    hist_add(&hs_latency, now_ns() - c->t0);
    if (o.mode == CHURN) {
        c->state = CLOSING;
        n_open--;
        queue_single(c, 8, "\x03\xe8", 2);
    } else if (o.sub_msg && c->idx < o.conns) queue_single(c, 1, o.sub_msg, strlen(o.sub_msg));
    flush(c);
}

static void on_data(conn *c)
{
    int got = 0;
    do {
        ssize_t r = io_recv(c, rbuf, sizeof rbuf);
        if (r <= 0) {
            if (r < 0 && errno == EAGAIN) break;
            if (c->state == CLOSING) release(c, FREE), cycles++;
            else fail(c, r ? "recv" : "end of stream");
            return;
        }
        got += parse(c, rbuf, r, now_ns());
        if (c->state == DEAD) return;
    } while (c->ssl); /* a TLS layer must be read until it is empty */
    if (o.mode == ECHO && got && running && o.interval <= 0) queue_messages(c, got, now_ns()), flush(c);
}

static void on_response(conn *c)
{
    char *end = NULL, accept[29], why[120], *h = c->hs;
    while (!end) {
        ssize_t r = io_recv(c, h + c->hs_len, 8191 - c->hs_len);
        if (r < 0 && errno == EAGAIN) return;
        if (r <= 0) { fail(c, r ? "recv in handshake" : "end of stream in handshake"); return; }
        c->hs_len += r;
        h[c->hs_len] = 0;
        end = memmem(h, c->hs_len, "\r\n\r\n", 4);
        if (!end && c->hs_len > 8000) { fail_protocol(c, "long handshake"); return; }
    }
    end[2] = 0;
    if (!first_response[0]) snprintf(first_response, sizeof first_response, "%s", h);
    if (strncmp(h, "HTTP/1.1 101", 12)) {
        snprintf(why, sizeof why, "not 101 but %.60s", h);
        fail_protocol(c, why);
        return;
    }
    char *a = strcasestr(h, "\r\nsec-websocket-accept:");
    ws_accept(c->key, accept);
    if (a) for (a += 23; *a == ' '; a++) {}
    if (!a || strncmp(a, accept, 28)) { fail_protocol(c, "wrong Sec-WebSocket-Accept"); return; }
    n_accepted++;
    n_deflate += strcasestr(h, "permessage-deflate") != NULL;
    size_t rest = c->hs_len - (end + 4 - h);
    on_open(c);
    if (rest && c->state != DEAD) parse(c, (uint8_t *)end + 4, rest, now_ns());
    free(c->hs), c->hs = NULL;
    if (c->ssl && c->state != DEAD) on_data(c);
}

int poll_once(int ms)
{
    static struct epoll_event ev[1024];
    int n = epoll_wait(ep, ev, fan.on && o.interval > 0 ? 64 : 1024, ms); /* few, so that a paced publication is not late */
    uint64_t ticks = 0;
    for (int i = 0; i < n; i++) {
        conn *c = ev[i].data.ptr;
        if (!c) {
            if (read(timer, &ticks, sizeof ticks) < 0) ticks = 0;
            continue;
        }
        if (c->state == CONNECTING && ev[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) on_connected(c);
        if (c->state == TLS_HANDSHAKE) on_tls(c);
        else if (c->state == HANDSHAKE && ev[i].events & ~EPOLLOUT) on_response(c);
        else if (c->state == OPEN || c->state == CLOSING) {
            if (ev[i].events & EPOLLOUT) flush(c);
            if (ev[i].events & ~EPOLLOUT && c->state != DEAD) on_data(c);
        }
    }
    return (int)ticks;
}

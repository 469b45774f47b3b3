/* rawecho PORT: the limit. One thread, epoll, plain recv and send, no policy, no UTF-8 check.
 *   gcc -O3 -march=native -o rawecho rawecho.c
 * /sub and /pub fan out: one send per subscriber. Any other path echoes: all frames of one recv are unmasked in place and
 * leave in one send. Pings are answered, a close ends the connection. Not a server to use: it is what the kernel costs. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "../load/wskey.h"

enum role { ECHO, SUBSCRIBER, PUBLISHER };
typedef struct conn {
    int fd, slot;              /* slot: its place in subs */
    enum role role;
    bool open, want_out;
    size_t in_len, in_cap, out_len, out_pos;
    uint8_t *in, *out;         /* an unfinished frame; bytes the socket did not take */
} conn;

static int ep, nsubs, subs_cap;
static conn **subs;
static uint8_t shared[1 << 18]; /* buffer of the connections without an unfinished frame */

static void drop(conn *c)
{
    close(c->fd);
    if (c->role == SUBSCRIBER) {
        subs[c->slot] = subs[--nsubs];
        subs[c->slot]->slot = c->slot;
    }
    free(c->in), free(c->out), free(c);
}

static void want_out(conn *c, bool out)
{
    if (c->want_out == out) return;
    c->want_out = out;
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static bool put(conn *c, const uint8_t *p, size_t n)
{
    if (!c->out_len) {
        ssize_t r = send(c->fd, p, n, MSG_NOSIGNAL);
        if (r < 0 && errno != EAGAIN) return false;
        if (r > 0) p += r, n -= r;
        if (!n) return true;
    }
    size_t waiting = c->out_len - c->out_pos;
    uint8_t *out = malloc(waiting + n);
    if (waiting) memcpy(out, c->out + c->out_pos, waiting);
    memcpy(out + waiting, p, n);
    free(c->out);
    c->out = out, c->out_len = waiting + n, c->out_pos = 0;
    want_out(c, true);
    return true;
}

static bool drain(conn *c)
{
    while (c->out_pos < c->out_len) {
        ssize_t r = send(c->fd, c->out + c->out_pos, c->out_len - c->out_pos, MSG_NOSIGNAL);
        if (r < 0) return errno == EAGAIN;
        c->out_pos += r;
    }
    free(c->out);
    c->out = NULL, c->out_len = c->out_pos = 0;
    want_out(c, false);
    return true;
}

static void unmask(uint8_t *to, const uint8_t *from, size_t n, const uint8_t mask[4])
{
    uint64_t key, v;
    size_t i = 0;
    memcpy(&key, mask, 4), memcpy((uint8_t *)&key + 4, mask, 4);
    for (; i + 8 <= n; i += 8) memcpy(&v, from + i, 8), v ^= key, memcpy(to + i, &v, 8);
    for (; i < n; i++) to[i] = from[i] ^ mask[i & 3];
}

static ssize_t handshake(conn *c, uint8_t *b, size_t n) /* length of the request; 0: not all there; -1: wrong */
{
    char accept[29], response[256], *end = memmem(b, n, "\r\n\r\n", 4), *key;
    if (!end) return 0;
    *end = 0;
    if (!(key = strcasestr((char *)b, "sec-websocket-key:"))) return -1;
    for (key += 18; *key == ' '; key++) {}
    if (end - key < 24) return -1;
    ws_accept(key, accept);
    int m = snprintf(response, sizeof response, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
    c->open = true;
    if (!strncmp((char *)b, "GET /pub ", 9)) c->role = PUBLISHER;
    if (!strncmp((char *)b, "GET /sub ", 9)) {
        c->role = SUBSCRIBER;
        if (nsubs == subs_cap) subs = realloc(subs, sizeof *subs * (subs_cap += 1024));
        c->slot = nsubs;
        subs[nsubs++] = c;
    }
    return put(c, (uint8_t *)response, m) ? end + 4 - (char *)b : -1;
}

/* Turns the complete frames in b[pos..n) into server frames and sends them. Returns the new pos, or -1 to drop; `need` gets
 * the size of an unfinished frame. */
static ssize_t frames(conn *c, uint8_t *b, size_t pos, size_t n, size_t *need)
{
    uint8_t *first = b + pos, *w = first;
    bool closing = false;
    for (*need = 0; !closing && n - pos >= 6;) {
        uint8_t *h = b + pos, len7 = h[1] & 127, op = h[0] & 15, head[10];
        size_t head_len = len7 < 126 ? 2 : len7 == 126 ? 4 : 10, len = len7;
        if (n - pos < head_len + 4) break;
        if (len7 >= 126) for (size_t i = len = 0; i < head_len - 2; i++) len = len << 8 | h[2 + i];
        size_t whole = head_len + 4 + len;
        if (len > 1 << 26) return -1;
        if (n - pos < whole) { *need = whole; break; }
        if (op != 10) { /* the answer is 4 bytes shorter than the frame, so it fits in its place */
            memcpy(head, h, head_len);
            memcpy(w, head, head_len);
            w[1] &= 127;
            if (op == 9) w[0] ^= 9 ^ 10;
            uint8_t mask[4];
            memcpy(mask, h + head_len, 4);
            unmask(w + head_len, h + head_len + 4, len, mask);
            w += head_len + len;
        }
        pos += whole;
        closing = op == 8;
        if (c->role == PUBLISHER && !closing) {
            for (int i = 0; i < nsubs; i++) put(subs[i], first, w - first);
            w = first;
        }
    }
    if (w > first && !put(c, first, w - first)) return -1;
    return closing ? -1 : (ssize_t)pos;
}

static void on_read(conn *c)
{
    bool own = c->in_len > 0;
    if (own && c->in_cap - c->in_len < 4096) c->in = realloc(c->in, c->in_cap = c->in_cap * 2 + 16384);
    uint8_t *b = own ? c->in : shared;
    ssize_t r = recv(c->fd, own ? b + c->in_len : b, own ? c->in_cap - c->in_len : sizeof shared, 0), pos = 0;
    if (r < 0 && errno == EAGAIN) return;
    if (r <= 0) { drop(c); return; }
    size_t n = c->in_len + r, need = 0;
    if (!c->open) pos = handshake(c, b, n);
    if (c->open && pos >= 0) pos = frames(c, b, pos, n, &need);
    if (pos < 0) { drop(c); return; }
    size_t rest = n - pos, cap = need + 16 > rest ? need + 16 : rest;
    if (!rest) {
        if (own && c->in_cap <= 65536) free(c->in), c->in = NULL, c->in_cap = 0;
    } else if (own) {
        if (pos) memmove(c->in, c->in + pos, rest);
        if (c->in_cap < cap) c->in = realloc(c->in, c->in_cap = cap);
    } else {
        if (c->in_cap < cap) free(c->in), c->in = malloc(c->in_cap = cap);
        memcpy(c->in, b + pos, rest);
    }
    c->in_len = rest;
}

static void on_accept(int listener)
{
    int one = 1;
    for (int k = 0, fd; k < 64 && (fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0; k++) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conn *c = calloc(1, sizeof *c);
        c->fd = fd;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    }
}

int main(int argc, char **argv)
{
    static struct epoll_event ev[512];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 9000), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit rl;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *)&a, sizeof a) || listen(listener, 4096)) { perror("rawecho"); return 1; }
    ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, ev, 512, -1);
        for (int i = 0; i < n; i++) {
            conn *c = ev[i].data.ptr;
            if (!c) on_accept(listener);
            else if (ev[i].events & EPOLLOUT && !drain(c)) drop(c);
            else if (ev[i].events & ~EPOLLOUT) on_read(c);
        }
    }
}

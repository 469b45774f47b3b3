/* wsload: a WebSocket load generator for servers on the loopback interface. Declarations that the parts share.
 *   main.c        the command line
 *   modes.c       the modes: echo, fanout, idle, churn
 *   connection.c  from the socket to the open connection; plain or TLS
 *   frames.c      frames out and in, and every check of what comes in
 *   tools.c       clock, histogram, what the machine spent, the report
 * One thread, one epoll; it ends after the time it was given. */
#ifndef WSLOAD_H
#define WSLOAD_H
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
extern SSL_CTX *tls_ctx;
#else
typedef void SSL;
#endif

/* ---- main.c: the options ---- */
enum mode { NONE, ECHO, FANOUT, IDLE, CHURN };
extern const char *const MODES[];
extern struct options {
    enum mode mode;
    const char *host, *path, *pub_path, *subprotocol, *sub_msg, *text, *tag;
    char headers[2048];
    int port, conns, pipeline, window, inflight, srcs, verify_every, paths, pids[64], npids;
    bool binary, utf8, offer, compress, echo_to_sender, loose, exchange, tls;
    size_t size;
    double secs, warm, rate, interval, open_timeout;
} o;
extern uint8_t *payload, *packed; /* the message, and the same compressed */
extern size_t packed_len;

/* ---- tools.c ---- */
/* Latency histogram in ns: 128 steps per power of two, so each value is within 0.8 %. */
#define STEPS 128
typedef struct { uint64_t n, bucket[64 * STEPS]; } hist;
typedef struct { double t, client, server, busy, rss; } usage_t; /* seconds of CPU; rss in bytes */
uint64_t now_ns(void);
uint64_t rnd(void);
void hist_add(hist *h, uint64_t v);
usage_t spent(void);
void print_string(const char *name, const char *s);
void report(const char *unit, double cost, double n, const usage_t *a, const usage_t *b, const hist *h);
extern uint64_t rng;

/* ---- connection.c ---- */
enum state { FREE, CONNECTING, TLS_HANDSHAKE, HANDSHAKE, OPEN, CLOSING, DEAD };
typedef struct {
    int fd, idx;
    enum state state;
    bool want_out, in_frame, fin, compressed, verify, retry_ctl;
    uint8_t op, msg_op, hdr_len, hdr[14];
    uint64_t left, msg_len, messages;           /* of the frame, of the message, of the connection */
    uint8_t ctl_in[128], *ctl_out, *tx, *keep;  /* keep: a compressed message that will be inflated and checked */
    size_t ctl_in_len, ctl_out_len, keep_len, retry_len;
    size_t frame_len, frames;                   /* tx holds `frames` copies of one frame of `frame_len` bytes */
    uint64_t tx_pending, tx_pos, *sent_at, sent_head, sent_n, t0;
    char key[25], *hs;
    int hs_len;
    SSL *ssl;
} conn;

extern conn *conns;
extern int nconns, ep, timer, n_pending, n_open, n_failed, n_accepted, n_deflate;
extern struct sockaddr_storage dst;
extern socklen_t dst_len;
extern char errmsg[256], first_response[1024];
extern uint64_t errors, pings, cycles;
extern hist hs_latency;
void start(conn *c, const char *path);
void fail(conn *c, const char *why);
void fail_protocol(conn *c, const char *why);
void want_out(conn *c, bool out);
ssize_t io_send(conn *c, const void *p, size_t n);
int poll_once(int ms); /* returns how often the timer has expired */

/* ---- frames.c ---- */
size_t build_frame(uint8_t *out, int op, bool rsv1, const uint8_t *p, size_t n);
void queue_single(conn *c, int op, const void *p, size_t n);
void queue_messages(conn *c, int k, uint64_t t);
void flush(conn *c);
int parse(conn *c, const uint8_t *b, size_t n, uint64_t t);

/* ---- modes.c ---- */
extern uint64_t msgs, msg_bytes, compressed_rx;
extern hist latency, last_latency;
extern bool measuring, running; /* running: what is sent must come back */
extern struct fan { bool on; int receivers, *missing; uint64_t sent, done, *sent_at, progress, begun; } fan;
extern volatile sig_atomic_t stop;
void on_signal(int s);
int run_churn(void);
void open_all(void);
int run_idle(usage_t before);
int run_traffic(void);
#endif

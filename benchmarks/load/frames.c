/* Frames out and in, and every check of what comes in (RFC 6455, section 5; RFC 7692). */
#include "wsload.h"
#include <zlib.h>

/* ---- frames out ---- */
size_t build_frame(uint8_t *out, int op, bool rsv1, const uint8_t *p, size_t n)
{
    uint8_t *f = out, mask[4];
    uint32_t r = rnd();
    memcpy(mask, &r, 4);
    *f++ = 0x80 | (rsv1 ? 0x40 : 0) | op;
    if (n < 126) *f++ = 0x80 | n;
    else {
        int bytes = n < 65536 ? 2 : 8;
        *f++ = 0x80 | (bytes == 2 ? 126 : 127);
        while (bytes--) *f++ = (uint64_t)n >> (8 * bytes);
    }
    memcpy(f, mask, 4);
    f += 4;
    for (size_t i = 0; i < n; i++) f[i] = p[i] ^ mask[i & 3];
    return f + n - out;
}

void queue_single(conn *c, int op, const void *p, size_t n) /* a control frame or the --sub-msg */
{
    c->ctl_out = realloc(c->ctl_out, c->ctl_out_len + n + 16);
    c->ctl_out_len += build_frame(c->ctl_out + c->ctl_out_len, op, false, p, n);
}

void queue_messages(conn *c, int k, uint64_t t)
{
    for (int i = 0; i < k; i++) c->sent_at[(c->sent_head + c->sent_n++) % o.pipeline] = t;
    c->tx_pending += k * c->frame_len;
}

void flush(conn *c) /* single frames go out only between two messages */
{
    while (c->tx_pending || c->ctl_out_len) {
        size_t off = c->frame_len ? c->tx_pos % c->frame_len : 0, n = c->ctl_out_len;
        bool ctl = c->retry_len ? c->retry_ctl : n && off == 0;
        if (!ctl) {
            n = c->frames * c->frame_len - off;
            if (n > c->tx_pending) n = c->tx_pending;
            if (c->ctl_out_len) n = c->frame_len - off;
            if (n < c->retry_len) n = c->retry_len; /* TLS repeats a write with the same bytes */
        }
        ssize_t r = io_send(c, ctl ? c->ctl_out : c->tx + off, n);
        if (r <= 0) {
            if (r == 0 || errno != EAGAIN) { fail(c, "send"); return; }
            c->retry_len = n, c->retry_ctl = ctl;
            want_out(c, true);
            return;
        }
        c->retry_len = 0;
        if (ctl) memmove(c->ctl_out, c->ctl_out + r, c->ctl_out_len -= r);
        else c->tx_pos += r, c->tx_pending -= r;
        if ((size_t)r < n && !c->ssl) { want_out(c, true); return; }
    }
    want_out(c, false);
}

/* ---- frames in ---- */
static bool inflates_to_payload(conn *c)
{
    z_stream z = {0};
    uint8_t *out = malloc(o.size + 64);
    c->keep = realloc(c->keep, c->keep_len + 4);
    memcpy(c->keep + c->keep_len, "\0\0\xff\xff", 4);
    inflateInit2(&z, -15);
    z.next_in = c->keep, z.avail_in = c->keep_len + 4, z.next_out = out, z.avail_out = o.size + 64;
    inflate(&z, Z_SYNC_FLUSH);
    bool same = z.total_out == o.size && !memcmp(out, payload, o.size);
    inflateEnd(&z);
    free(out), free(c->keep), c->keep = NULL;
    return same;
}

static void end_broadcast(conn *c, uint64_t t)
{
    if (!fan.on) return; /* greetings of the server before the test */
    if (c->idx >= fan.receivers) { fail_protocol(c, "the publisher got a message (--echo-to-sender?)"); return; }
    uint64_t k = c->messages++, slot = k % o.window;
    if (k >= fan.sent) { fail_protocol(c, "message that was not published"); return; }
    if (!o.loose && !c->compressed && c->msg_len != o.size) { fail_protocol(c, "wrong length"); return; }
    if (c->keep && !inflates_to_payload(c)) { fail_protocol(c, "compressed broadcast differs"); return; }
    if (measuring) msgs++, msg_bytes += c->msg_len, compressed_rx += c->compressed, hist_add(&latency, t - fan.sent_at[slot]);
    if (--fan.missing[slot] == 0) {
        if (measuring) hist_add(&last_latency, t - fan.sent_at[slot]);
        fan.done++;
        fan.progress = t;
    }
}

static void end_message(conn *c, uint64_t t)
{
    if (o.mode == FANOUT) { end_broadcast(c, t); return; }
    if (o.mode != ECHO && !running) { c->messages++; return; }
    if (!c->sent_n) { if (running) fail_protocol(c, "message that was not sent"); return; }
    if (c->msg_op != (o.binary ? 2 : 1)) { fail_protocol(c, "wrong opcode"); return; }
    if (!c->compressed && c->msg_len != o.size) { fail_protocol(c, "wrong length"); return; }
    if (c->keep && !inflates_to_payload(c)) { fail_protocol(c, "compressed echo differs"); return; }
    uint64_t spent = t - c->sent_at[c->sent_head];
    c->sent_head = (c->sent_head + 1) % o.pipeline;
    c->sent_n--;
    c->messages++;
    if (measuring) msgs++, msg_bytes += c->msg_len, compressed_rx += c->compressed, hist_add(&latency, spent);
}

static const char *begin_frame(conn *c)
{
    const uint8_t *h = c->hdr;
    int bytes = c->hdr_len - 2;
    c->left = bytes ? 0 : h[1] & 127;
    for (int i = 0; i < bytes; i++) c->left = c->left << 8 | h[2 + i];
    c->fin = h[0] >> 7, c->op = h[0] & 15, c->in_frame = true, c->hdr_len = 0;
    bool rsv1 = h[0] & 0x40;
    if (h[1] & 0x80) return "masked server frame";
    if (h[0] & 0x30) return "rsv2 or rsv3";
    if (c->op >= 8) {
        c->ctl_in_len = 0;
        return !c->fin || rsv1 || c->left > 125 ? "bad control frame" : NULL;
    }
    if (!c->op) return c->msg_op ? NULL : "stray continuation";
    if (c->msg_op) return "new message inside a message";
    if (rsv1 && !o.offer) return "rsv1 without deflate";
    c->msg_op = c->op, c->compressed = rsv1, c->msg_len = 0;
    bool ours = running || (fan.on && !o.loose);
    c->verify = ours && !rsv1 && c->messages % o.verify_every == 0;
    if (ours && rsv1 && !c->messages) c->keep = malloc(16), c->keep_len = 0;
    return NULL;
}

static void end_control(conn *c)
{
    if (c->op == 9) {
        pings++;
        queue_single(c, 10, c->ctl_in, c->ctl_in_len);
        flush(c);
    } else if (c->op == 8 && c->state == OPEN) {
        char why[200];
        int n = c->ctl_in_len;
        snprintf(why, sizeof why, "server sent close %d %.*s", n >= 2 ? c->ctl_in[0] << 8 | c->ctl_in[1] : 0, n > 2 ? n - 2 : 0, c->ctl_in + 2);
        fail_protocol(c, why);
    }
}

int parse(conn *c, const uint8_t *b, size_t n, uint64_t t) /* returns how many messages were completed */
{
    int done = 0;
    for (;;) {
        if (!c->in_frame) {
            for (;;) {
                int len7 = c->hdr[1] & 127, need = c->hdr_len < 2 || len7 < 126 ? 2 : len7 == 126 ? 4 : 10;
                if (c->hdr_len == need) break;
                if (!n) return done;
                c->hdr[c->hdr_len++] = *b++, n--;
            }
            const char *wrong = begin_frame(c);
            if (wrong) { fail_protocol(c, wrong); return done; }
        }
        size_t k = c->left < n ? c->left : n;
        if (c->op >= 8) {
            memcpy(c->ctl_in + c->ctl_in_len, b, k);
            c->ctl_in_len += k;
        } else {
            if (c->verify && (c->msg_len + k > o.size || memcmp(b, payload + c->msg_len, k))) { fail_protocol(c, "payload differs"); return done; }
            if (c->keep) {
                c->keep = realloc(c->keep, c->keep_len + k + 16);
                memcpy(c->keep + c->keep_len, b, k);
                c->keep_len += k;
            }
            c->msg_len += k;
        }
        b += k, n -= k, c->left -= k;
        if (c->left) return done;
        c->in_frame = false;
        if (c->op >= 8) end_control(c);
        else if (c->fin) {
            end_message(c, t);
            c->msg_op = 0;
            done++;
        }
        if (c->state == DEAD) return done;
    }
}

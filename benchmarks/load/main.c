/* The command line of wsload. Build: gcc -O2 -Wall -Wextra -o wsload *.c -lz; with TLS also -DWITH_TLS -lssl -lcrypto. */
#include "wsload.h"
#include <arpa/inet.h>
#include <getopt.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <zlib.h>

const char *const MODES[] = {"", "echo", "fanout", "idle", "churn"};
struct options o = {.host = "127.0.0.1", .path = "/", .tag = "", .port = 9000, .conns = 100, .pipeline = 1, .window = 1,
                    .inflight = 64, .paths = 1, .verify_every = 16, .size = 64, .secs = 5, .warm = 1, .open_timeout = 60};
uint8_t *payload, *packed;
size_t packed_len;

static void usage(void)
{
    fputs(
"usage: wsload --mode echo|fanout|idle|churn [options]     prints one JSON object; exit status 0 only without any error\n"
"  echo    each connection keeps -P messages under way and checks what comes back\n"
"  fanout  -C subscribers on --path, one publisher on --pub-path, --window publications under way\n"
"  idle    opens -C connections and holds them for -T seconds\n"
"  churn   -C connections at a time are opened and closed with the closing handshake, again and again\n"
"target    --host ADDR (loopback only; 127.0.0.1)  --port N (9000)  --path P (/)  --pub-path P (as --path)  --tls (not verified)\n"
"          --paths N (1; more: the connections spread over N paths, P0, P1 and so on)\n"
"handshake --subprotocol X  --header 'Name: value' (repeatable)  --offer-deflate\n"
"load      -C connections (100)  -P messages under way (1)  -S payload bytes (64)  -T seconds (5)  --warm seconds before (1)\n"
"          --text TEXT (sent instead of -S bytes)\n"
"          --binary | --utf8 (default: ASCII text)  --compress (send compressed frames; implies --offer-deflate)\n"
"          --inflight handshakes at a time (64)  --rate handshakes per second (0: no limit)  --open-timeout seconds (60)\n"
"          --srcs N (spread over N source addresses from 127.0.0.2)\n"
"echo      --interval MS (a message on each connection every MS, up to -P under way, instead of one after each answer)\n"
"idle      --exchange (each connection first sends one message and gets it back)\n"
"fanout    --window N (1)  --sub-msg TEXT (each subscriber sends it once)\n"
"          --interval MS (a publication every MS, up to --window under way; its time counts from when it was due)\n"
"          --echo-to-sender (the publisher must get its own messages)  --loose (do not compare what subscribers get)\n"
"checks    --verify-every N (16: compare the payload of every 16th message)\n"
"report    --server-pid PID[,PID] (CPU and memory of these process trees)  --tag TEXT (copied)\n", stderr);
    exit(1);
}

static void options(int argc, char **argv)
{
    enum { MODE = 1, HOST, PORT, PATH, PUB_PATH, SUBPROTOCOL, HEADER, WARM, BINARY, UTF8, RATE, INFLIGHT, SRCS, OFFER, COMPRESS, SUB_MSG, TEXT,
           WINDOW, TO_SENDER, LOOSE, VERIFY, PID, TAG, OPEN_TIMEOUT, TLS, INTERVAL, EXCHANGE, PATHS };
    static const struct option names[] = {
        {"mode", 1, 0, MODE}, {"host", 1, 0, HOST}, {"port", 1, 0, PORT}, {"path", 1, 0, PATH}, {"pub-path", 1, 0, PUB_PATH},
        {"subprotocol", 1, 0, SUBPROTOCOL}, {"header", 1, 0, HEADER}, {"warm", 1, 0, WARM}, {"binary", 0, 0, BINARY}, {"utf8", 0, 0, UTF8},
        {"rate", 1, 0, RATE}, {"inflight", 1, 0, INFLIGHT}, {"srcs", 1, 0, SRCS}, {"offer-deflate", 0, 0, OFFER}, {"compress", 0, 0, COMPRESS},
        {"sub-msg", 1, 0, SUB_MSG}, {"text", 1, 0, TEXT}, {"window", 1, 0, WINDOW}, {"echo-to-sender", 0, 0, TO_SENDER},
        {"loose", 0, 0, LOOSE}, {"verify-every", 1, 0, VERIFY}, {"server-pid", 1, 0, PID}, {"tag", 1, 0, TAG},
        {"open-timeout", 1, 0, OPEN_TIMEOUT}, {"tls", 0, 0, TLS}, {"interval", 1, 0, INTERVAL}, {"exchange", 0, 0, EXCHANGE},
        {"paths", 1, 0, PATHS}, {0, 0, 0, 0}};
    size_t used;
    for (int k; (k = getopt_long(argc, argv, "C:P:S:T:", names, 0)) != -1;) switch (k) {
        case MODE: for (int m = ECHO; m <= CHURN; m++) if (!strcmp(optarg, MODES[m])) o.mode = m; break;
        case HOST: o.host = optarg; break;
        case PORT: o.port = atoi(optarg); break;
        case PATH: o.path = optarg; break;
        case PUB_PATH: o.pub_path = optarg; break;
        case SUBPROTOCOL: o.subprotocol = optarg; break;
        case HEADER: used = strlen(o.headers); snprintf(o.headers + used, sizeof o.headers - used, "%s\r\n", optarg); break;
        case WARM: o.warm = atof(optarg); break;
        case BINARY: o.binary = true; break;
        case UTF8: o.utf8 = true; break;
        case RATE: o.rate = atof(optarg); break;
        case INFLIGHT: o.inflight = atoi(optarg); break;
        case SRCS: o.srcs = atoi(optarg); break;
        case OFFER: o.offer = true; break;
        case COMPRESS: o.compress = o.offer = true; break;
        case SUB_MSG: o.sub_msg = optarg; break;
        case TEXT: o.text = optarg; break;
        case WINDOW: o.window = atoi(optarg); break;
        case TO_SENDER: o.echo_to_sender = true; break;
        case LOOSE: o.loose = true; break;
        case VERIFY: o.verify_every = atoi(optarg); break;
        case PID: for (char *p = strtok(optarg, ","); p && o.npids < 64; p = strtok(0, ",")) o.pids[o.npids++] = atoi(p); break;
        case TAG: o.tag = optarg; break;
        case OPEN_TIMEOUT: o.open_timeout = atof(optarg); break;
        case TLS: o.tls = true; break;
        case INTERVAL: o.interval = atof(optarg); break;
        case EXCHANGE: o.exchange = true; break;
        case PATHS: o.paths = atoi(optarg); break;
        case 'C': o.conns = atoi(optarg); break;
        case 'P': o.pipeline = atoi(optarg); break;
        case 'S': o.size = strtoul(optarg, 0, 0); break;
        case 'T': o.secs = atof(optarg); break;
        default: usage();
    }
    if (!o.mode || optind < argc || o.conns < 1 || o.pipeline < 1 || o.window < 1 || o.verify_every < 1 || o.inflight < 1 || o.paths < 1) usage();
    if (!o.pub_path) o.pub_path = o.path;
    if (o.text) o.size = strlen(o.text);
}

static void make_payload(void)
{
    static const char ascii[] = "The quick brown fox jumps over the lazy dog, 0123456789 times; ", greek[] = "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
    payload = malloc(o.size + 16);
    for (size_t i = 0; i < o.size; i++)
        payload[i] = o.binary ? (uint8_t)rnd() : !o.utf8 ? ascii[i % 63] : i < o.size - o.size % 11 ? greek[i % 11] : 'x';
    if (o.text) memcpy(payload, o.text, o.size);
    if (!o.compress) return;
    z_stream z = {0};
    deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    size_t room = deflateBound(&z, o.size) + 64;
    packed = malloc(room);
    z.next_in = payload, z.avail_in = o.size, z.next_out = packed, z.avail_out = room;
    deflate(&z, Z_SYNC_FLUSH);
    packed_len = z.total_out - 4; /* without 00 00 ff ff (RFC 7692, 7.2.1) */
    deflateEnd(&z);
}

static bool set_target(void)
{
    struct sockaddr_in *v4 = (void *)&dst;
    struct sockaddr_in6 *v6 = (void *)&dst;
    if (inet_pton(AF_INET, o.host, &v4->sin_addr) == 1 && ntohl(v4->sin_addr.s_addr) >> 24 == 127) {
        v4->sin_family = AF_INET, v4->sin_port = htons(o.port), dst_len = sizeof *v4;
        return true;
    }
    v6->sin6_family = AF_INET6, v6->sin6_port = htons(o.port), dst_len = sizeof *v6;
    return inet_pton(AF_INET6, o.host, &v6->sin6_addr) == 1 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

static bool set_tls(void)
{
#ifdef WITH_TLS
    tls_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_mode(tls_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(tls_ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(tls_ctx, SSL_SESS_CACHE_OFF); /* full handshakes */
    return true;
#else
    return false;
#endif
}

int main(int argc, char **argv)
{
    options(argc, argv);
    if (!set_target()) { fprintf(stderr, "wsload: only loopback targets\n"); return 1; }
    if (o.tls && !set_tls()) { fprintf(stderr, "wsload: built without TLS (-DWITH_TLS)\n"); return 1; }
    signal(SIGPIPE, SIG_IGN), signal(SIGINT, on_signal), signal(SIGTERM, on_signal);
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    rng ^= now_ns() * 2654435761ull;
    make_payload();
    ep = epoll_create1(EPOLL_CLOEXEC);
    nconns = o.conns + (o.mode == FANOUT);
    conns = calloc(nconns, sizeof *conns);
    for (int i = 0; i < nconns; i++) conns[i].idx = i, conns[i].fd = -1;
    if (o.mode == CHURN) return run_churn();
    usage_t before = spent();
    open_all();
    if (o.mode == IDLE) return run_idle(before);
    if (n_open == nconns) return run_traffic();
    errors += !errors;
    usage_t opened = spent();
    report("", 0, 0, &before, &opened, &hs_latency);
    print_string("response", first_response);
    puts("}");
    return 3;
}

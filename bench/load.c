// The load generator and the backend of the bench: one thread each, epoll, so that the program under test gets its core.
//
//   load backend PORT [CERT KEY]        plain backend, or TLS with a certificate; PORT 0 = any; prints "listening PORT"
//   load run PORT KIND MODE CONNS SECS [OPERATIONS]
//                                       one measurement; prints "ready" when it begins, then one line of JSON
//   load hold PORT KIND CONNS           opens CONNS, one echo each, prints {"open":N,"errors":N}, holds until stdin ends
//
// KIND  plain | tls12 | tls13           AES-128-GCM, no verification (the peers are our own)
// MODE  D download · U upload · E 64-byte round trips · C connect + handshake + 16-byte echo + close · R the same, resumed
//
// A connection's first byte tells the backend what to do: S sink, D source, E echo.
// Build: gcc -O2 -o load load.c -lssl -lcrypto
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 65536, MESSAGE = 64, GREETING = 16, SAMPLES = 2000000, AGAIN = -2 };
enum state { CONNECTING, HANDSHAKE, WAITING, RUNNING, HELD };

typedef struct {
  int fd;
  SSL *ssl;
  enum state state;
  char mode;     // backend: 0 until the first byte came
  unsigned want; // what epoll watches
  int got, left; // bytes of the answer so far; bytes still to be written
  char *pending; // backend: echo that did not fit
  double began;
} conn_t;

static char buffer[1 << 17];
static int epoll_fd, port;
static char kind[8], mode;
static SSL_CTX *context;
static SSL_SESSION *session; // the newest ticket, for mode R
static long operations, errors, resumed;
static long long bytes;
static float *samples;
static long sample_count;
static unsigned source; // rotates the source address, so that ports in TIME_WAIT do not run out

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void watch(conn_t *c, unsigned want, int operation) {
  if (operation == EPOLL_CTL_MOD && c->want == want) return;
  struct epoll_event event = {.events = want, .data.ptr = c};
  c->want = want;
  if (epoll_ctl(epoll_fd, operation, c->fd, &event)) die("epoll_ctl");
}

static void no_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/** Bytes moved, 0 at the end, AGAIN, or -1. */
static int outcome(conn_t *c, int result) {
  if (result > 0) return result;
  if (!c->ssl) return result == 0 ? 0 : errno == EAGAIN ? AGAIN : -1;
  int error = SSL_get_error(c->ssl, result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return AGAIN;
  return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}
static int put(conn_t *c, const void *from, int length) {
  return outcome(c, c->ssl ? SSL_write(c->ssl, from, length) : (int)send(c->fd, from, length, MSG_NOSIGNAL));
}
static int take(conn_t *c, void *to, int length) {
  return outcome(c, c->ssl ? SSL_read(c->ssl, to, length) : (int)recv(c->fd, to, length, 0));
}

static void drop(conn_t *c, int polite) {
  if (c->ssl) {
    if (polite) SSL_shutdown(c->ssl);
    SSL_free(c->ssl);
  }
  close(c->fd);
  free(c->pending);
  c->ssl = NULL;
  c->pending = NULL;
  c->fd = -1;
}

// --- the backend ----------------------------------------------------------------------------------------------------

static void answer(conn_t *c) {
  if (c->state == HANDSHAKE) {
    int result = outcome(c, SSL_accept(c->ssl));
    if (result == AGAIN) return;
    if (result <= 0) goto end;
    c->state = RUNNING;
  }
  if (c->pending) {
    int n = put(c, c->pending + c->got, c->left);
    if (n == AGAIN) return;
    if (n <= 0) goto end;
    c->got += n, c->left -= n;
    if (c->left) return;
    free(c->pending);
    c->pending = NULL;
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
  }
  for (int turn = 0; turn < 4; turn++) { // then the others get theirs
    if (c->mode == 'D') {
      int n = put(c, buffer, CHUNK);
      if (n == AGAIN) return;
      if (n <= 0) goto end;
      continue;
    }
    int n = take(c, buffer, sizeof buffer), skip = 0;
    if (n == AGAIN) return;
    if (n <= 0) goto end;
    if (!c->mode) {
      c->mode = buffer[0], skip = 1;
      if (c->mode == 'D') {
        watch(c, EPOLLOUT, EPOLL_CTL_MOD);
        continue;
      }
    }
    if (c->mode == 'S' || n == skip) continue;
    int done = put(c, buffer + skip, n - skip);
    if (done == n - skip) {
      if (n < 4096) return; // an echo: the next message comes with the next event
      continue;
    }
    if (done == 0 || done == -1) goto end;
    if (done == AGAIN) done = 0;
    c->left = n - skip - done, c->got = 0;
    c->pending = malloc(c->left);
    memcpy(c->pending, buffer + skip + done, c->left);
    watch(c, EPOLLOUT, EPOLL_CTL_MOD);
    return;
  }
  return;
end:
  drop(c, 1);
  free(c);
}

static void backend(int argc, char **argv) {
  if (argc > 4) {
    context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, argv[3]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[4], SSL_FILETYPE_PEM) != 1) {
      fprintf(stderr, "load: cannot use %s and %s\n", argv[3], argv[4]);
      exit(1);
    }
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  }
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 8192)) die("listen");
  getsockname(listener, (void *)&address, &length);
  printf("listening %d\n", ntohs(address.sin_port));
  fflush(stdout);
  struct epoll_event events[512], event = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int count = epoll_wait(epoll_fd, events, 512, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr) {
        answer(events[i].data.ptr);
        continue;
      }
      int fd;
      while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        no_delay(fd);
        conn_t *c = calloc(1, sizeof *c);
        c->fd = fd, c->state = RUNNING;
        if (context) {
          c->ssl = SSL_new(context), c->state = HANDSHAKE;
          SSL_set_fd(c->ssl, fd);
          SSL_set_accept_state(c->ssl);
        }
        watch(c, EPOLLIN, EPOLL_CTL_ADD);
      }
    }
  }
}

// --- the load -------------------------------------------------------------------------------------------------------

static void begin(conn_t *c) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + source++ % 200)};
  int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (c->fd < 0) die("socket");
  no_delay(c->fd);
  setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  bind(c->fd, (void *)&from, sizeof from);
  c->state = CONNECTING, c->began = now(), c->got = c->left = 0;
  if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
  watch(c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void note(conn_t *c) {
  double t = now();
  operations++;
  if (sample_count < SAMPLES) samples[sample_count++] = t - c->began;
  c->began = t;
}

/** Says to the backend what this connection is for, with the first message. */
static int greet(conn_t *c) {
  char first[1 + MESSAGE] = {mode == 'U' ? 'S' : mode == 'D' ? 'D' : 'E'};
  int length = mode == 'E' ? 1 + MESSAGE : mode == 'U' || mode == 'D' ? 1 : 1 + GREETING;
  c->state = RUNNING, c->got = 0;
  if (mode == 'E') c->began = now();
  watch(c, mode == 'U' ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
  return put(c, first, length) == length;
}

/** The handshake is over. What measures streams waits here until all are open; it must not disturb their handshakes. */
static int settle(conn_t *c) {
  if (mode == 'C' || mode == 'R' || mode == 'H') return greet(c) ? 1 : -1;
  c->state = WAITING;
  watch(c, EPOLLIN, EPOLL_CTL_MOD);
  return 1;
}

/** Moves one connection on. @returns 0 when it ended, -1 when it failed. */
static int step(conn_t *c, unsigned happened) {
  if (c->state == CONNECTING) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error || (happened & EPOLLERR)) return -1;
    if (strcmp(kind, "plain")) {
      c->ssl = SSL_new(context), c->state = HANDSHAKE;
      SSL_set_fd(c->ssl, c->fd);
      SSL_set_connect_state(c->ssl);
      SSL_set_tlsext_host_name(c->ssl, "localhost");
      if (mode == 'R' && session) { // a copy: libssl marks a TLS 1.3 session as spent, and not every server renews it
        SSL_SESSION *copy = SSL_SESSION_dup(session);
        SSL_set_session(c->ssl, copy);
        SSL_SESSION_free(copy);
      }
    } else return settle(c);
  }
  if (c->state == HANDSHAKE) {
    int result = outcome(c, SSL_do_handshake(c->ssl));
    if (result == AGAIN) return watch(c, SSL_want_write(c->ssl) ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD), 1;
    if (result <= 0) return -1;
    resumed += SSL_session_reused(c->ssl);
    return settle(c);
  }
  if (c->state == HELD || c->state == WAITING) return take(c, buffer, sizeof buffer) == AGAIN ? 1 : -1;
  switch (mode) {
    case 'U': {
      int n = put(c, buffer, CHUNK);
      if (n == AGAIN) return 1;
      if (n > 0) bytes += n;
      return n > 0 ? 1 : -1;
    }
    case 'D': {
      int n = take(c, buffer, sizeof buffer);
      if (n == AGAIN) return 1;
      if (n > 0) bytes += n;
      return n > 0 ? 1 : -1;
    }
    case 'E': {
      int n = take(c, buffer, MESSAGE - c->got);
      if (n == AGAIN) return 1;
      if (n <= 0) return -1;
      if ((c->got += n) < MESSAGE) return 1;
      note(c);
      c->got = 0;
      return put(c, buffer, MESSAGE) == MESSAGE ? 1 : -1;
    }
    default: { // C, R, H
      int n = take(c, buffer, GREETING - c->got);
      if (n == AGAIN) return 1;
      if (n <= 0) return -1;
      if ((c->got += n) < GREETING) return 1;
      note(c);
      if (mode != 'H') return 0;
      c->state = HELD;
      return 1;
    }
  }
}

static int keep(SSL *ssl, SSL_SESSION *fresh) {
  (void)ssl;
  if (session) SSL_SESSION_free(session);
  session = fresh;
  return 1;
}

static int ascending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

static void load(int count, double seconds, long most) {
  context = SSL_CTX_new(TLS_client_method());
  int version = !strcmp(kind, "tls12") ? TLS1_2_VERSION : TLS1_3_VERSION;
  SSL_CTX_set_min_proto_version(context, version);
  SSL_CTX_set_max_proto_version(context, version);
  SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
  SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
  SSL_CTX_set_cipher_list(context, "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256");
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  if (mode == 'R') {
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep);
  }
  samples = malloc(sizeof(float) * SAMPLES);
  conn_t *conns = calloc(count, sizeof *conns);
  double began = now(), end = began + seconds;
  int open = 0, ready = mode == 'C' || mode == 'R' || mode == 'H', running = 0;
  if (ready && mode != 'H') puts("ready"), fflush(stdout);
  for (; open < count && open < 200; open++) begin(conns + open); // the rest follows as these get through: no SYN flood
  struct epoll_event events[512];
  while (mode == 'H' ? operations + errors < count : !ready || (now() < end && operations < most)) {
    int n = epoll_wait(epoll_fd, events, 512, 20);
    for (int i = 0; i < n; i++) {
      conn_t *c = events[i].data.ptr;
      int was = c->state, result = step(c, events[i].events);
      if (was < WAITING && c->state >= WAITING && result == 1) {
        running++;
        if (open < count) begin(conns + open++);
      }
      if (result == 1) continue;
      if (result < 0) errors++;
      drop(c, result == 0);
      if (result < 0 && open < count) begin(conns + open++);
      else if (mode == 'C' || mode == 'R') begin(c);
      else if (result < 0 && mode != 'H' && errors >= count) goto out;
    }
    if (!ready && running + errors >= count) { // all are through their handshake: the measurement begins
      ready = 1;
      for (int i = 0; i < open; i++) {
        if (conns[i].fd > 0 && conns[i].state == WAITING && !greet(conns + i)) errors++;
      }
      puts("ready"), fflush(stdout);
      began = now(), end = began + seconds;
    }
  }
out:;
  double took = now() - began;
  if (mode == 'H') {
    printf("{\"open\":%ld,\"errors\":%ld}\n", operations, errors);
    fflush(stdout);
    while (read(0, buffer, sizeof buffer) > 0);
    return;
  }
  qsort(samples, sample_count, sizeof *samples, ascending);
  double p50 = sample_count ? samples[sample_count / 2] * 1e6 : 0, p99 = sample_count ? samples[(long)(sample_count * .99)] * 1e6 : 0;
  printf("{\"seconds\":%.3f,\"bytes\":%lld,\"operations\":%ld,\"resumed\":%ld,\"errors\":%ld,\"p50\":%.0f,\"p99\":%.0f}\n", took,
         bytes, operations, resumed, errors, p50, p99);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  epoll_fd = epoll_create1(0);
  if (argc > 2 && !strcmp(argv[1], "backend")) backend(argc, argv);
  int runs = argc > 6 && !strcmp(argv[1], "run"), holds = argc > 4 && !strcmp(argv[1], "hold");
  if (!runs && !holds) {
    fprintf(stderr, "load backend PORT [CERT KEY] | load run PORT plain|tls12|tls13 D|U|E|C|R CONNS SECS [OPERATIONS] | load hold PORT KIND CONNS\n");
    return 2;
  }
  port = atoi(argv[2]);
  snprintf(kind, sizeof kind, "%s", argv[3]);
  mode = runs ? argv[4][0] : 'H';
  load(atoi(argv[runs ? 5 : 4]), runs ? atof(argv[6]) : 0, argc > 7 ? atol(argv[7]) : LONG_MAX);
  fflush(stdout);
  _exit(0);
}

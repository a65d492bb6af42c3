// A paced flood for bench/endpoint.ts: connects RATE times a second from an address that is not wanted, and keeps the
// newest thousand sockets open, as clients would, until the other side has turned them away.
//
//   flood PORT SOURCE RATE SECONDS      prints {"connects":N,"refused":N,"seconds":S}
//
// Build: gcc -O2 -o flood flood.c
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RING = 1000 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int count, char **words) {
  if (count != 5) return 2;
  double rate = atof(words[3]), seconds = atof(words[4]);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
  struct sockaddr_in from = {.sin_family = AF_INET};
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  inet_pton(AF_INET, words[2], &from.sin_addr);
  int ring[RING];
  for (int at = 0; at < RING; at++) ring[at] = -1;
  struct linger abrupt = {.l_onoff = 1};
  long connects = 0, refused = 0;
  double began = now();
  while (now() - began < seconds) {
    long due = (now() - began) * rate;
    if (connects >= due) {
      usleep(200);
      continue;
    }
    int *place = &ring[connects % RING];
    if (*place >= 0) {
      char byte;
      // A reset or an end: it was turned away before it could say anything.
      if (recv(*place, &byte, 1, MSG_DONTWAIT) == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) refused++;
      close(*place);
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &abrupt, sizeof abrupt);
    bind(fd, (struct sockaddr *)&from, sizeof from);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
      close(fd);
      fd = -1;
    }
    *place = fd;
    connects++;
  }
  printf("{\"connects\":%ld,\"refused\":%ld,\"seconds\":%.2f}\n", connects, refused, now() - began);
  return 0;
}

#!/bin/sh
# Runs as init of a User-Mode Linux: loads PPP, joins by sstpc and pppd, and says on the console what it sees, a line each.
# Named by the kernel's command line: sstp_args (a file with sstpc's and pppd's arguments, shell-quoted), sstp_try (how often).
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
mount -t proc proc /proc
for word in $(cat /proc/cmdline); do
  case $word in sstp_*=*) export "$word" ;; esac
done
command=$(cat "$sstp_args") # before /tmp, where it may lie, is another one
mount -t sysfs sys /sys
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mkdir -p /run/lock /run/sstpc
modules=/usr/lib/uml/modules/$(uname -r)/kernel
for module in drivers/net/slip/slhc lib/crc-ccitt drivers/net/ppp/ppp_generic drivers/net/ppp/ppp_async; do
  # finit_module: there may be no modprobe here.
  perl -e 'open F, "<", $ARGV[0] or die $!; my $none = ""; syscall(313, fileno(F), $none, 0) == 0 or die $!' "$modules/$module.ko" ||
    echo "sstp: failed module $module"
done
ip link set lo up
ip addr add 10.88.0.2/24 dev eth0
ip link set eth0 up

# sstpc 1.0.18 gives up when its first write completes at once, before it has read anything: it is started again.
try=0
while [ "$try" -lt "$sstp_try" ]; do
  try=$((try + 1))
  sh -c "$command" </dev/null >/run/sstp.log 2>&1 &
  pid=$!
  turn=0
  while [ "$turn" -lt 60 ] && kill -0 "$pid" 2>/dev/null; do
    address=$(ip -4 -o addr show dev ppp0 up 2>/dev/null | sed -n 's/.*inet \([0-9.]*\) peer \([0-9.]*\).*/\1 \2/p')
    [ -n "$address" ] && break 2
    turn=$((turn + 1))
    sleep 0.5
  done
  kill "$pid" 2>/dev/null
  wait "$pid" 2>/dev/null
  sed 's/^/sstp: log /' /run/sstp.log
  grep -q 'terminated unsuccessfully' /run/sstp.log || break
done
if [ -n "$address" ]; then
  echo "sstp: address $address"
  ip route add 10.0.1.0/24 dev ppp0
  ping -c 3 -i 0.3 -W 5 192.168.30.1 >/run/ping.log 2>&1 && echo "sstp: ping ok"
  echo "sstp: page $(curl -s -m 20 http://192.168.30.1/)"
  curl -s -m 60 -o /run/bulk http://192.168.30.1/bulk
  echo "sstp: bulk $(sha256sum </run/bulk | cut -d' ' -f1)"
  echo "sstp: unreached $(curl -s -m 3 -o /dev/null -w '%{http_code}' http://192.168.30.1:81/)"
  echo "sstp: joined"
  # Until the gate or the test ends it; each answered echo is told.
  ping -i 0.2 192.168.30.1 | sed -un 's/.*icmp_seq=\([0-9]*\).*time=.*/sstp: echo \1/p' &
  turn=0
  while [ "$turn" -lt 120 ] && kill -0 "$pid" 2>/dev/null; do
    turn=$((turn + 1))
    sleep 0.5
  done
  sed 's/^/sstp: log /' /run/sstp.log
fi
echo "sstp: ended"
echo o >/proc/sysrq-trigger
sleep 10

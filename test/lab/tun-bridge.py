# Two network namespaces joined by two TUN devices and this process: every packet waits, some are lost.
# For kernels without the netem queue discipline. Arguments: left and right namespace, delay in ms, loss in percent.
import ctypes, fcntl, heapq, os, random, select, struct, subprocess, sys, time

left, right, delay, loss = sys.argv[1], sys.argv[2], float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100
TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 1, 0x1000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
home = os.open("/proc/self/ns/net", os.O_RDONLY)


def device(namespace, own, other):
    inside = os.open(f"/var/run/netns/{namespace}", os.O_RDONLY)
    assert libc.setns(inside, CLONE_NEWNET) == 0
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH14x", b"lab0", IFF_TUN | IFF_NO_PI))
    for command in (
        f"ip addr add 10.77.0.{own} peer 10.77.0.{other} dev lab0",
        f"ip -6 addr add fd77::{own}/64 dev lab0 nodad",
        "ip link set lab0 up txqueuelen 2000",
    ):
        subprocess.run(command.split(), check=True)
    assert libc.setns(home, CLONE_NEWNET) == 0
    return fd


ends = [device(left, 1, 2), device(right, 2, 1)]
to = {ends[0]: ends[1], ends[1]: ends[0]}
waiting, count, lost = [], 0, 0
print("ready", flush=True)
while True:
    now = time.monotonic()
    while waiting and waiting[0][0] <= now:
        _, _, fd, packet = heapq.heappop(waiting)
        try:
            os.write(fd, packet)
        except OSError:
            pass
    timeout = max(0.0, waiting[0][0] - now) if waiting else None
    for fd in select.select(ends, [], [], timeout)[0]:
        try:
            while True:
                packet = os.read(fd, 65536)
                count += 1
                if random.random() >= loss:
                    heapq.heappush(waiting, (time.monotonic() + delay, count, to[fd], packet))
        except BlockingIOError:
            pass

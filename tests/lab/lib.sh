# The laboratory's parts, for `enter` and for scripts that run inside it.
#
# Everything here expects to be inside the private namespaces that `enter`
# made, where fixed paths are safe: /run/lab is ours, /var/log/kamailio.log is
# the server's log, /dev/log is our rsyslogd's.

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# in_ns NAME COMMAND...: runs COMMAND in the network of victim, net, bad or phone.
in_ns() {
  local name=$1
  shift
  nsenter --net="/run/netns/$name" "$@"
}

# until_true WHAT COMMAND...: tries COMMAND until it succeeds, for half a minute at least.
until_true() {
  local what=$1 try
  shift
  for ((try = 0; try < 600; try++)); do
    if "$@" 2>/dev/null; then return; fi
    sleep 0.05
  done
  echo "lab: waited half a minute in vain: $what" >&2
  tail -n 20 /run/lab/*.err /run/lab/syslog 2>/dev/null >&2
  return 1
}

# private_folders: /run, /var/log and /dev of our own, empty but for the usual devices.
private_folders() {
  local out
  if [[ -n ${LAB_OUT:-} ]]; then
    mkdir -p "$LAB_OUT"
    [[ -z $(ls -A "$LAB_OUT") ]] || { echo "lab: $LAB_OUT is not empty" >&2; return 1; }
  fi
  out=$(realpath "${LAB_OUT:-/run}")
  exec {kept}<"$out" # a handle on it, since /run is about to be covered
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/lab /run/netns /run/lock
  [[ -z ${LAB_OUT:-} ]] || mount --bind "/proc/self/fd/$kept" /run/lab
  exec {kept}<&-
  mount -t tmpfs -o mode=755 tmpfs /var/log

  local dev=/run/dev node
  mkdir $dev
  mount -t tmpfs -o mode=755 tmpfs $dev
  for node in null zero full random urandom tty; do
    touch $dev/$node
    mount --bind /dev/$node $dev/$node
  done
  ln -s /proc/self/fd $dev/fd
  ln -s fd/0 $dev/stdin
  ln -s fd/1 $dev/stdout
  ln -s fd/2 $dev/stderr
  mkdir $dev/shm
  mount -t tmpfs -o mode=1777 tmpfs $dev/shm # Kamailio's and Python's shared memory
  mount --move $dev /dev
}

# join NAME BRIDGE V4-OR-V6...: a host NAME with these addresses, on a bridge of the router.
# The addresses carry their prefix lengths; `nodad` since nobody else has them.
# The router of each network is its address 1.
join() {
  local name=$1 bridge=$2 addr
  shift 2
  ip netns add "$name"
  ip -n net link add name "to$bridge%d" master "$bridge" up type veth peer name eth0 netns "$name"
  ip -n "$name" link set lo up
  ip -n "$name" link set eth0 up
  for addr in "$@"; do
    case $addr in
      *:*) ip -n "$name" addr add "$addr" dev eth0 nodad ;;
      *) ip -n "$name" addr add "$addr" dev eth0 ;;
    esac
    ip -n "$name" route add default via "$(router_of "$addr")"
  done
}

# router_of ADDR: the router's address in the network that ADDR is in.
router_of() {
  case $1 in
    192.0.2.*) echo 192.0.2.1 ;;
    198.51.100.*) echo 198.51.100.1 ;;
    203.0.113.*) echo 203.0.113.1 ;;
    2001:db8:bad:*) echo 2001:db8:bad::1 ;;
    2001:db8:20:*) echo 2001:db8:20::1 ;;
    *) echo 2001:db8::1 ;;
  esac
}

# bridge NAME ADDR...: one of the router's networks.
# With a fixed hardware address: a bridge takes that of a port otherwise, another
# one when the next port joins, and all who speak to the router then speak to nobody.
bridge() {
  local name=$1 addr
  shift
  ip -n net link add "$name" address 02:00:c0:00:02:01 up type bridge forward_delay 0
  for addr in "$@"; do ip -n net addr add "$addr" dev "$name"; done
}

lay_network() {
  ip netns add net
  ip -n net link set lo up
  in_ns net sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
    net.ipv6.conf.default.accept_dad=0
  bridge home 192.0.2.1/24 192.0.2.53/24 2001:db8::1/64
  bridge bad 198.51.100.1/24 2001:db8:bad::1/48
  bridge phone 203.0.113.1/24 2001:db8:20::1/64
  join victim home 192.0.2.10/24 2001:db8::10/64
  join phone phone 203.0.113.20/24 2001:db8:20::20/64
}

count_packets() { in_ns victim nft -f "$lab/counters.nft"; }

# attacker ADDR: one more host that is up to no good, 198.51.100.N or 2001:db8:bad:N::1.
# Its network namespace is named by the address.
attacker() {
  [[ ! -e /run/netns/$1 ]] || return 0
  case $1 in
    *:*) join "$1" bad "$1/48" ;;
    *) join "$1" bad "$1/24" ;;
  esac
}

start_rsyslog() {
  in_ns victim rsyslogd -n -f "$lab/rsyslog.conf" -iNONE \
    >/run/lab/rsyslogd.err 2>&1 &
  until_true "rsyslogd opens /dev/log" test -S /dev/log
  touch /var/log/kamailio.log # so that who follows it can start before the first line
}

start_kamailio() {
  cp -r "$lab/users" /run/lab/users
  mkdir -p /run/kamailio
  in_ns victim /usr/sbin/kamailio -DD -f "$lab/kamailio.cfg" -P /run/lab/kamailio.pid \
    -Y /run/kamailio -m 32 -M 4 >/run/lab/kamailio.err 2>&1 &
  until_true "Kamailio answers an OPTIONS" in_ns phone bash -c "source '$lab/lib.sh'; answers 192.0.2.10"
}

# answers ADDR: does a SIP server there answer an OPTIONS?
answers() {
  python3 - "$1" <<'PYTHON'
import socket, sys
request = [f"OPTIONS sip:{sys.argv[1]} SIP/2.0", "Via: SIP/2.0/UDP 203.0.113.20;rport;branch=z9hG4bK-lab",
           "Max-Forwards: 70", "From: <sip:lab@lab.invalid>;tag=lab", f"To: <sip:{sys.argv[1]}>",
           "Call-ID: lab", "CSeq: 1 OPTIONS", "Content-Length: 0", "", ""]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
    server.settimeout(0.3)
    server.connect((sys.argv[1], 5060))
    server.send("\r\n".join(request).encode())
    sys.exit(not server.recv(2048).startswith(b"SIP/2.0 200"))
PYTHON
}

# attack PROGRAM OPTION... ADDR [OPTION...]: one of sipvicious's, from ADDR, at the victim.
# sipvicious 0.3.3 forgets its -b, so the address must be the only one its host has,
# and it writes an IPv6 address into Via without the brackets, so we give it some.
attack() {
  local program=$1 options=() from='' arg
  shift
  for arg in "$@"; do
    if [[ -z $from && $arg =~ ^(198\.51\.100\.|2001:db8:bad:) ]]; then from=$arg; else options+=("$arg"); fi
  done
  [[ -n $from ]] || { echo "lab: $program needs a source, as 198.51.100.7 or 2001:db8:bad:7::1" >&2; return 2; }
  attacker "$from"
  case $from in
    *:*) in_ns "$from" "$program" "${options[@]}" -6 -x "[$from]" 2001:db8::10 ;;
    *) in_ns "$from" "$program" "${options[@]}" -x "$from" 192.0.2.10 ;;
  esac
}

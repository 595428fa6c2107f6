package listen

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// peerUID is the user at the other end: by SO_PEERCRED for a Unix socket, and by
// the kernel's table of connections for one over loopback.
func peerUID(c net.Conn) (int, error) {
	switch c := c.(type) {
	case *net.UnixConn:
		return unixUID(c)
	case *net.TCPConn:
		return tcpUID(c)
	}
	return 0, errNoPeer
}

func unixUID(c *net.UnixConn) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if credErr != nil {
		return 0, fmt.Errorf("reading SO_PEERCRED: %w", credErr)
	}
	return int(cred.Uid), nil
}

// tcpUID looks for the client's end in /proc/net: proc(5) has the format. The
// other end of a connection over loopback is in the same table, with its owner.
func tcpUID(c *net.TCPConn) (int, error) {
	theirs, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return 0, err
	}
	ours, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		return 0, err
	}
	if !theirs.Addr().Unmap().IsLoopback() {
		return 0, fmt.Errorf("%s is not on loopback", theirs)
	}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		uid, found, err := ownerIn(table, theirs, ours)
		if found || err != nil {
			return uid, err
		}
	}
	return 0, fmt.Errorf("%s: %w", theirs, ErrGone)
}

// listening is the state of a listener, of the same header.
const listening = "0A"

// holder is the user whose process listens at an address, or at all of its port.
func holder(at netip.AddrPort) (uid int, found bool) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		raw, err := os.ReadFile(table)
		if err != nil {
			continue // only a hint is lost
		}
		for line := range strings.Lines(string(raw)) {
			fields := strings.Fields(line)
			if len(fields) < 10 || fields[3] != listening || !strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", at.Port())) {
				continue
			}
			host, _, _ := strings.Cut(fields[1], ":")
			if fields[1] != procAddress(at, table) && strings.Trim(host, "0") != "" {
				continue // another address of the port
			}
			if uid, err = strconv.Atoi(fields[7]); err == nil {
				return uid, true
			}
		}
	}
	return 0, false
}

// established is the state of a connection that both ends hold: TCP_ESTABLISHED of
// the kernel's include/net/tcp_states.h.
const established = "01"

// ownerIn takes an open end alone. One that was closed stays in the table until it
// is over, and says user 0 and inode 0 there, whoever it was.
func ownerIn(table string, theirs, ours netip.AddrPort) (uid int, found bool, err error) {
	f, err := os.Open(table)
	if os.IsNotExist(err) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = f.Close() }() // only read
	from, to := procAddress(theirs, table), procAddress(ours, table)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if !strings.Contains(lines.Text(), from) {
			continue
		}
		// sl local rem st tx:rx tr:tm retrnsmt uid timeout inode
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[1] == from && fields[2] == to && fields[3] == established && fields[9] != "0" {
			uid, err := strconv.Atoi(fields[7])
			return uid, err == nil, err
		}
	}
	return 0, false, lines.Err()
}

// procAddress writes an address as /proc/net/tcp and tcp6 do: 32-bit words in the
// machine's byte order, then the port, in hexadecimal.
func procAddress(a netip.AddrPort, table string) string {
	addr := a.Addr().Unmap()
	var raw []byte
	if strings.HasSuffix(table, "6") {
		b := addr.As16()
		raw = b[:]
	} else if addr.Is4() {
		b := addr.As4()
		raw = b[:]
	}
	out := make([]byte, len(raw))
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(out[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	return strings.ToUpper(hex.EncodeToString(out)) + fmt.Sprintf(":%04X", a.Port())
}

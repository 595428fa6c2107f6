package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
)

// TestAClosedConnectionIsNobodys has a client send and go, as who does not care for
// the answer does. The kernel's table then says user 0 of it.
func TestAClosedConnectionIsNobodys(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		lis, err := net.Listen("tcp", network)
		must(t, err)
		client, err := net.Dial("tcp", lis.Addr().String())
		must(t, err)
		conn, err := lis.Accept()
		must(t, err)
		everyone := NewPeers([]int{0, os.Geteuid()}, true)
		must(t, everyone.Check(conn))
		_, err = client.Write([]byte("PUT /v1/secret/data/web HTTP/1.1\r\n"))
		must(t, err)
		must(t, client.Close())
		if err := everyone.Check(conn); !errors.Is(err, ErrGone) {
			t.Errorf("%s: closed by the client, orphaned: %v", network, err)
		}
		must(t, conn.Close())
		if err := everyone.Check(conn); !errors.Is(err, ErrGone) {
			t.Errorf("%s: closed by both, in TIME_WAIT: %v", network, err)
		}
		must(t, lis.Close())
	}
}

func TestWhoseAConnectionIs(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		lis, err := net.Listen("tcp", network)
		must(t, err)
		client, err := net.Dial("tcp", lis.Addr().String())
		must(t, err)
		conn, err := lis.Accept()
		must(t, err)
		if err := NewPeers(nil, true).Check(conn); err != nil {
			t.Errorf("%s: our own connection: %v", network, err)
		}
		if err := NewPeers([]int{os.Geteuid() + 1}, true).Check(conn); err == nil {
			t.Errorf("%s: we pass for another user", network)
		}
		must(t, client.Close())
		must(t, conn.Close())
		must(t, lis.Close())
	}
}

func TestProcAddress(t *testing.T) {
	for addr, want := range map[string][2]string{
		"127.0.0.1:8080": {"0100007F:1F90", "0000000000000000FFFF00000100007F:1F90"},
		"[::1]:80":       {":0050", "00000000000000000000000001000000:0050"},
	} {
		at := netip.MustParseAddrPort(addr)
		if got := procAddress(at, "/proc/net/tcp6"); got != want[1] {
			t.Errorf("%s in tcp6: %s", addr, got)
		}
		if got := procAddress(at, "/proc/net/tcp"); got != want[0] {
			t.Errorf("%s in tcp: %s", addr, got)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhoHoldsAPortIsSaid asks for a port that is taken.
func TestWhoHoldsAPortIsSaid(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		taken, err := net.Listen("tcp", at)
		must(t, err)
		_, port, err := net.SplitHostPort(taken.Addr().String())
		must(t, err)
		_, err = Loopback("127.0.0.1:" + port)
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("of user %d listens there", os.Geteuid())) {
			t.Errorf("%s: %v", at, err)
		}
		must(t, taken.Close())
	}
}

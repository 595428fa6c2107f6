package helper

import (
	"errors"
	"net"
	"os"
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
		everyone := newPeers([]int{0, os.Geteuid()}, true)
		must(t, everyone.check(conn))
		_, err = client.Write([]byte("PUT /v1/secret/data/web HTTP/1.1\r\n"))
		must(t, err)
		must(t, client.Close())
		if err := everyone.check(conn); !errors.Is(err, errGone) {
			t.Errorf("%s: closed by the client, orphaned: %v", network, err)
		}
		must(t, conn.Close())
		if err := everyone.check(conn); !errors.Is(err, errGone) {
			t.Errorf("%s: closed by both, in TIME_WAIT: %v", network, err)
		}
		must(t, lis.Close())
	}
}

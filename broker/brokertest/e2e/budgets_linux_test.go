package e2e_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// crowd is a site whose broker has all its listeners open.
type crowd struct {
	*local
	*daemon
	metrics string // host:port
}

// newCrowd starts a broker that may have so many files open; 0 for as many as we.
func newCrowd(t *testing.T, files int) *crowd {
	t.Helper()
	l := newLocal(t)
	c := &crowd{local: l, metrics: freeAddress(t)}
	l.config(t, "  workload_api: "+l.socket("broker")+"\n  jwt: {listen: 127.0.0.1:0, audience: e2e}\n", rolesAt(l.sts.url))
	l.edit(t, "valetkeyd.yaml", "drain: 0s\n", "drain: 0s\nmetrics: {listen: "+c.metrics+"}\n")
	limit := ""
	if files > 0 {
		limit = fmt.Sprintf("ulimit -n %d; ", files)
	}
	c.daemon = start(t, "/bin/sh", awsEnv(), append([]string{"-c", limit + `exec "$@"`, "sh", program(t, "valetkeyd")}, l.args()...)...)
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	return l.Addr().String()
}

// served says how long a good caller waits for an answer over a connection of its own.
func (c *crowd) served(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	if _, err := c.dial(t, c.daemon, "alice").Agent.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{}); err != nil {
		t.Errorf("a good caller: %v", err)
	}
	return time.Since(began)
}

// peak is the most memory that the broker has had, in MiB.
func (c *crowd) peak(t *testing.T) (mib int) {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	must(t, err)
	for line := range strings.SplitSeq(string(raw), "\n") {
		if kib := 0; strings.HasPrefix(line, "VmHWM:") {
			_, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib)
			must(t, err)
			return kib >> 10
		}
	}
	t.Fatal("the kernel does not say how much memory it had")
	return 0
}

// tlsAs is the TLS of a caller of the local authority; of nobody for "".
func (c *crowd) tlsAs(t *testing.T, caller string) *tls.Config {
	t.Helper()
	from := caller
	if from == "" {
		from = "alice" // for the bundle
	}
	src, err := workloadapi.NewX509Source(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr(c.socket(from))))
	must(t, err)
	t.Cleanup(func() { must(t, src.Close()) })
	conf := tlsconfig.TLSClientConfig(src, tlsconfig.AuthorizeAny())
	if caller != "" {
		conf = tlsconfig.MTLSClientConfig(src, src, tlsconfig.AuthorizeAny())
	}
	conf.NextProtos = []string{"h2"}
	return conf
}

// rude is an HTTP/2 connection that is spoken to by the frame.
type rude struct {
	conn   *tls.Conn
	framer *http2.Framer
	stream uint32
	sent   int
}

// newRude shakes hands. What comes back is thrown away, or goes to seen.
func newRude(t *testing.T, addr string, conf *tls.Config, seen func(http2.Frame)) *rude {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, conf)
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the broker may have
	_, err = io.WriteString(conn, http2.ClientPreface)
	must(t, err)
	r := &rude{conn: conn, framer: http2.NewFramer(conn, conn), stream: 1}
	must(t, r.framer.WriteSettings())
	go func() {
		in := http2.NewFramer(io.Discard, conn)
		for {
			f, err := in.ReadFrame()
			if err != nil {
				return
			}
			if seen != nil {
				seen(f)
			}
		}
	}()
	return r
}

// call sends the headers of a call, and extra fields that HPACK takes one byte for
// each. It fails where the broker has hung up.
func (r *rude) call(method string, extra int) error {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":path", method}, {":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}, {"x", "y"},
	} {
		if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	// The newest entry of the dynamic table, again and again: RFC 7541, section 6.1.
	block.Write(bytes.Repeat([]byte{0x80 | 62}, extra))
	rest := block.Bytes()
	first := rest[:min(len(rest), 16<<10)]
	rest = rest[len(first):]
	r.sent += block.Len()
	err := r.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: r.stream, BlockFragment: first, EndHeaders: len(rest) == 0})
	for err == nil && len(rest) > 0 {
		part := rest[:min(len(rest), 16<<10)]
		rest = rest[len(part):]
		err = r.framer.WriteContinuation(r.stream, len(rest) == 0, part)
	}
	r.stream += 2
	return err
}

// TestHeadersCostNoMemory sends 12 MiB of headers that unpack to 512 MiB, to where
// nobody is known yet, from who may call nothing, and from an agent.
func TestHeadersCostNoMemory(t *testing.T) {
	c := newCrowd(t, 0)
	c.served(t)
	before := c.peak(t)
	for _, tc := range []struct{ name, addr, caller, method string }{
		{"JWT listener, nobody", c.jwt, "", "/valetkey.v1.AgentService/ExplainScope"},
		{"JWT listener, nobody, health", c.jwt, "", "/grpc.health.v1.Health/Watch"},
		{"JWT listener, nobody, no such method", c.jwt, "", "/x/y"},
		{"mTLS, may call nothing", c.grpc, "broker", "/valetkey.v1.AgentService/ExplainScope"},
		{"mTLS, an agent", c.grpc, "bob", "/valetkey.v1.AgentService/ExplainScope"},
	} {
		// Whole blocks, which are too large; and as many as may be of the largest that pass.
		for _, shape := range []struct{ conns, streams, extra int }{{2, 32, 390_000}, {16, 250, 400}} {
			conf := c.tlsAs(t, tc.caller)
			var open []*rude
			sent := 0
			for range shape.conns {
				r := newRude(t, tc.addr, conf, nil)
				open = append(open, r)
				for range shape.streams {
					if r.call(tc.method, shape.extra) != nil {
						break // it was hung up on, and that is well
					}
				}
				sent += r.sent
			}
			c.served(t)
			if got := c.peak(t); got > before+128 {
				t.Errorf("%s: %d KiB sent in %v: %d MiB, and %d before", tc.name, sent>>10, shape, got, before)
			}
			for _, r := range open {
				_ = r.conn.Close() // the broker may have
			}
		}
	}
	t.Logf("%d MiB before, %d at most", before, c.peak(t))
}

// TestMessagesThatNeverCome opens as many calls as an agent may, and says no more.
func TestMessagesThatNeverCome(t *testing.T) {
	c := newCrowd(t, 0)
	c.served(t)
	before := c.peak(t)
	ended := make(chan struct{}, 1<<16)
	seen := func(f http2.Frame) {
		// A refusal may be followed by a RST_STREAM of its own.
		if h, ok := f.(*http2.HeadersFrame); ok && h.StreamEnded() {
			ended <- struct{}{}
		}
	}
	conf := c.tlsAs(t, "bob")
	began := time.Now()
	const conns, streams = 4, 200
	for range conns {
		r := newRude(t, c.grpc, conf, seen)
		for i := range streams {
			method := "/valetkey.v1.AgentService/ExplainScope"
			if i%2 == 1 {
				method = "/valetkey.v1.AgentService/WatchGrant"
			}
			must(t, r.call(method, 300))
			// A message of 200 KiB is promised, and a part of it comes.
			must(t, r.framer.WriteData(r.stream-2, false, append([]byte{0, 0, 3, 32, 0}, make([]byte, 64)...)))
		}
	}
	if took := c.served(t); took > 3*time.Second {
		t.Errorf("another agent waited %v meanwhile", took)
	}
	limit := time.After(25 * time.Second)
	for n := range conns * streams {
		select {
		case <-ended:
		case <-limit:
			t.Fatalf("after %v, %d of %d calls are open", time.Since(began), conns*streams-n, conns*streams)
		}
	}
	if took := time.Since(began); took < 5*time.Second {
		t.Errorf("all were ended after %v: none of them waited", took)
	}
	if got := c.peak(t); got > before+128 {
		t.Errorf("%d MiB, and %d before", got, before)
	}
}

// TestSilentConnectionsHoldNobodyUp opens connections that never shake hands.
func TestSilentConnectionsHoldNobodyUp(t *testing.T) {
	c := newCrowd(t, 512)
	for _, addr := range []string{c.grpc, c.jwt} {
		for range 1000 {
			conn, err := net.Dial("tcp", addr)
			must(t, err)
			t.Cleanup(func() { _ = conn.Close() }) // the broker has, mostly
		}
	}
	if took := c.served(t); took > 3*time.Second {
		t.Errorf("a good caller waited %v", took)
	}
	// While they go on coming, too.
	over := make(chan struct{})
	var flood sync.WaitGroup
	for range 4 {
		flood.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if conn, err := net.Dial("tcp", c.grpc); err == nil {
					defer func() { _ = conn.Close() }() // the broker has, mostly
				}
				<-time.After(time.Millisecond)
			}
		})
	}
	for range 3 {
		if took := c.served(t); took > 3*time.Second {
			t.Errorf("a good caller waited %v in a flood", took)
		}
	}
	close(over)
	flood.Wait()
	// Of those that are left none stays.
	conn, err := net.Dial("tcp", c.grpc)
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a connection that says nothing is open after 10 s")
	}
	must(t, conn.Close())
}

// TestIdleConnectionsTakeNoFiles asks the side listeners once on each of many
// connections, of a broker that may not have so many files open.
func TestIdleConnectionsTakeNoFiles(t *testing.T) {
	c := newCrowd(t, 512)
	for _, addr := range []string{strings.TrimPrefix(c.log, "http://"), c.metrics} {
		for range 1000 {
			conn, err := net.Dial("tcp", addr)
			must(t, err)
			t.Cleanup(func() { _ = conn.Close() }) // the broker has, mostly
			_, _ = io.WriteString(conn, "GET /checkpoint HTTP/1.1\r\nHost: x\r\n\r\n")
		}
	}
	for range 3 {
		if took := c.served(t); took > 3*time.Second {
			t.Errorf("a good caller waited %v", took)
		}
	}
	for _, url := range []string{c.log + "/checkpoint", "http://" + c.metrics + "/readyz"} {
		resp, err := http.Get(url) //nolint:noctx // a probe
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", url, resp.Status)
		}
	}
	// And again by TLS, as who may call nothing, and by nobody.
	for _, tc := range []struct{ addr, caller string }{{c.grpc, "broker"}, {c.jwt, ""}} {
		conf := c.tlsAs(t, tc.caller)
		for range 600 {
			if conn, err := tls.Dial("tcp", tc.addr, conf); err == nil {
				t.Cleanup(func() { _ = conn.Close() }) // the broker has, mostly
			}
		}
		if took := c.served(t); took > 3*time.Second {
			t.Errorf("a good caller waited %v", took)
		}
	}
}

// TestAnAgentHasItsShareOfConnections has one agent hold as many as it can.
func TestAnAgentHasItsShareOfConnections(t *testing.T) {
	c := newCrowd(t, 0)
	c.edit(t, "valetkeyd.yaml", "drain: 0s\n", "drain: 0s\nlimits: {connections_per_caller: 3}\n")
	c.kill()
	c.daemon = c.start(t)
	refusedOnes := 0
	for i := range 5 { // from two sessions
		if _, err := c.dial(t, c.daemon, []string{"bob", "bob2"}[i%2]).Agent.ListScopes(t.Context(), &valetkeyv1.ListScopesRequest{}); err != nil {
			refused(t, err, valetkeyv1.ErrorReason_ERROR_REASON_RATE_LIMITED)
			refusedOnes++
		}
	}
	if refusedOnes != 2 {
		t.Errorf("%d of 5 connections were refused, want 2", refusedOnes)
	}
	c.served(t)
}

// TestPingsAndResets floods a connection with what costs its sender next to nothing.
func TestPingsAndResets(t *testing.T) {
	c := newCrowd(t, 0)
	c.served(t)
	before := c.peak(t)
	for _, tc := range []struct{ addr, caller string }{{c.jwt, ""}, {c.grpc, "broker"}, {c.grpc, "bob"}} {
		conf := c.tlsAs(t, tc.caller)
		calm := make(chan http2.ErrCode, 16)
		pings := newRude(t, tc.addr, conf, func(f http2.Frame) {
			if away, ok := f.(*http2.GoAwayFrame); ok {
				calm <- away.ErrCode
			}
		})
		for range 10_000 {
			if pings.framer.WritePing(false, [8]byte{}) != nil {
				break // it was hung up on, and that is well
			}
		}
		select {
		case code := <-calm:
			if code != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("%s as %q: after many pings, %v", tc.addr, tc.caller, code)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s as %q: 10,000 pings are taken", tc.addr, tc.caller)
		}
		resets := newRude(t, tc.addr, conf, nil)
		for range 20_000 {
			if resets.call("/valetkey.v1.AgentService/ExplainScope", 0) != nil || resets.framer.WriteRSTStream(resets.stream-2, http2.ErrCodeCancel) != nil {
				break
			}
		}
		if took := c.served(t); took > 3*time.Second {
			t.Errorf("a good caller waited %v", took)
		}
	}
	if got := c.peak(t); got > before+128 {
		t.Errorf("%d MiB, and %d before", got, before)
	}
	if n := len(c.errors()); n > 256<<10 {
		t.Errorf("60,000 calls that were reset are %d bytes in the log", n)
	}
}

// TestHealthIsToldInAFlood has nobody watch health as often as it likes from the address
// that a proxy's own checks come from.
func TestHealthIsToldInAFlood(t *testing.T) {
	c := newCrowd(t, 0)
	conf := c.tlsAs(t, "")
	for range 4 {
		r := newRude(t, c.jwt, conf, nil)
		for i := range 100 {
			must(t, r.call("/grpc.health.v1.Health/"+[]string{"Watch", "Check"}[i%2], 0))
			if i%2 == 0 { // a whole message, of nothing
				must(t, r.framer.WriteData(r.stream-2, true, make([]byte, 5)))
			}
		}
	}
	conn, err := grpc.NewClient(c.jwt, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	must(t, err)
	t.Cleanup(func() { must(t, conn.Close()) })
	for range 5 {
		got, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil || got.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			t.Errorf("%v, %v", got, err)
		}
	}
}

package brokertest_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/valetkey/valetkey/broker/brokertest"
	valetkeyv1 "github.com/valetkey/valetkey/proto/valetkey/v1"
)

// TestARefusedCallLeavesNothing asks with deadlines that are years away, as nobody and
// as who may not: gRPC by itself keeps about 400 bytes of each such call till then, also
// when the connection is long gone.
func TestARefusedCallLeavesNothing(t *testing.T) {
	h := brokertest.New(t, brokertest.Config{})
	agents, records := valetkeyv1.NewAgentServiceClient(h.DialJWT()), h.LedgerClient(brokertest.Agent)
	const calls = 10_000
	refused := func() {
		for range calls / 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*365*24*time.Hour)
			_, asNobody := agents.ListScopes(ctx, &valetkeyv1.ListScopesRequest{})
			_, asAgent := records.GetRecord(ctx, &valetkeyv1.GetRecordRequest{})
			cancel()
			if reasonOf(asNobody) != "UNAUTHENTICATED" || asAgent == nil {
				t.Fatal(asNobody, asAgent)
			}
		}
	}
	refused() // what there is of each caller once
	before, goroutines := heap(), runtime.NumGoroutine()
	refused()
	if grown := int64(heap()) - int64(before); grown > 100*calls {
		t.Errorf("%d refused calls leave %d bytes each", calls, grown/calls)
	}
	if n := runtime.NumGoroutine(); n > goroutines+10 {
		t.Errorf("%d refused calls leave %d goroutines", calls, n-goroutines)
	}
}

// heap is what is in use of it.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what had a finalizer
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

package server

import (
	"strings"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/valetkey/valetkey/broker/guard"
)

// TestEveryCallHasItsCost looks at every method of every service that this program
// knows of, and of ours has none free.
func TestEveryCallHasItsCost(t *testing.T) {
	rows, seen := costs(), map[string]bool{}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		ours := strings.HasPrefix(string(f.Package()), "valetkey.")
		if !ours && f.Package() != healthpb.File_grpc_health_v1_health_proto.Package() {
			return true
		}
		for i := range f.Services().Len() {
			for s, j := f.Services().Get(i), 0; j < s.Methods().Len(); j++ {
				m := "/" + string(s.FullName()) + "/" + string(s.Methods().Get(j).Name())
				seen[m] = true
				row, ok := rows[m]
				if !ok {
					t.Errorf("%s has no row", m)
				}
				if ours && (row.kind == guard.Free || row.tokens < 1) {
					t.Errorf("%s is free", m)
				}
			}
		}
		return true
	})
	for m := range rows {
		if !seen[m] {
			t.Errorf("there is no %s", m)
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d methods were looked at", len(seen))
	}
	if checkCosts(map[string]bool{agentPrefix + "New": true}) == nil {
		t.Error("a method without a row is served")
	}
}

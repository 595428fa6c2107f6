package server

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/valetkey/valetkey/broker/guard"
)

// TestEveryMethodHasItsRow looks at every method of every service that this program
// knows of, and of ours has none free.
func TestEveryMethodHasItsRow(t *testing.T) {
	rows, seen := methods(), map[string]bool{}
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
				if ours && len(row.who) == 0 {
					t.Errorf("%s is for nobody", m)
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
	if checkMethod(rows, agentPrefix+"New") == nil {
		t.Error("a method without a row is served")
	}
}

// TestMethodsAreForWhomTheContractNames holds the table against the comments of the wire contract.
func TestMethodsAreForWhomTheContractNames(t *testing.T) {
	said := map[string]string{
		"an agent": `Agents|The grant's agent|The task's agent`, "an operator": `Operators`, "an approver": `Approvers`,
		"an agent or an operator or an approver": `Agents, operators and approvers`,
	}
	files, err := filepath.Glob("../../proto/valetkey/v1/*.proto")
	if err != nil {
		t.Fatal(err)
	}
	service, rpc := regexp.MustCompile(`(?m)^service (\w+) \{\n((?:  .*\n)*)\}`), regexp.MustCompile(`  // (.*)\n  rpc (\w+)\(`)
	rows, seen := methods(), 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range service.FindAllStringSubmatch(string(text), -1) {
			for _, m := range rpc.FindAllStringSubmatch(s[2], -1) {
				seen++
				who := rows["/valetkey.v1."+s[1]+"/"+m[2]].who.String()
				if !regexp.MustCompile(`\. (` + said[who] + `)[,.]`).MatchString(m[1]) {
					t.Errorf("%s.%s is for %s, and its comment says %q", s[1], m[2], who, m[1])
				}
			}
		}
	}
	if ours := len(rows) - 3; seen != ours { // health has three
		t.Errorf("%d of %d methods were found", seen, ours)
	}
}
